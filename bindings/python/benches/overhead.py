"""Times of small products, in microseconds: what a call costs beside the kernel.

python bindings/python/benches/overhead.py

Each number is the least of many short runs, because other processes only add time. A product of
1x1 is nearly all overhead: its kernel takes some 50 ns.
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from gaitprop import linalg

CALLS, RUNS = 100, 3000


def microseconds(call: Callable[[], object]) -> float:
    """Return the least time of a call."""
    best = float("inf")
    for _ in range(RUNS):
        start = time.perf_counter()
        for _ in range(CALLS):
            call()
        best = min(best, time.perf_counter() - start)
    return best / CALLS * 1e6


def main() -> None:
    """Print a table."""
    print("dtype    n      matmul   with out   numpy")
    for dtype in (np.float32, np.float64):
        for n in (1, 4, 16, 32):
            a = np.ones((n, n), dtype)
            out = np.empty_like(a)
            times = (
                microseconds(partial(linalg.matmul, a, a)),
                microseconds(partial(linalg.matmul, a, a, out)),
                microseconds(partial(np.matmul, a, a)),
            )
            print(f"{dtype.__name__}  {n:3}  " + "  ".join(f"{t:8.3f}" for t in times))


if __name__ == "__main__":
    main()
