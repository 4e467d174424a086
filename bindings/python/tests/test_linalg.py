"""Values and bits of gaitprop.linalg."""

import doctest
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg

import gaitprop
from conftest import Array, bits, chain
from gaitprop import linalg

Draw = Callable[..., Array]


def bound(k: int, a: Array, b: Array) -> Any:
    """Error bound of a product with chains of length k, and of NumPy's beside it."""
    u = np.finfo(a.dtype).eps
    return 2 * k * u * (np.abs(a) @ np.abs(b)) + np.finfo(a.dtype).tiny


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 2), (7, 40, 9), (17, 3, 33)])
def test_matmul_has_the_bits_of_one_chain(normal: Draw, shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    a, b = normal(m, k), normal(k, n)
    assert bits(linalg.matmul(a, b)) == bits(chain(a, b))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 4), (4, 5)),
        ((7, 3, 4), (4, 5)),
        ((3, 4), (7, 4, 5)),
        ((5, 1, 2, 3), (4, 3, 6)),
        ((2, 3, 4), (2, 4, 5)),
        ((6, 1, 4), (6, 4, 5)),
        ((3, 4), (6, 4, 1)),
        ((2, 3, 1, 4, 5), (3, 6, 5, 2)),
        ((4,), (4, 5)),
        ((3, 4), (4,)),
        ((4,), (4,)),
        ((2, 3, 4), (4,)),
        ((4,), (2, 4, 5)),
        ((2, 0, 4), (2, 4, 5)),
        ((0, 3, 4), (4, 5)),
        ((3, 0), (0, 5)),
        ((0,), (0,)),
    ],
)
def test_matmul_broadcasts_as_numpy(normal: Draw, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    x, y = normal(*a), normal(*b)
    ours: Any = linalg.matmul(x, y)
    numpy = np.matmul(x, y)
    assert type(ours) is type(numpy)
    assert ours.dtype == numpy.dtype
    assert ours.shape == numpy.shape
    assert np.all(np.abs(ours - numpy) <= bound(x.shape[-1], x, y))


def layouts(a: Array) -> list[Array]:
    """Return equal arrays with other strides: none is a copy of the first layout."""
    *batch, m, n = a.shape
    wide = np.full((*batch, 2 * m, 3 * n), np.nan, a.dtype)
    wide[..., ::2, ::3] = a
    flipped = np.ascontiguousarray(a[..., ::-1, ::-1])
    turned = np.ascontiguousarray(a.swapaxes(-1, -2))
    return [a, wide[..., ::2, ::3], flipped[..., ::-1, ::-1], turned.swapaxes(-1, -2)]


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_strides_change_no_bit(normal: Draw, batch: tuple[int, ...]) -> None:
    a, b = normal(*batch, 13, 21), normal(*batch, 21, 18)
    expected = bits(linalg.matmul(a, b))
    for x in layouts(a):
        for y in layouts(b):
            assert bits(linalg.matmul(x, y)) == expected
            for out in layouts(np.full((*batch, 13, 18), np.nan, a.dtype)):
                assert linalg.matmul(x, y, out) is out
                assert bits(out) == expected


def test_a_broadcast_input_has_strides_of_0(normal: Draw) -> None:
    row = normal(1, 6)
    a = np.broadcast_to(row, (4, 6))
    b = normal(6, 3)
    assert bits(linalg.matmul(a, b)) == bits(np.broadcast_to(linalg.matmul(row, b), (4, 3)))


def test_the_gaps_of_an_output_stay(normal: Draw) -> None:
    wide = np.full((6, 8), 7, normal().dtype)
    linalg.matmul(normal(3, 5), normal(5, 4), out=wide[::2, ::2])
    assert np.all(wide[1::2] == 7)
    assert np.all(wide[:, 1::2] == 7)


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_threads_and_stacks_change_no_bit(normal: Draw, threads: int) -> None:
    a, b = normal(4, 96, 130), normal(130, 75)
    whole = linalg.matmul(a, b, threads=threads)
    for i, one in enumerate(a):
        assert bits(whole[i]) == bits(linalg.matmul(one, b, threads=1))
    assert bits(whole[2][5]) == bits(linalg.matmul(a[2, 5], b, threads=threads))
    square = normal(150, 150)
    for function in (
        lambda n: linalg.solve(square, b[:, :1].repeat(2, 0)[:150], threads=n),
        lambda n: linalg.lu_factor(square, threads=n)[0],
        lambda n: linalg.syrk(square, threads=n),
        lambda n: linalg.cholesky(
            linalg.syrk(square) + 1e3 * np.eye(150, dtype=b.dtype), threads=n
        ),
    ):
        assert bits(function(threads)) == bits(function(1))


@pytest.mark.parametrize("n", [1, 2, 17, 60])
@pytest.mark.parametrize("k", [None, 1, 5])
def test_solve(normal: Draw, n: int, k: int | None) -> None:
    a = normal(n, n) + 4 * np.eye(n, dtype=normal().dtype)
    b = normal(n) if k is None else normal(n, k)
    x = linalg.solve(a, b)
    assert x.shape == b.shape
    u = np.finfo(a.dtype).eps
    scale = np.abs(a) @ np.abs(x) + np.abs(b)
    assert np.all(np.abs(a @ x - b) <= 40 * n * u * scale)
    lu = linalg.lu_factor(a)
    assert bits(linalg.lu_solve(lu, b)) == bits(x)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 4, 4), (4, 2)),
        ((4, 4), (3, 4, 2)),
        ((2, 1, 4, 4), (3, 4, 2)),
        ((3, 4, 4), (4,)),
        ((0, 4, 4), (4, 2)),
    ],
)
def test_stacks_of_solves(normal: Draw, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    x, y = normal(*a), normal(*b)
    ours = linalg.solve(x, y)
    numpy = np.linalg.solve(x, y)
    assert ours.shape == numpy.shape
    np.testing.assert_allclose(ours, numpy, rtol=2e-3 if x.dtype == np.float32 else 1e-9)
    assert bits(linalg.lu_solve(linalg.lu_factor(x), y)) == bits(ours)
    # Each alone.
    matrices = (
        np.broadcast_to(x, (*ours.shape[: x.ndim - 2 or None], 4, 4)) if x.ndim == 3 else None
    )
    if matrices is not None and y.ndim == 2:
        for one, solution in zip(matrices, ours, strict=True):
            assert bits(linalg.solve(one, y)) == bits(solution)


@pytest.mark.parametrize("trans", [0, 1, 2, "N", "T", "C"])
def test_factors_are_scipys(normal: Draw, trans: Any) -> None:
    a, b = normal(30, 30) + 3 * np.eye(30, dtype=normal().dtype), normal(30, 4)
    lu, piv = linalg.lu_factor(a)
    theirs, their_piv = scipy.linalg.lu_factor(a)
    assert piv.dtype == np.intp
    np.testing.assert_array_equal(piv, their_piv)
    np.testing.assert_allclose(lu, theirs, rtol=1e-2 if a.dtype == np.float32 else 1e-9)
    number = {"N": 0, "T": 1, "C": 2}.get(trans, trans)
    expected = scipy.linalg.lu_solve((theirs, their_piv), b, trans=number)
    ours = linalg.lu_solve((theirs, their_piv), b, trans=trans)
    np.testing.assert_allclose(ours, expected, rtol=1e-2 if a.dtype == np.float32 else 1e-9)


def test_stacks_of_pivots_broadcast(normal: Draw) -> None:
    a, b = normal(2, 3, 5, 5), normal(4, 1, 3, 5, 2)
    lu, piv = linalg.lu_factor(a)
    assert piv.shape == (2, 3, 5)
    x = linalg.lu_solve((lu, piv), b)
    assert x.shape == (4, 2, 3, 5, 2)
    assert bits(x) == bits(linalg.solve(a, b))
    assert bits(x[3, 1, 2]) == bits(linalg.solve(a[1, 2], b[3, 0, 2]))


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (50, 50), (3, 7, 7), (0, 0), (0, 3, 3)])
def test_cholesky(normal: Draw, shape: tuple[int, ...], upper: bool) -> None:
    g = normal(*shape)
    n = shape[-1]
    a = g @ g.swapaxes(-1, -2) + n * np.eye(n, dtype=g.dtype)
    # The other triangle is never read.
    half = np.where(np.tri(n, dtype=bool).T if upper else np.tri(n, dtype=bool), a, np.nan).astype(
        a.dtype
    )
    factor = linalg.cholesky(half, upper=upper)
    assert factor.shape == a.shape
    expected = np.linalg.cholesky(a)
    expected = expected.swapaxes(-1, -2) if upper else expected
    np.testing.assert_allclose(factor, expected, atol=1e-3 if a.dtype == np.float32 else 1e-10)
    assert np.all(factor == (np.triu(factor) if upper else np.tril(factor)))


