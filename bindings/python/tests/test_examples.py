"""The example scripts and the notebook, but for MNIST in torch, which needs its files."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from gaitprop import Network, TrainConfig, Trainer

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(*command: str | Path) -> str:
    environment = {**os.environ, "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("decorrelated", [False, True])
def test_the_reader_of_runs_computes_the_network(decorrelated: bool) -> None:
    """`examples/read_run.py` of the repository, without the package that reads its files."""
    package = types.ModuleType("safetensors")
    package.__dict__["numpy"] = numpy = types.ModuleType("safetensors.numpy")
    numpy.__dict__["load_file"] = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "safetensors", package)
        patch.setitem(sys.modules, "safetensors.numpy", numpy)
        read_run = runpy.run_path(str(EXAMPLES.parents[2] / "examples" / "read_run.py"))
    rate = 0.05 if decorrelated else None
    config = TrainConfig.published("bp", decorrelation_rate=rate, decorrelation_share=1.0)
    trainer = Trainer(Network(9, [8, 6, 6], 4, tower=True, dtype=np.float64), config)
    x = np.random.default_rng(1).standard_normal((60, 9))
    trainer.fit(x, np.arange(60) % 4, epochs=5)
    net = trainer.network
    arrays = {**net.state_dict(), "input_centre": np.zeros(9), "input_spread": np.ones(9)}
    assert ("R0" in arrays) == decorrelated
    assert np.abs(read_run["forward"](arrays, x)[:, :4] - net.outputs(x)).max() < 1e-13


def test_a_rule_of_ones_own_learns() -> None:
    lines = run(EXAMPLES / "own_rule.py").splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["GAIT", "BP", "strong-feedback"]
    for line in lines:
        assert float(line.split()[1].rstrip("%")) > 95, line


def test_the_difference_form_keeps_its_digits() -> None:
    lines = run(EXAMPLES / "depth.py").splitlines()[1:]
    assert len(lines) == 11
    for line in lines:
        layers, difference, double, single = (float(cell) for cell in line.split())
        assert difference < 1e-4
        assert (layers < 6) == (double < 1)
        assert (layers < 3) == (single < 1)


def test_costs_are_those_of_the_guide() -> None:
    guide = EXAMPLES.parents[2] / "docs" / "guide" / "scale.md"
    tables = run(EXAMPLES / "cost.py").split("Sending")[0].strip()
    assert tables in guide.read_text()


def test_a_grid_in_scikit_learn() -> None:
    pytest.importorskip("sklearn")
    table = run(EXAMPLES / "sklearn_digits.py")
    *grid, best = table.splitlines()
    assert len(grid) == 4
    assert float(best.split()[-1].rstrip("%")) > 95
    pytest.importorskip("distributed")
    assert run(EXAMPLES / "sklearn_digits.py", "--dask", "2") == table


def test_two_processes_train_one_network() -> None:
    pytest.importorskip("torch")
    assert "all ranks hold the same bits" in run(EXAMPLES / "ddp.py")


def test_the_notebook_runs(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    cells = json.loads((EXAMPLES / "tour.ipynb").read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    script = tmp_path / "tour.py"
    script.write_text(code.replace("%matplotlib inline", ""))
    assert float(run(script).split()[-1].rstrip("%")) > 95
