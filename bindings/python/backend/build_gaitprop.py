"""PEP 517 back end: builds the BLAS library into the package, then calls maturin."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import maturin
from maturin import *  # noqa: F403  the hooks that need no library

PACKAGE = Path(__file__).resolve().parent.parent
LIBRARY = "libgaitprop_blas.so"


def _build_blas():
    # `python -m gaitprop.blas` needs LD_PRELOAD.
    if not sys.platform.startswith("linux"):
        return
    workspace = PACKAGE.parent
    cargo = ["cargo", "build", "--release", "--locked", "--package", "gaitprop-blas"]
    subprocess.run(cargo, cwd=workspace, check=True)
    where = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
    found = subprocess.run(where, cwd=workspace, check=True, capture_output=True, text=True)
    target = Path(json.loads(found.stdout)["target_directory"])
    shutil.copy(target / "release" / LIBRARY, PACKAGE / "python" / "gaitprop" / LIBRARY)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """Build a wheel that holds the BLAS library."""
    _build_blas()
    return maturin.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """Build an editable wheel, with the BLAS library in the source folder."""
    _build_blas()
    return maturin.build_editable(wheel_directory, config_settings, metadata_directory)
