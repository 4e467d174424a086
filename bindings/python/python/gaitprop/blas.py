"""Runs a Python program whose NumPy products are computed by gaitprop.

``python -m gaitprop.blas script.py [args]`` starts Python anew with the package's BLAS library in
front of NumPy's own. Products then have the same bits on every CPU and for any number of threads.
All of Python's options work: ``python -m gaitprop.blas -m pytest``.

With ``GAITPROP_VERBOSE=1`` the process lists the calls that arrived when it ends.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

__all__ = ["library", "run"]

_USAGE = "usage: python -m gaitprop.blas script.py [args]"


def library() -> Path:
    """Return the path of the BLAS library that the package holds.

    Raises
    ------
    RuntimeError
        If this system or this installation has none.
    """
    if not sys.platform.startswith("linux"):
        raise RuntimeError(
            f"gaitprop.blas works on Linux only, and this is {sys.platform}: it needs LD_PRELOAD"
        )
    path = Path(__file__).resolve().parent / "libgaitprop_blas.so.0"
    if not path.is_file():
        raise RuntimeError(f"{path} is missing: install gaitprop again")
    # The loader splits LD_PRELOAD there, and has no quotes.
    if any(mark in str(path) for mark in " :"):
        raise RuntimeError(
            f"{path} cannot be loaded: LD_PRELOAD allows no space or colon in a path"
        )
    return path


def run(args: Sequence[str]) -> NoReturn:
    """Replace this process by Python with these arguments and gaitprop's BLAS.

    Parameters
    ----------
    args : sequence of str
        Arguments of the interpreter: its options, the script and the script's arguments.

    Raises
    ------
    RuntimeError
        If this system or this installation has no library.
    """
    others = os.environ.get("LD_PRELOAD", "")
    preload = f"{library()}:{others}" if others else str(library())
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *args], {**os.environ, "LD_PRELOAD": preload})


def _main() -> int:
    args = sys.argv[1:]
    if not args or args[0] in ("-h", "--help"):
        print(_USAGE, file=sys.stdout if args else sys.stderr)
        return 0 if args else 2
    try:
        run(args)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(_main())
