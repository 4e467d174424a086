"""Operators ``gaitprop::*``: what a layer computes, and what autograd carries down.

Each operator is opaque to ``torch.compile``. It computes CPU tensors by the native kernels, without
a copy, and others by operations of torch; ``implementation`` forces one of the two.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gaitprop._errors import Error
from gaitprop.torch import _formulas as formulas
from gaitprop.torch import _kernels as kernels
from gaitprop.torch._checks import TARGET_RULES

__all__ = ["dfa_linear", "linear", "orthogonality"]

_NO_SECOND = (
    "gaitprop.torch has no second derivatives: a rule's errors are not the gradient of a function; "
    "call backward without create_graph"
)


def _native(implementation: str, tensor: Tensor) -> bool:
    """Return whether the native kernels compute a call."""
    on_cpu = tensor.device.type == "cpu"
    if implementation == "native" and not on_cpu:
        raise Error(
            f"the native kernels compute tensors on the CPU, but these are on {tensor.device}"
        )
    return on_cpu and implementation != "torch"


def _refuse_second(ctx: Any, *grads: Tensor | None) -> Any:
    raise RuntimeError(_NO_SECOND)


def _nothing(ctx: Any, inputs: Any, output: Any) -> None:
    pass


# ---- forward ------------------------------------------------------------------------------------


def _forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, kind: str, slope: float, implementation: str
) -> tuple[Tensor, Tensor]:
    if _native(implementation, x):
        return kernels.forward(x, weight, bias, kind, slope)
    h = x @ weight if bias is None else torch.addmm(bias, x, weight)
    return formulas.activate(h, kind, slope)


def _forward_fake(x: Tensor, weight: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    shape = (x.shape[0], weight.shape[1])
    return x.new_empty(shape), x.new_empty(shape if kind == "tanh" else (0,))


def _linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    feedback: Tensor | None,
    kind: str,
    slope: float,
    rule: str,
    scale: float | None,
    mean: bool,
    solver: int,
    implementation: str,
) -> tuple[Tensor, Tensor]:
    return _forward(x, weight, bias, kind, slope, implementation)


linear = torch.library.custom_op(
    "gaitprop::linear",
    _linear,
    mutates_args=(),
    schema=(
        "(Tensor x, Tensor weight, Tensor? bias, Tensor? feedback, str kind, float slope, str rule,"
        " float? scale, bool mean, int solver, str implementation) -> (Tensor, Tensor)"
    ),
)


@linear.register_fake
def _linear_fake(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    feedback: Tensor | None,
    kind: str,
    slope: float,
    rule: str,
    scale: float | None,
    mean: bool,
    solver: int,
    implementation: str,
) -> tuple[Tensor, Tensor]:
    return _forward_fake(x, weight, kind)


def _linear_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, _, feedback, *ctx.settings = inputs
    y, kept = output
    ctx.save_for_backward(x, weight, feedback, y, kept)
    ctx.mark_non_differentiable(kept)


def _linear_backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    x, weight, feedback, y, kept = ctx.saved_tensors
    kind, slope, rule, scale, mean, solver, implementation = ctx.settings
    need_x, need_w, need_b = ctx.needs_input_grad[:3]
    dx = dw = db = None
    if need_x:
        dx = send_down(
            grad, y, kept, weight, feedback, kind, slope, rule, scale, mean, solver, implementation
        )
    if need_w or need_b:
        dw, db = local_gradients(grad, y, kept, x, kind, slope, implementation)
    return (dx, dw if need_w else None, db if need_b else None, None, *[None] * 7)


linear.register_autograd(_linear_backward, setup_context=_linear_context)


# ---- the gradients of a layer's own parameters --------------------------------------------------


def _local_gradients(
    grad: Tensor, y: Tensor, kept: Tensor, x: Tensor, kind: str, slope: float, implementation: str
) -> tuple[Tensor, Tensor]:
    if _native(implementation, x):
        return kernels.local_gradients(grad, y, kept, x, kind, slope)
    delta = formulas.gradient_through(grad, y, kept, kind, slope)
    return x.T @ delta, delta.sum(0)


local_gradients = torch.library.custom_op(
    "gaitprop::local_gradients",
    _local_gradients,
    mutates_args=(),
    schema=(
        "(Tensor grad, Tensor y, Tensor kept, Tensor x, str kind, float slope, str implementation)"
        " -> (Tensor, Tensor)"
    ),
)


@local_gradients.register_fake
def _local_gradients_fake(
    grad: Tensor, y: Tensor, kept: Tensor, x: Tensor, kind: str, slope: float, implementation: str
) -> tuple[Tensor, Tensor]:
    return x.new_empty((x.shape[1], y.shape[1])), x.new_empty((y.shape[1],))


local_gradients.register_autograd(_refuse_second, setup_context=_nothing)


# ---- errors to the layer below ------------------------------------------------------------------


def _send_down(
    grad: Tensor,
    y: Tensor,
    kept: Tensor,
    weight: Tensor,
    feedback: Tensor | None,
    kind: str,
    slope: float,
    rule: str,
    scale: float | None,
    mean: bool,
    solver: int,
    implementation: str,
) -> Tensor:
    native = _native(implementation, y)
    if rule not in TARGET_RULES:
        matrix = weight if feedback is None else feedback
        if native:
            return kernels.feed_back(grad, y, kept, matrix, kind, slope)
        return formulas.gradient_through(grad, y, kept, kind, slope) @ matrix.T
    if mean and scale is not None:
        # The loss is a mean over samples, so grad is -e / batch: s e = (s batch) (e / batch).
        scale *= y.shape[0]
    if native:
        return kernels.send_target(grad, y, kept, weight, kind, slope, rule, scale, solver)
    r = formulas.perturb(y, kept, -grad, kind, slope, rule, scale)
    return -formulas.solve(r, weight)


send_down = torch.library.custom_op(
    "gaitprop::send_down",
    _send_down,
    mutates_args=(),
    schema=(
        "(Tensor grad, Tensor y, Tensor kept, Tensor weight, Tensor? feedback, str kind,"
        " float slope, str rule, float? scale, bool mean, int solver, str implementation) -> Tensor"
    ),
)


@send_down.register_fake
def _send_down_fake(
    grad: Tensor,
    y: Tensor,
    kept: Tensor,
    weight: Tensor,
    feedback: Tensor | None,
    kind: str,
    slope: float,
    rule: str,
    scale: float | None,
    mean: bool,
    solver: int,
    implementation: str,
) -> Tensor:
    return y.new_empty((y.shape[0], weight.shape[0]))


send_down.register_autograd(_refuse_second, setup_context=_nothing)


# ---- direct feedback alignment ------------------------------------------------------------------
#
# The output's delta reaches every layer along a wire of shape (batch, labels). The wire holds zeros
# on the way up; its gradient is -δ of the label units on the way down.


def _dfa_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    feedback: Tensor,
    wire: Tensor | None,
    kind: str,
    slope: float,
    last: bool,
    implementation: str,
) -> tuple[Tensor, Tensor, Tensor]:
    y, kept = _forward(x, weight, bias, kind, slope, implementation)
    return y, kept, x.new_zeros((x.shape[0], feedback.shape[0]))


dfa_linear = torch.library.custom_op(
    "gaitprop::dfa_linear",
    _dfa_linear,
    mutates_args=(),
    schema=(
        "(Tensor x, Tensor weight, Tensor? bias, Tensor feedback, Tensor? wire, str kind,"
        " float slope, bool last, str implementation) -> (Tensor, Tensor, Tensor)"
    ),
)


@dfa_linear.register_fake
def _dfa_linear_fake(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    feedback: Tensor,
    wire: Tensor | None,
    kind: str,
    slope: float,
    last: bool,
    implementation: str,
) -> tuple[Tensor, Tensor, Tensor]:
    y, kept = _forward_fake(x, weight, kind)
    return y, kept, x.new_empty((x.shape[0], feedback.shape[0]))


def _dfa_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, _, _, feedback, _, *ctx.settings = inputs
    y, kept, _ = output
    ctx.save_for_backward(x, feedback, y, kept)
    ctx.mark_non_differentiable(kept)


def _dfa_backward(
    ctx: Any, grad: Tensor, _: Tensor | None, on_wire: Tensor
) -> tuple[Tensor | None, ...]:
    x, feedback, y, kept = ctx.saved_tensors
    kind, slope, last, implementation = ctx.settings
    need_x, need_w, need_b, _, need_wire = ctx.needs_input_grad[:5]
    if last and (need_x or need_wire):
        on_wire = output_delta(grad, y, kept, feedback, kind, slope)
    dx = dw = db = None
    if need_x:
        dx = product(on_wire, feedback, implementation)
    if need_w or need_b:
        dw, db = local_gradients(grad, y, kept, x, kind, slope, implementation)
    wire = on_wire.clone() if need_wire else None
    return (dx, dw if need_w else None, db if need_b else None, None, wire, *[None] * 4)


dfa_linear.register_autograd(_dfa_backward, setup_context=_dfa_context)


def _output_delta(
    grad: Tensor, y: Tensor, kept: Tensor, feedback: Tensor, kind: str, slope: float
) -> Tensor:
    labels = feedback.shape[0]
    kept = kept[:, :labels] if kind == "tanh" else kept
    through = formulas.gradient_through(grad[:, :labels], y[:, :labels], kept, kind, slope)
    # The identity's gradient would be a view of `grad`.
    return through.clone(memory_format=torch.contiguous_format)


output_delta = torch.library.custom_op(
    "gaitprop::output_delta",
    _output_delta,
    mutates_args=(),
    schema=(
        "(Tensor grad, Tensor y, Tensor kept, Tensor feedback, str kind, float slope) -> Tensor"
    ),
)


@output_delta.register_fake
def _output_delta_fake(
    grad: Tensor, y: Tensor, kept: Tensor, feedback: Tensor, kind: str, slope: float
) -> Tensor:
    return y.new_empty((y.shape[0], feedback.shape[0]))


output_delta.register_autograd(_refuse_second, setup_context=_nothing)


def _product(a: Tensor, b: Tensor, implementation: str) -> Tensor:
    return kernels.product(a, b) if _native(implementation, a) else a @ b


product = torch.library.custom_op(
    "gaitprop::product",
    _product,
    mutates_args=(),
    schema="(Tensor a, Tensor b, str implementation) -> Tensor",
)


@product.register_fake
def _product_fake(a: Tensor, b: Tensor, implementation: str) -> Tensor:
    return a.new_empty((a.shape[0], b.shape[1]))


product.register_autograd(_refuse_second, setup_context=_nothing)


# ---- orthogonality ------------------------------------------------------------------------------


def _orthogonality(
    weight: Tensor, identity: bool, columns: bool, implementation: str
) -> tuple[Tensor, Tensor]:
    if _native(implementation, weight):
        return kernels.orthogonality(weight, identity, columns)
    v = weight.T if columns else weight
    gram = v @ v.T
    if identity:
        gram.diagonal().sub_(1.0)
    else:
        gram.fill_diagonal_(0.0)
    return gram.square().sum(), gram


orthogonality = torch.library.custom_op(
    "gaitprop::orthogonality",
    _orthogonality,
    mutates_args=(),
    schema=("(Tensor weight, bool identity, bool columns, str implementation) -> (Tensor, Tensor)"),
)


@orthogonality.register_fake
def _orthogonality_fake(
    weight: Tensor, identity: bool, columns: bool, implementation: str
) -> tuple[Tensor, Tensor]:
    n = weight.shape[1 if columns else 0]
    return weight.new_empty(()), weight.new_empty((n, n))


def _orthogonality_context(
    ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]
) -> None:
    weight, _, ctx.columns, ctx.implementation = inputs
    ctx.save_for_backward(weight, output[1])
    ctx.mark_non_differentiable(output[1])


def _orthogonality_backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    weight, gram = ctx.saved_tensors
    return (
        orthogonality_gradient(grad, gram, weight, ctx.columns, ctx.implementation),
        None,
        None,
        None,
    )


orthogonality.register_autograd(_orthogonality_backward, setup_context=_orthogonality_context)


def _orthogonality_gradient(
    grad: Tensor, gram: Tensor, weight: Tensor, columns: bool, implementation: str
) -> Tensor:
    if _native(implementation, weight):
        return kernels.orthogonality_gradient(float(grad), gram, weight, columns)
    factor = 4.0 * grad
    return factor * (weight @ gram if columns else gram @ weight)


orthogonality_gradient = torch.library.custom_op(
    "gaitprop::orthogonality_gradient",
    _orthogonality_gradient,
    mutates_args=(),
    schema=(
        "(Tensor grad, Tensor gram, Tensor weight, bool columns, str implementation) -> Tensor"
    ),
)


@orthogonality_gradient.register_fake
def _orthogonality_gradient_fake(
    grad: Tensor, gram: Tensor, weight: Tensor, columns: bool, implementation: str
) -> Tensor:
    return torch.empty_like(weight, memory_format=torch.contiguous_format)


orthogonality_gradient.register_autograd(_refuse_second, setup_context=_nothing)
