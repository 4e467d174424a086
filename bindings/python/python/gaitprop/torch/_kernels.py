"""Calls of the native kernels: tensors on the CPU become arrays without a copy."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gaitprop import _native
from gaitprop.torch import _solvers

__all__ = [
    "adam",
    "feed_back",
    "forward",
    "local_gradients",
    "orthogonality",
    "orthogonality_gradient",
    "product",
    "send_target",
]


def _array(tensor: Tensor) -> Any:
    return tensor.detach().numpy()


def _row(tensor: Tensor) -> Any:
    """Return a vector as an array of one row."""
    return tensor.detach().contiguous().numpy()[None]


def _kept(kept: Tensor, kind: str) -> Any:
    return _array(kept) if kind == "tanh" else None


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, kind: str, slope: float
) -> tuple[Tensor, Tensor]:
    """Return y = f(x W + b), and f' where it is kept."""
    y = x.new_empty((x.shape[0], weight.shape[1]))
    kept = torch.empty_like(y) if kind == "tanh" else x.new_empty(0)
    _native.layer_forward(
        _array(x),
        _array(weight),
        None if bias is None else _row(bias),
        _array(y),
        _kept(kept, kind),
        kind,
        slope,
        torch.get_num_threads(),
    )
    return y, kept


def local_gradients(
    grad: Tensor, y: Tensor, kept: Tensor, x: Tensor, kind: str, slope: float
) -> tuple[Tensor, Tensor]:
    """Return xᵀ (f' ∘ grad) and its column sums."""
    dw = x.new_empty((x.shape[1], y.shape[1]))
    db = x.new_empty((y.shape[1],))
    _native.layer_gradients(
        _array(grad),
        _array(y),
        _kept(kept, kind),
        _array(x),
        _array(dw),
        _row(db),
        kind,
        slope,
        torch.get_num_threads(),
    )
    return dw, db


def feed_back(
    grad: Tensor, y: Tensor, kept: Tensor, matrix: Tensor, kind: str, slope: float
) -> Tensor:
    """Return (f' ∘ grad) Bᵀ."""
    dx = y.new_empty((y.shape[0], matrix.shape[0]))
    _native.layer_feedback(
        _array(grad),
        _array(y),
        _kept(kept, kind),
        _array(matrix),
        _array(dx),
        kind,
        slope,
        torch.get_num_threads(),
    )
    return dx


def send_target(
    grad: Tensor,
    y: Tensor,
    kept: Tensor,
    weight: Tensor,
    kind: str,
    slope: float,
    rule: str,
    scale: float | None,
    solver: int,
) -> Tensor:
    """Return minus the error that a target rule sends down."""
    dx = torch.empty_like(y, memory_format=torch.contiguous_format)
    known = _solvers.find(solver)
    native, version = (None, 0) if known is None else known.native(weight)
    _native.layer_targets(
        _array(grad),
        _array(y),
        _kept(kept, kind),
        _array(weight),
        _array(dx),
        kind,
        slope,
        rule,
        scale,
        native,
        version,
        torch.get_num_threads(),
    )
    return dx


def product(a: Tensor, b: Tensor) -> Tensor:
    """Return a b."""
    c = a.new_empty((a.shape[0], b.shape[1]))
    _native.layer_product(_array(a), _array(b), _array(c), torch.get_num_threads())
    return c


def orthogonality(weight: Tensor, identity: bool, columns: bool) -> tuple[Tensor, Tensor]:
    """Return ‖offdiag(V Vᵀ)‖² or ‖V Vᵀ - I‖², and the matrix inside; V is W or Wᵀ."""
    v = weight.T if columns else weight
    gram = weight.new_empty((v.shape[0], v.shape[0]))
    value = _native.layer_gram(_array(v), _array(gram), identity, torch.get_num_threads())
    return weight.new_tensor(value), gram


def orthogonality_gradient(grad: float, gram: Tensor, weight: Tensor, columns: bool) -> Tensor:
    """Return grad times the gradient of the first result of `orthogonality`."""
    out = torch.empty_like(weight, memory_format=torch.contiguous_format)
    a, b = (weight, gram) if columns else (gram, weight)
    _native.layer_product(_array(a), _array(b), _array(out), torch.get_num_threads(), 4.0 * grad)
    return out


def adam(
    theta: Tensor,
    m: Tensor,
    v: Tensor,
    grad: Tensor,
    rate: float,
    beta1: tuple[float, float],
    beta2: tuple[float, float],
    epsilon: float,
) -> bool:
    """Take a step of the published Adam in place; return whether all parameters are finite."""
    theta, m, v, grad = (t.detach().reshape(1, -1) for t in (theta, m, v, grad))
    arrays = _array(theta), _array(m), _array(v), _array(grad)
    return _native.layer_adam(*arrays, rate, beta1, beta2, epsilon)