@pytest.mark.parametrize("trans", [0, 1, "T"])
@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("unit", [False, True])
def test_solve_triangular(normal: Draw, trans: Any, lower: bool, unit: bool) -> None:
    n = 33
    a = normal(n, n) / 6 + 2 * np.eye(n, dtype=normal().dtype)
    keep = np.tri(n, dtype=bool) if lower else np.tri(n, dtype=bool).T
    if unit:
        keep = keep & ~np.eye(n, dtype=bool)
    half = np.where(keep, a, np.nan).astype(a.dtype)
    for b in (normal(n), normal(n, 3)):
        ours = linalg.solve_triangular(half, b, trans=trans, lower=lower, unit_diagonal=unit)
        theirs = scipy.linalg.solve_triangular(a, b, trans=trans, lower=lower, unit_diagonal=unit)
        np.testing.assert_allclose(ours, theirs, rtol=5e-3 if a.dtype == np.float32 else 1e-9)


@pytest.mark.parametrize("trans", [False, True])
@pytest.mark.parametrize("part", ["both", "lower", "upper"])
def test_syrk(normal: Draw, trans: bool, part: Any) -> None:
    a = normal(2, 20, 31)
    rows = a.swapaxes(-1, -2) if trans else a
    n = rows.shape[-2]
    product = linalg.matmul(rows, rows.swapaxes(-1, -2))
    keep = {
        "both": np.ones((n, n), bool),
        "lower": np.tri(n, dtype=bool),
        "upper": np.tri(n, dtype=bool).T,
    }[part]
    ours = linalg.syrk(a, trans=trans, part=part)
    assert bits(ours) == bits(np.where(keep, product, 0).astype(a.dtype))
    out = np.full_like(ours, 3)
    linalg.syrk(a, out, trans=trans, part=part)
    assert bits(out) == bits(np.where(keep, product, 3).astype(a.dtype))
    start = linalg.syrk(normal(2, n, 4))
    expected = np.where(keep, 0.5 * product - 2 * start, start)
    linalg.syrk(a, start, trans=trans, part=part, alpha=0.5, beta=-2.0)
    np.testing.assert_allclose(start, expected, rtol=1e-3, atol=1e-4)


