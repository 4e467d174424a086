from collections.abc import Sequence
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

_T = TypeVar("_T", np.float32, np.float64)
_Trans = Literal[0, 1, 2, "N", "T", "C"]

__all__ = [
    "__version__",
    "cholesky",
    "get_num_threads",
    "lu_factor",
    "lu_solve",
    "main",
    "matmul",
    "set_num_threads",
    "solve",
    "solve_triangular",
    "syrk",
]

__version__: str

def cholesky(
    a: NDArray[_T],
    /,
    out: NDArray[_T] | None = None,
    *,
    upper: bool = False,
    threads: int | None = None,
) -> NDArray[_T]: ...
def get_num_threads() -> int: ...
def lu_factor(
    a: NDArray[_T], /, out: NDArray[_T] | None = None, *, threads: int | None = None
) -> tuple[NDArray[_T], NDArray[np.intp]]: ...
def lu_solve(
    lu_and_piv: tuple[NDArray[_T], NDArray[np.integer]],
    b: NDArray[_T],
    /,
    out: NDArray[_T] | None = None,
    *,
    trans: _Trans = 0,
    threads: int | None = None,
) -> NDArray[_T]: ...
def main(args: Sequence[str], /) -> int: ...
def matmul(
    a: NDArray[_T],
    b: NDArray[_T],
    /,
    out: NDArray[_T] | None = None,
    *,
    threads: int | None = None,
) -> NDArray[_T]: ...
def set_num_threads(threads: int, /) -> None: ...
def solve(
    a: NDArray[_T],
    b: NDArray[_T],
    /,
    out: NDArray[_T] | None = None,
    *,
    threads: int | None = None,
) -> NDArray[_T]: ...
def solve_triangular(
    a: NDArray[_T],
    b: NDArray[_T],
    /,
    out: NDArray[_T] | None = None,
    *,
    trans: _Trans = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    threads: int | None = None,
) -> NDArray[_T]: ...
def syrk(
    a: NDArray[_T],
    /,
    out: NDArray[_T] | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    trans: bool = False,
    part: Literal["both", "lower", "upper"] = "both",
    threads: int | None = None,
) -> NDArray[_T]: ...
