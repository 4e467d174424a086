"""Prints one hash per kind of NumPy product, and one of all: equal hashes are equal bits.

Inputs are made by exact integer arithmetic and one rounding, so they are the same everywhere.
"""

import hashlib

import numpy as np


def matrix(rows, cols, seed, dtype):
    i = np.arange(rows * cols, dtype=np.uint64) + np.uint64(seed * 1_000_003)
    i = (i * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)) >> np.uint64(11)
    return ((i.astype(np.int64) - (1 << 52)).astype(np.float64) / (1 << 52)).astype(dtype).reshape(rows, cols)


def products(dtype):
    a, b = matrix(300, 500, 1, dtype), matrix(500, 400, 2, dtype)
    x, stack = matrix(1, 500, 3, dtype)[0], matrix(8 * 64, 64, 4, dtype).reshape(8, 64, 64)
    long = matrix(2, 100_003, 5, dtype)
    yield "a @ b", a @ b
    yield "a @ a.T", a @ a.T
    yield "a.T @ a", a.T @ a
    yield "a @ x", a @ x
    yield "x @ b", x @ b
    yield "x @ y", long[0] @ long[1]
    yield "stacks of matrices", stack @ stack
    yield "strided views", a[::2, ::-1] @ b[::-1, 1::3]
    yield "tensordot", np.tensordot(stack, stack, axes=([1, 2], [2, 1]))
    yield "einsum, optimized", np.einsum("ij,jk,kl->il", a, b, b.T, optimize=True)
    yield "multi_dot", np.linalg.multi_dot([a, b, b.T, a.T])
    yield "matrix_power", np.linalg.matrix_power(stack[0] / 4, 10)
    yield "norm of a vector", np.linalg.norm(long[0])
    yield "a row alone", a[17:18] @ b
    yield "in two halves", np.vstack([a[:113] @ b, a[113:] @ b])


def copies_agree(dtype):
    """Whether contiguous copies of strided operands give one row or column the bits of the whole."""
    a, b = matrix(300, 500, 1, dtype), matrix(500, 400, 2, dtype)
    x, y = matrix(2, 500, 3, dtype)
    copy, strided, reverse = np.ascontiguousarray, b[:, ::2], x[::-1]
    two_columns = np.stack([reverse, reverse], axis=1)
    return (
        np.array_equal(a[17:18] @ copy(strided), (a @ strided)[17:18])
        and np.array_equal(a @ copy(reverse), (a @ two_columns)[:, 0])
        and np.array_equal(copy(a[:, ::2]) @ x[:250], np.dot(a[:, ::2], x[:250]))
        and np.array_equal(copy(reverse) @ y, np.dot(reverse, y))
    )


def main():
    total = hashlib.sha256()
    for dtype in (np.float32, np.float64):
        results = dict(products(dtype))
        for name, result in results.items():
            data = np.ascontiguousarray(result).tobytes()
            total.update(data)
            print(f"{np.dtype(dtype).name:<8} {name:<20} {hashlib.sha256(data).hexdigest()[:16]}")
        whole = results["a @ b"]
        split = np.array_equal(results["a row alone"], whole[17:18]) and np.array_equal(results["in two halves"], whole)
        print(f"{np.dtype(dtype).name:<8} rows of split batches are the same: {'yes' if split else 'no'}")
        total.update(bytes([split]))
        print(f"{np.dtype(dtype).name:<8} contiguous copies have the same bits: {'yes' if copies_agree(dtype) else 'no'}")
    print(f"all {total.hexdigest()[:16]}")


if __name__ == "__main__":
    main()
