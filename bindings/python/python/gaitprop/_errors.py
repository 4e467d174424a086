"""Exceptions of the package."""

from numpy.linalg import LinAlgError

__all__ = ["DivergedError", "Error", "NotPositiveDefiniteError", "SingularMatrixError"]


class Error(ValueError):
    """An argument does not fit: its shape, its memory layout or its value."""


class SingularMatrixError(Error, LinAlgError):
    """A matrix is singular or nearly so, or weights are not orthogonal where they must be."""


class NotPositiveDefiniteError(Error, LinAlgError):
    """The matrix of a Cholesky factorization is not positive definite."""


class DivergedError(Error, ArithmeticError):
    """Training diverged: a value became infinite or NaN."""


# Tracebacks show the public names.
for _class in (Error, SingularMatrixError, NotPositiveDefiniteError, DivergedError):
    _class.__module__ = "gaitprop"
del _class
