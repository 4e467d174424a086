"""GAIT-prop training, and linear algebra with the same bits on every CPU.

Modules
-------
linalg
    Products, solves and factorizations of float32 and float64 arrays.
blas
    ``python -m gaitprop.blas script.py`` runs a script with NumPy's own products computed by
    gaitprop.
torch, sklearn
    Layers, penalties and an optimizer for PyTorch; a classifier for scikit-learn. Each is imported
    by itself, and needs the package of its name.
"""

from gaitprop import linalg
from gaitprop._errors import DivergedError, Error, NotPositiveDefiniteError, SingularMatrixError
from gaitprop._native import __version__, get_num_threads, set_num_threads
from gaitprop._training import (
    PRESETS,
    RULES,
    SOLVERS,
    Alignment,
    Data,
    EpochResult,
    Network,
    TrainConfig,
    Trainer,
    Updates,
    align,
    load_data,
    updates,
)

__all__ = [
    "PRESETS",
    "RULES",
    "SOLVERS",
    "Alignment",
    "Data",
    "DivergedError",
    "EpochResult",
    "Error",
    "Network",
    "NotPositiveDefiniteError",
    "SingularMatrixError",
    "TrainConfig",
    "Trainer",
    "Updates",
    "__version__",
    "align",
    "get_num_threads",
    "linalg",
    "load_data",
    "set_num_threads",
    "updates",
]
