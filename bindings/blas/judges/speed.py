"""Times `a @ b` of square matrices: speed.py SIZE... Writes name, size, microseconds a product."""

import sys
import time

import numpy as np


def median(n, dtype):
    i = np.arange(n * n)
    a = ((i * 37 + 1) % 101 / 50.0 - 1.0).astype(dtype).reshape(n, n)
    b = ((i * 37 + 2) % 101 / 50.0 - 1.0).astype(dtype).reshape(n, n)

    def product(count):
        start = time.perf_counter()
        for _ in range(count):
            a @ b
        return (time.perf_counter() - start) * 1e6 / count

    # As examples/kernel_time.rs.
    product(1)
    first = int(min(max(1e3 / max(product(1), 1e-3), 1), 1e4))
    count = int(min(max(1e4 / max(product(first), 1e-3), 1), 1e6))
    return sorted(product(count) for _ in range(7))[3]


for n in map(int, sys.argv[1:]):
    for dtype in (np.float32, np.float64):
        print(f"{np.dtype(dtype).name} {n} {median(n, dtype):.3f}")
