"""The example scripts and the notebook, but for MNIST in torch, which needs its files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(*command: str | Path) -> str:
    environment = {**os.environ, "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


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
