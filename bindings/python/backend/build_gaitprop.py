"""PEP 517 back end: builds the BLAS library into the package, then calls maturin."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import maturin
from maturin import *  # noqa: F403  the hooks that need no library

PACKAGE = Path(__file__).resolve().parent.parent
Settings = Mapping[str, Any] | None


class UnsupportedOperation(Exception):  # noqa: N818  the name is that of PEP 517
    """A hook that this back end does not offer."""


def _build_blas() -> None:
    workspace = PACKAGE.parent
    build = ["cargo", "build", "--release", "--locked", "--package", "gaitprop-blas"]
    subprocess.run(build, cwd=workspace, check=True)
    ask = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
    answer = subprocess.run(ask, cwd=workspace, check=True, stdout=subprocess.PIPE).stdout
    release = Path(json.loads(answer)["target_directory"]) / "release"
    # Under its soname, which Python does not take for an extension module.
    library = PACKAGE / "python" / "gaitprop" / "libgaitprop_blas.so.0"
    shutil.copy(release / "libgaitprop_blas.so", library)


def _build(hook: Callable[..., str], folder: str, settings: Settings, metadata: str | None) -> str:
    # `python -m gaitprop.blas` works by LD_PRELOAD: other systems have one library to build.
    if not sys.platform.startswith("linux"):
        return str(hook(folder, settings, metadata))
    # Both libraries need the kernels, and the longest part of a build is one unit of those. The
    # extension module has enough else to compile meanwhile, so it goes first; the second call of
    # maturin compiles nothing and packs both.
    with tempfile.TemporaryDirectory() as unused:
        hook(unused, settings, metadata)
    _build_blas()
    return str(hook(folder, settings, metadata))


def build_wheel(folder: str, settings: Settings = None, metadata: str | None = None) -> str:
    """Build a wheel, which holds the BLAS library on Linux."""
    return _build(maturin.build_wheel, folder, settings, metadata)


def build_editable(folder: str, settings: Settings = None, metadata: str | None = None) -> str:
    """Build an editable wheel, on Linux with the BLAS library in the source folder."""
    return _build(maturin.build_editable, folder, settings, metadata)


def build_sdist(folder: str, settings: Settings = None) -> str:
    """Refuse: crates outside this folder are built, and the BLAS library is one of them."""
    raise UnsupportedOperation("gaitprop has no source distribution: build a wheel in a checkout")
