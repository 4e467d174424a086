"""Layers as functions: see :mod:`gaitprop.torch` for the formulas."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from gaitprop._errors import Error
from gaitprop.torch import _ops
from gaitprop.torch._checks import (
    IMPLEMENTATIONS,
    REDUCTIONS,
    RULES,
    TARGET_RULES,
    check_dtype,
    check_gamma,
    choice,
    parse_activation,
    perturbation_scale,
)
from gaitprop.torch._solvers import Solver

__all__ = ["dfa_linear", "gait_linear", "rule_linear"]


def _check_layer(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    check_dtype("the weights", weight)
    if weight.dim() != 2:
        raise Error(f"the weights have {weight.dim()} dimensions, but must have 2: n_in x n_out")
    check_dtype("the input", x, weight)
    if x.dim() < 1 or x.shape[-1] != weight.shape[0]:
        raise Error(
            f"the input has shape {tuple(x.shape)}, but its last dimension must be the "
            f"{weight.shape[0]} rows of the weights"
        )
    if bias is not None:
        check_dtype("the bias", bias, weight)
        if bias.shape != (weight.shape[1],):
            raise Error(
                f"the bias has shape {tuple(bias.shape)}, but the layer has {weight.shape[1]} units"
            )


def rule_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    rule: str,
    activation: str = "leaky-relu:0.1",
    gamma: float = 1e-3,
    above: int = 0,
    reduction: str = "mean",
    feedback: Tensor | None = None,
    solver: Solver | None = None,
    implementation: str = "auto",
) -> Tensor:
    """Return ``f(x W + b)`` whose backward pass sends a rule's errors down.

    Parameters
    ----------
    x : Tensor, shape (..., n_in)
        Input; rows are samples.
    weight : Tensor, shape (n_in, n_out)
        W. Target rules invert it, so it must be square if `x` requires a gradient.
    bias : Tensor, shape (n_out,), optional
        b.
    rule : {'bp', 'gait', 'itp', 'tp', 'fa'}
        How credit reaches `x`. Gradients of `weight` and `bias` are exact for every rule.
    activation : str
        ``leaky-relu``, ``leaky-relu:SLOPE``, ``tanh`` or ``identity``.
    gamma : float
        Perturbation factor of GAIT and ITP, from 0 to 1; 0 is the linear limit.
    above : int
        Number of layers above this one. The perturbation has size gamma^(above + 1).
    reduction : {'mean', 'sum'}
        How the loss adds samples. With a mean, an error is the gradient times the batch.
    feedback : Tensor, shape (n_in, n_out), optional
        B of ``rule='fa'``.
    solver : Solver, optional
        Solver of the native kernels, kept between steps. The default is LU with new factors.
    implementation : {'auto', 'native', 'torch'}
        ``native`` forces the kernels, ``torch`` forces operations of torch. ``auto`` takes the
        kernels for tensors on the CPU.

    Returns
    -------
    Tensor, shape (..., n_out)

    Raises
    ------
    TypeError
        If a tensor is neither float32 nor float64, or types differ.
    gaitprop.Error
        If shapes or settings do not fit.
    gaitprop.SingularMatrixError
        In the backward pass of a target rule, if W has no accurate inverse.
    """
    choice("rule", rule, RULES)
    choice("implementation", implementation, IMPLEMENTATIONS)
    choice("reduction", reduction, REDUCTIONS)
    if rule == "dfa":
        raise Error("direct feedback takes the output's error: use dfa_linear, or GaitNet")
    kind, slope = parse_activation(activation)
    check_gamma(gamma)
    _check_layer(x, weight, bias)
    if rule == "fa":
        if feedback is None:
            raise Error("feedback alignment needs feedback of the weights' shape")
        check_dtype("the feedback", feedback, weight)
        if feedback.shape != weight.shape:
            raise Error(
                f"the feedback has shape {tuple(feedback.shape)}, but must have the weights' "
                f"{tuple(weight.shape)}"
            )
    elif feedback is not None:
        raise Error(f"rule {rule!r} takes no feedback")
    scale = None
    if rule in TARGET_RULES:
        scale = perturbation_scale(rule, gamma, above)
        if x.requires_grad and torch.is_grad_enabled() and weight.shape[0] != weight.shape[1]:
            raise Error(
                f"the weights are {weight.shape[0]}x{weight.shape[1]}, but must be square: targets "
                "go down through their inverse (only a first layer, whose input needs no gradient, "
                "may be rectangular)"
            )
    y, _ = _ops.linear(
        x if x.dim() == 2 else x.reshape(-1, x.shape[-1]),
        weight,
        bias,
        feedback,
        kind,
        slope,
        rule,
        scale,
        reduction == "mean",
        0 if solver is None else solver.number,
        implementation,
    )
    return cast(Tensor, y if x.dim() == 2 else y.reshape((*x.shape[:-1], weight.shape[1])))


def gait_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: str = "leaky-relu:0.1",
    gamma: float = 1e-3,
    above: int = 0,
    reduction: str = "mean",
    solver: Solver | None = None,
    implementation: str = "auto",
) -> Tensor:
    """Return ``f(x W + b)`` whose backward pass sends GAIT's errors down.

    The same as :func:`rule_linear` with ``rule='gait'``, which describes the arguments.
    """
    return rule_linear(
        x,
        weight,
        bias,
        rule="gait",
        activation=activation,
        gamma=gamma,
        above=above,
        reduction=reduction,
        solver=solver,
        implementation=implementation,
    )


def dfa_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    feedback: Tensor,
    wire: Tensor | None = None,
    last: bool = False,
    activation: str = "leaky-relu:0.1",
    implementation: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Return ``f(x W + b)`` whose backward pass sends the output's error straight down.

    Each layer passes a wire to the next. The wire is zero; its gradient is that of the label units
    before the output's activation, which the last layer puts there.

    Parameters
    ----------
    x : Tensor, shape (batch, n_in)
        Input.
    weight : Tensor, shape (n_in, n_out)
        W.
    bias : Tensor, shape (n_out,), optional
        b.
    feedback : Tensor, shape (labels, n_in)
        B, fixed and random: from the label units to `x`.
    wire : Tensor, shape (batch, labels), optional
        Second result of the layer below. The first layer has none.
    last : bool
        Whether this is the last layer. Its first `labels` units are the label units.
    activation, implementation
        As in :func:`rule_linear`.

    Returns
    -------
    y : Tensor, shape (batch, n_out)
    wire : Tensor, shape (batch, labels)
    """
    choice("implementation", implementation, IMPLEMENTATIONS)
    kind, slope = parse_activation(activation)
    _check_layer(x, weight, bias)
    if x.dim() != 2:
        raise Error(f"the input has {x.dim()} dimensions, but must have 2: batch x n_in")
    check_dtype("the feedback", feedback, weight)
    if feedback.dim() != 2 or feedback.shape[1] != weight.shape[0]:
        raise Error(
            f"the feedback has shape {tuple(feedback.shape)}, but must be labels x "
            f"{weight.shape[0]}"
        )
    labels = feedback.shape[0]
    if last and labels > weight.shape[1]:
        raise Error(f"the last layer has {weight.shape[1]} units, but there are {labels} labels")
    if wire is not None:
        check_dtype("the wire", wire, weight)
        if wire.shape != (x.shape[0], labels):
            raise Error(
                f"the wire has shape {tuple(wire.shape)}, but must be {(x.shape[0], labels)}"
            )
    y, _, wire = _ops.dfa_linear(x, weight, bias, feedback, wire, kind, slope, last, implementation)
    return cast(Tensor, y), cast(Tensor, wire)
