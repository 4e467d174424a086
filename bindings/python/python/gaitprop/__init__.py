"""GAIT-prop training, and linear algebra with the same bits on every CPU.

Modules
-------
linalg
    Products, solves and factorizations of float32 and float64 arrays.
blas
    ``python -m gaitprop.blas script.py`` runs a script with NumPy's own products computed by
    gaitprop.
"""

from gaitprop import linalg
from gaitprop._errors import Error, NotPositiveDefiniteError, SingularMatrixError
from gaitprop._native import __version__, get_num_threads, set_num_threads

__all__ = [
    "Error",
    "NotPositiveDefiniteError",
    "SingularMatrixError",
    "__version__",
    "get_num_threads",
    "linalg",
    "set_num_threads",
]
