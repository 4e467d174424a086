"""Solvers of e W = r that a module keeps between steps, by a number that operators can take."""

from __future__ import annotations

import itertools
import weakref
from typing import TYPE_CHECKING, Any

from gaitprop._errors import Error
from gaitprop._training import SOLVERS
from gaitprop.torch._checks import choice

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Solver", "find"]

_solvers: weakref.WeakValueDictionary[int, Solver] = weakref.WeakValueDictionary()
_numbers = itertools.count(1)
# Without `damped`, which needs a damping, and `learned`, which needs training steps.
_KINDS = tuple(kind for kind in SOLVERS if kind not in ("damped", "learned"))


def find(number: int) -> Solver | None:
    """Return the solver of this number; 0 is the exact one, which keeps nothing."""
    if number == 0:
        return None
    try:
        return _solvers[number]
    except KeyError:
        raise RuntimeError(
            "the solver of this graph no longer exists: keep it, or the module that has it, until "
            "backward has been called"
        ) from None


class Solver:
    """A native solver of one layer's weights, and what it knows about their last change.

    Copies and pickles keep the settings and start without factors.

    Parameters
    ----------
    kind : str
        lu, stale, cg, gram, transpose or auto.
    tolerance : float
        Relative error at which iterations stop.
    """

    def __init__(self, kind: str, tolerance: float) -> None:
        self.kind = choice("solver", kind, _KINDS)
        self.tolerance = float(tolerance)
        if not 0.0 < self.tolerance < 1.0:
            raise Error(
                f"tolerance is {tolerance}, but must lie between 0 and 1, both excluded "
                "(0.001 is usual)"
            )
        self._native: dict[str, Any] = {}
        self._seen: tuple[int, int] | None = None
        self._version = 0
        self.number = next(_numbers)
        _solvers[self.number] = self

    def native(self, weight: Tensor) -> tuple[Any, int]:
        """Return the native solver for weights of this type, and a version of the weights.

        Weights count as unchanged only if they are the same parameter at the same address with
        the same count of changes. A computed weight is a new tensor in each step, and its memory
        may be that of the last step's.
        """
        from gaitprop import _native

        dtype = str(weight.dtype).removeprefix("torch.")
        if dtype not in self._native:
            self._native[dtype] = _native.LayerSolver(self.kind, self.tolerance, dtype)
        seen = (weight.data_ptr(), weight._version) if weight.is_leaf else None
        # LU would trust its factors to a residual of 1e-3 only, so it makes new ones.
        if self.kind == "lu" or seen is None or seen != self._seen:
            self._version += 1
        self._seen = seen
        return self._native[dtype], self._version

    def __reduce__(self) -> tuple[type[Solver], tuple[str, float]]:
        return Solver, (self.kind, self.tolerance)

    def __repr__(self) -> str:
        return f"Solver({self.kind!r}, {self.tolerance!r})"