def test_outputs_of_functions_that_may_fail(normal: Draw) -> None:
    a = normal(3, 9, 9) + 9 * np.eye(9, dtype=normal().dtype)
    b = normal(9, 2)
    functions: list[Callable[[Any], Array]] = [
        lambda out: linalg.solve(a, b, out),
        lambda out: linalg.solve_triangular(a, b, out),
        lambda out: linalg.lu_solve(linalg.lu_factor(a), b, out),
    ]
    for function in functions:
        expected = function(None)
        for out in layouts(np.empty_like(expected)):
            assert function(out) is out
            assert bits(out) == bits(expected)
    out = np.empty_like(a)
    lu, _ = linalg.lu_factor(a, out)
    assert lu is out
    assert bits(out) == bits(linalg.lu_factor(a)[0])
    spd = linalg.syrk(a)
    assert linalg.cholesky(spd, out) is out
    assert bits(out) == bits(linalg.cholesky(spd))


def test_array_likes() -> None:
    result = linalg.matmul([[1.0, 2.0]], [[3.0], [4.0]])  # type: ignore[arg-type]
    assert result.tolist() == [[11.0]]

    class Tensor:
        def __array__(self, dtype: object = None, copy: object = None) -> Array:
            return np.eye(2, dtype=np.float32)

    assert linalg.matmul(Tensor(), Tensor()).tolist() == [[1, 0], [0, 1]]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", linalg.__all__)
def test_examples_in_the_documentation(name: str) -> None:
    function = getattr(linalg, name)
    assert function.__module__ == "gaitprop.linalg"
    test = doctest.DocTestParser().get_doctest(function.__doc__, {}, name, None, None)
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0


def test_names() -> None:
    assert set(linalg.__all__) <= set(dir(linalg))
    for name in gaitprop.__all__:
        getattr(gaitprop, name)
