"""Arrays, and a reference for bits."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[Any]

# What is started in the background of a shell ignores an interrupt, and so would the programs that
# the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def fma(a: float, b: float, c: float, dtype: type) -> float:
    """Fused multiply-add of finite numbers of `dtype`, rounded once."""
    if dtype is np.float64:
        exact = Fraction(a) * Fraction(b) + Fraction(c)
        # Fraction's conversion rounds correctly; it has no negative zero.
        return float(exact) if exact else a * b + c
    # The product of two floats is exact in float64. The sum is rounded to odd, so that rounding it
    # again to float32 gives the nearest number.
    product = float(a) * float(b)
    total = product + float(c)
    virtual = total - product
    rest = (product - (total - virtual)) + (float(c) - virtual)
    if rest and math.isfinite(total) and not np.float64(total).view(np.int64) & 1:
        total = math.nextafter(total, math.inf if rest > 0 else -math.inf)
    return float(np.float32(total))


def chain(a: Array, b: Array) -> Array:
    """Products as the kernels define them: one chain of fused multiply-adds an element."""
    dtype = a.dtype.type
    out = np.zeros((a.shape[0], b.shape[1]), dtype)
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            acc = 0.0
            for k in range(a.shape[1]):
                acc = fma(a[i, k].item(), b[k, j].item(), acc, dtype)
            out[i, j] = acc
    return out


def bits(a: Array) -> list[int]:
    a = np.ascontiguousarray(a)
    return a.view(np.int32 if a.dtype == np.float32 else np.int64).ravel().tolist()


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def normal(dtype: Any) -> Callable[..., Array]:
    """Return a function that draws normal numbers of a shape."""
    rng = np.random.default_rng(7)

    def draw(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(dtype)

    return draw
