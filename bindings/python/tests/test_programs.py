"""The command gaitprop, and gaitprop.blas."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import gaitprop
from gaitprop import _native, blas

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs LD_PRELOAD")


def run(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *args],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_command_is_the_program() -> None:
    done = run("gaitprop", "--version")
    assert done.returncode == 0
    assert done.stdout == f"gaitprop {gaitprop.__version__}\n"
    command = Path(sys.executable).with_name("gaitprop")
    assert (
        subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
        == done.stdout
    )
    done = run("gaitprop", "trane")
    assert done.returncode == 2
    assert "unrecognized subcommand" in done.stderr
    done = run("gaitprop", "eval", "nowhere")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert _native.main(["gaitprop", "--version"]) == 0


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_an_interrupt_stops_training(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "gaitprop", "train", "--epochs", "100000", "--out", str(out)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as training:
        started = time.monotonic()
        while not (out / "metrics.jsonl").exists() and not list(out.glob("metrics*")):
            assert training.poll() is None, training.communicate()
            assert time.monotonic() - started < 60
            time.sleep(0.05)
        training.send_signal(signal.SIGINT)
        _, error = training.communicate(timeout=60)
    assert training.returncode == 130
    assert "Traceback" not in error


@linux
def test_blas_computes_numpys_products(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, numpy as np\n"
        "a = np.ones((50, 50)) / 3\n"
        "print(sys.argv[1:], (a @ a.copy()).sum() > 0, __name__)\n"
    )
    done = run("gaitprop.blas", str(script), "x", "--y", GAITPROP_VERBOSE="1")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['x', '--y'] True __main__\n"
    assert "gaitprop_blas: dgemm" in done.stderr
    done = run("gaitprop.blas", "-c", "raise SystemExit(7)")
    assert done.returncode == 7
    assert blas.library().is_file()


def test_blas_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = run("gaitprop.blas")
    assert done.returncode == 2
    assert done.stderr.startswith("usage: python -m gaitprop.blas script.py")
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(
        RuntimeError, match="works on Linux only, and this is darwin: it needs LD_PRELOAD"
    ):
        blas.library()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(blas, "__file__", str(tmp_path / "blas.py"))
    with pytest.raises(RuntimeError, match="is missing: install gaitprop again"):
        blas.library()
    folder = tmp_path / "with space"
    folder.mkdir()
    (folder / "libgaitprop_blas.so.0").touch()
    monkeypatch.setattr(blas, "__file__", str(folder / "blas.py"))
    with pytest.raises(RuntimeError, match="allows no space or colon"):
        blas.library()
