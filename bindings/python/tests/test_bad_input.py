"""Bad input: an exception of the right class with a sentence, and nothing written."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gaitprop
from conftest import Array
from gaitprop import linalg

EYE = np.eye(4)
Call = Callable[[Any], Any]
CALLS: list[Call] = [
    lambda x: linalg.matmul(x, EYE),
    lambda x: linalg.matmul(EYE, x),
    lambda x: linalg.solve(x, EYE),
    lambda x: linalg.solve(EYE, x),
    lambda x: linalg.cholesky(x),
    lambda x: linalg.lu_factor(x),
    lambda x: linalg.lu_solve((x, np.arange(4)), EYE),
    lambda x: linalg.lu_solve((EYE, np.arange(4)), x),
    lambda x: linalg.solve_triangular(x, EYE),
    lambda x: linalg.solve_triangular(EYE, x),
    lambda x: linalg.syrk(x),
]
each_call = pytest.mark.parametrize("call", CALLS)


def unaligned(a: Array) -> Array:
    memory = np.zeros(a.nbytes + 1, np.uint8)[1:]
    b: Array = memory.view(a.dtype).reshape(a.shape)
    b[...] = a
    return b


def odd_strides(a: Array) -> Array:
    fields = np.zeros(a.shape, [("x", a.dtype), ("y", np.uint8)])
    fields["x"] = a
    return fields["x"]


@each_call
@pytest.mark.parametrize(
    "dtype", ["float16", "int64", "bool", "complex128", "O", "S8", "datetime64[s]"]
)
def test_other_dtypes(call: Call, dtype: str) -> None:
    with pytest.raises(TypeError, match=r"must be float32 or float64: convert it with .*astype"):
        call(np.zeros((4, 4), dtype))


@each_call
def test_long_double(call: Call) -> None:
    with pytest.raises(TypeError, match="must be float32 or float64"):
        call(np.zeros((4, 4), np.longdouble))


@each_call
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_another_byte_order(call: Call, dtype: str) -> None:
    swapped = np.eye(4, dtype=np.dtype(dtype).newbyteorder("S"))
    with pytest.raises(
        TypeError, match=rf"byte order: convert it with \w+\.astype\(numpy\.{dtype}\)"
    ):
        call(swapped)


@each_call
def test_no_numbers(call: Call) -> None:
    for what in ("text", None, {1: 2}, object(), [[1, 2], [3, 4]]):
        with pytest.raises(TypeError):
            call(what)
    with pytest.raises((TypeError, ValueError)):
        call([[1.0, 2.0], [3.0]])


@pytest.mark.parametrize("call", [c for c in CALLS if c not in (CALLS[4], CALLS[5], CALLS[10])])
def test_two_dtypes(call: Call) -> None:
    with pytest.raises(TypeError, match=r"is float(32|64) and \w+ is float(32|64): convert one"):
        call(np.eye(4, dtype=np.float32))


@each_call
def test_unaligned(call: Call) -> None:
    with pytest.raises(
        gaitprop.Error, match=r"is not aligned to its elements: copy it with numpy\.require"
    ):
        call(unaligned(EYE))


@each_call
def test_strides_that_are_no_whole_number_of_elements(call: Call) -> None:
    with pytest.raises(
        gaitprop.Error, match=r"no whole number of elements: copy it with numpy\.ascontiguousarray"
    ):
        call(odd_strides(EYE))


def test_a_stride_that_no_index_uses_may_be_any() -> None:
    one = odd_strides(np.full((1, 1), 3.0))
    assert linalg.matmul(one, one).tolist() == [[9.0]]


@each_call
def test_scalars(call: Call) -> None:
    with pytest.raises(gaitprop.Error, match="has 0 dimensions, but must have at least"):
        call(np.array(1.0))


@pytest.mark.parametrize("call", CALLS[:4] + CALLS[6:10])
def test_sizes_that_differ(call: Call) -> None:
    with pytest.raises(gaitprop.Error, match=r"the two must be equal|but must have \(3,\)"):
        call(np.ones((3, 3)))


@pytest.mark.parametrize("call", [CALLS[2], *CALLS[4:7], CALLS[8]])
def test_matrices_that_are_not_square(call: Call) -> None:
    with pytest.raises(
        gaitprop.Error, match="must be square, but its last two dimensions are 4 and 5"
    ):
        call(np.ones((4, 5)))
    with pytest.raises(gaitprop.Error, match="has 1 dimensions, but must have at least 2"):
        call(np.ones(4))


def test_stacks_that_do_not_broadcast() -> None:
    with pytest.raises(
        gaitprop.Error, match=r"stacks of \(2,\) and \(3,\) matrices do not broadcast"
    ):
        linalg.matmul(np.ones((2, 4, 4)), np.ones((3, 4, 4)))
    with pytest.raises(gaitprop.Error, match=r"stacks of \(2, 1\) and \(3, 5\) matrices"):
        linalg.solve(np.ones((2, 1, 4, 4)), np.ones((3, 5, 4, 4)))


def test_too_many_dimensions() -> None:
    if np.lib.NumpyVersion(np.__version__) < "2.0.0":
        pytest.skip("NumPy 1 has no more than 32 dimensions")
    with pytest.raises(gaitprop.Error, match="has 33 dimensions, but must have at most 32"):
        linalg.matmul(np.ones((1,) * 33), EYE)


def test_a_result_that_fits_no_memory() -> None:
    huge = np.broadcast_to(np.float64(1), (1 << 30, 1))
    with pytest.raises(MemoryError):
        linalg.matmul(huge, huge.T[:, : 1 << 28])
    with pytest.raises(ValueError, match="too big"):
        linalg.matmul(
            np.broadcast_to(np.float64(1), (1 << 40, 1)),
            np.broadcast_to(np.float64(1), (1, 1 << 40)),
        )
    with pytest.raises(MemoryError):
        linalg.solve(
            np.broadcast_to(np.float64(1), (1 << 25, 1 << 25)),
            np.broadcast_to(np.float64(1), 1 << 25),
        )


OUTPUTS: list[Call] = [
    lambda out: linalg.matmul(EYE, EYE, out),
    lambda out: linalg.solve(EYE, EYE, out),
    lambda out: linalg.cholesky(EYE, out),
    lambda out: linalg.lu_factor(EYE, out),
    lambda out: linalg.lu_solve((EYE, np.arange(4)), EYE, out),
    lambda out: linalg.solve_triangular(EYE, EYE, out),
    lambda out: linalg.syrk(EYE, out),
]
each_output = pytest.mark.parametrize("call", OUTPUTS)


@each_output
def test_outputs(call: Call) -> None:
    good = np.full((4, 4), 7.0)
    frozen = good.view()
    frozen.flags.writeable = False
    for error, match, out in [
        (TypeError, "out must be a numpy.ndarray, not list", [[1.0]]),
        (TypeError, "out has dtype float32, but must be float64", good.astype(np.float32)),
        (TypeError, "out has dtype int64, but must be float32 or float64", good.astype(np.int64)),
        (TypeError, "byte order", good.astype(">f8" if np.little_endian else "<f8")),
        (gaitprop.Error, r"out has shape \(4, 3\), but must have \(4, 4\)", good[:, :3]),
        (gaitprop.Error, r"out has shape \(16,\), but must have \(4, 4\)", good.ravel()),
        (gaitprop.Error, "out is read-only", frozen),
        (gaitprop.Error, "out is read-only", np.broadcast_to(np.float64(0), (4, 4))),
        (gaitprop.Error, "out is not aligned", unaligned(good)),
        (gaitprop.Error, "no whole number of elements", odd_strides(good)),
        (
            gaitprop.Error,
            "out reaches an element by two indices",
            np.lib.stride_tricks.as_strided(good, (4, 4), (8, 8)),
        ),
        (
            gaitprop.Error,
            "out reaches an element by two indices",
            np.lib.stride_tricks.as_strided(good, (4, 4), (0, 8)),
        ),
        (gaitprop.Error, "out shares memory with", EYE),
        (gaitprop.Error, "out shares memory with", EYE.T[::-1]),
    ]:
        with pytest.raises(error, match=match):
            call(out)
    assert np.all(good == 7)
    assert np.all(np.eye(4) == EYE)


def test_blocks_that_share_no_element() -> None:
    c = np.random.default_rng(0).standard_normal((8, 12))
    expected = c[:, :4] @ c[:4, 4:8]
    linalg.matmul(c[:, :4], c[:4, 4:8], out=c[:, 8:])
    np.testing.assert_allclose(c[:, 8:], expected)
    with pytest.raises(gaitprop.Error, match="out shares memory with b"):
        linalg.matmul(c[:, :4], c[:4, 4:8], out=c[:, 7:11])
    # Even columns read, odd columns written.
    linalg.matmul(c[:6, ::2], c[:6, ::2].copy(), out=c[:6, 1::2])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_singular_matrices(dtype: Any) -> None:
    zero, b = np.zeros((3, 3), dtype), np.ones(3, dtype)
    for call in (
        lambda: linalg.solve(zero, b),
        lambda: linalg.lu_factor(zero),
        lambda: linalg.lu_solve((zero, np.arange(3)), b),
        lambda: linalg.solve_triangular(zero, b),
        lambda: linalg.solve(np.stack([np.eye(3, dtype=dtype), zero]), b),
    ):
        with pytest.raises(
            gaitprop.SingularMatrixError, match="singular matrix: zero pivot at index 0"
        ) as caught:
            call()
        assert isinstance(caught.value, gaitprop.Error)
        assert isinstance(caught.value, np.linalg.LinAlgError)
        assert isinstance(caught.value, ValueError)
    with pytest.raises(
        gaitprop.NotPositiveDefiniteError, match="pivot 1 is not positive"
    ) as caught_too:
        linalg.cholesky(np.diag([1, -1, 1]).astype(dtype))
    assert isinstance(caught_too.value, np.linalg.LinAlgError)


def test_numbers_that_are_not_finite() -> None:
    for bad in (np.nan, np.inf):
        a = np.full((3, 3), bad)
        for call in (
            lambda a=a: linalg.solve(a, np.ones(3)),
            lambda a=a: linalg.cholesky(a),
            lambda a=a: linalg.lu_factor(a),
        ):
            with pytest.raises(gaitprop.Error, match="contains an infinity or NaN"):
                call()
    # A product passes them on.
    assert np.isnan(linalg.matmul(np.array([[np.inf]]), np.array([[0.0]]))).all()


def test_nothing_is_written_after_an_error() -> None:
    stack = np.stack([np.eye(3), np.zeros((3, 3))])
    for call in (
        lambda out: linalg.solve(stack, np.eye(3), out),
        lambda out: linalg.lu_factor(stack, out),
        lambda out: linalg.cholesky(stack, out),
        lambda out: linalg.solve_triangular(stack, np.eye(3), out),
        lambda out: linalg.lu_solve((stack, np.zeros((2, 3), int) + np.arange(3)), np.eye(3), out),
    ):
        out = np.full((2, 3, 3), 7.0)
        with pytest.raises(np.linalg.LinAlgError):
            call(out)
        assert np.all(out == 7)


def test_pivots() -> None:
    b = np.ones(4)
    for piv in ([0, 1, 2, 4], [0, 0, 2, 3], [-1, 1, 2, 3]):
        with pytest.raises(gaitprop.Error, match="a pivot is"):
            linalg.lu_solve((EYE, np.array(piv)), b)
    with pytest.raises(gaitprop.Error, match=r"piv has shape \(3,\), but must have \(4,\)"):
        linalg.lu_solve((EYE, np.arange(3)), b)
    with pytest.raises(TypeError, match="piv has dtype float64, but must be integers"):
        linalg.lu_solve((EYE, np.arange(4.0)), b)  # type: ignore[arg-type]
    for kind in ("int8", "uint16", "int32", ">i8"):
        assert linalg.lu_solve((EYE, np.arange(4).astype(kind)), b).tolist() == b.tolist()


def test_options() -> None:
    for trans in (3, -1, "X", ""):
        with pytest.raises(gaitprop.Error, match=r"trans is .*, but must be"):
            linalg.solve_triangular(EYE, EYE, trans=trans)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="trans must be"):
        linalg.solve_triangular(EYE, EYE, trans=[])  # type: ignore[arg-type]
    with pytest.raises(gaitprop.Error, match='part is "left", but must be'):
        linalg.syrk(EYE, part="left")  # type: ignore[arg-type]
    with pytest.raises(gaitprop.Error, match="there is no out"):
        linalg.syrk(EYE, beta=1.0)
    for threads in (-1, 0, 1025):
        with pytest.raises(gaitprop.Error, match=r"threads is .*, but must be from 1 to 1024"):
            linalg.matmul(EYE, EYE, threads=threads)
        with pytest.raises(gaitprop.Error, match=r"threads is .*, but must be from 1 to 1024"):
            gaitprop.set_num_threads(threads)
    with pytest.raises(OverflowError):
        gaitprop.set_num_threads(10**30)
    with pytest.raises(TypeError):
        gaitprop.set_num_threads(1.5)  # type: ignore[arg-type]
