"""Linear algebra with the same bits on every CPU.

The functions follow NumPy's and SciPy's of the same names. They take float32 and float64 arrays
with any strides, without a copy, and stacks of matrices that broadcast. A result has the same bits
on every CPU, for any number of threads and any memory layout. No dtype is converted: other dtypes
are a TypeError.
"""

from gaitprop._native import (
    cholesky,
    lu_factor,
    lu_solve,
    matmul,
    solve,
    solve_triangular,
    syrk,
)

__all__ = [
    "cholesky",
    "lu_factor",
    "lu_solve",
    "matmul",
    "solve",
    "solve_triangular",
    "syrk",
]
