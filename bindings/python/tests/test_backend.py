"""The back end of builds, without a build."""

from __future__ import annotations

import runpy
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

BACKEND = Path(__file__).parent.parent / "backend" / "build_gaitprop.py"


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        ("darwin", ["wheel into out"]),
        ("win32", ["wheel into out"]),
        ("linux", ["wheel elsewhere", "library", "wheel into out"]),
    ],
)
def test_only_linux_packs_twice(
    platform: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def build(folder: str, settings: Mapping[str, Any] | None, metadata: str | None) -> str:
        assert (settings, metadata) == ({"a": 1}, "notes")
        steps.append("wheel into out" if folder == "out" else "wheel elsewhere")
        return "gaitprop.whl"

    maturin = types.ModuleType("maturin")
    maturin.__dict__.update(build_wheel=build, build_editable=build)
    monkeypatch.setitem(sys.modules, "maturin", maturin)
    monkeypatch.setattr(sys, "platform", platform)
    for hook in ("build_wheel", "build_editable"):
        steps.clear()
        backend = runpy.run_path(str(BACKEND))
        backend[hook].__globals__["_build_blas"] = lambda: steps.append("library")
        assert backend[hook]("out", {"a": 1}, "notes") == "gaitprop.whl"
        assert steps == expected
