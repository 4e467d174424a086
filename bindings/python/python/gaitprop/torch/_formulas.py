"""Formulas of a layer in operations of torch: any device, and the reference of the native kernels.

Rows are samples. W is n_in x n_out, h = x W + b, y = f(h), D = f'(h). Functions write no argument.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gaitprop._errors import Error, SingularMatrixError

__all__ = ["activate", "gradient_through", "perturb", "solve"]

# Condition number, in units of 1/u, beyond which a solution has at most one correct digit, and
# spread of pivots that justifies computing it: the library's numbers.
_HOPELESS = 0.1
_SUSPICIOUS = 1e-4


def _wide(tensor: Tensor) -> torch.dtype:
    """Return float64, or the tensor's own type on devices that have no float64."""
    return tensor.dtype if tensor.device.type == "mps" else torch.float64


def activate(h: Tensor, kind: str, slope: float) -> tuple[Tensor, Tensor]:
    """Return f(h), and f'(h) where it cannot be computed from f(h); an empty tensor elsewhere."""
    if kind == "leaky-relu":
        return torch.where(h < 0, slope * h, h), h.new_empty(0)
    if kind == "identity":
        return h.clone(), h.new_empty(0)
    q = torch.exp(-2.0 * h.abs().to(_wide(h)))
    # 1 - y² would cancel as |y| approaches 1.
    return torch.tanh(h), (4.0 * q / (1.0 + q).square()).to(h.dtype)


def derivative(y: Tensor, kept: Tensor, kind: str, slope: float) -> Tensor | float:
    """Return D of shape (batch, n); 1.0 for the identity."""
    if kind == "leaky-relu":
        return _by_side(y, slope)
    return kept if kind == "tanh" else 1.0


def _by_side(y: Tensor, below: float) -> Tensor:
    """Return `below` where y is negative and 1 elsewhere, rounded once to y's type."""
    return torch.where(y < 0, y.new_full((), below), y.new_full((), 1.0))


def gradient_through(grad: Tensor, y: Tensor, kept: Tensor, kind: str, slope: float) -> Tensor:
    """Return D ∘ grad, which is -δ, of shape (batch, n)."""
    return derivative(y, kept, kind, slope) * grad


def perturb(
    y: Tensor, kept: Tensor, e: Tensor, kind: str, slope: float, rule: str, scale: float | None
) -> Tensor:
    """Return ``[f⁻¹(y + s φ) - f⁻¹(y)] / s`` without cancellation, of shape (batch, n).

    φ is D² ∘ e for ``gait`` and e for ``itp`` and ``tp``. A `scale` of None is the limit s → 0.
    """
    if kind == "identity":
        return e.clone()
    if kind == "tanh":
        return _perturb_tanh(y, kept, e, rule, scale)
    if rule == "gait":
        d = _by_side(y, slope)
        near = d * e
        u = d * near
    else:
        u = e
        near = _by_side(y, 1.0 / slope) * e
    if scale is None:
        return near
    across, crossed = _cross(y.to(_wide(y)), u.to(_wide(y)), slope, scale)
    return torch.where(crossed, across.to(y.dtype), near)


def _cross(y: Tensor, u: Tensor, slope: float, scale: float) -> tuple[Tensor, Tensor]:
    """Return r of units that cross the kink at 0, and which units do."""
    bend = 1.0 / slope - 1.0
    tiny = torch.finfo(y.dtype).tiny
    eps = torch.finfo(y.dtype).eps
    negative = y < 0
    reach = scale * u.abs() * (1.0 + 4.0 * eps) + tiny
    reaches = torch.where(negative, (u > 0) & (-y <= reach), (u < 0) & (y < reach))
    # y / s is used only where |y| <= s |u|, so it cannot overflow there.
    to_kink = torch.where(reaches & (y != 0), y / scale if scale > 0 else y, 0.0)
    beyond = u + to_kink
    if scale > 0:
        beyond = torch.where(scale * u.abs() > 1e-290, (scale * u + y) / scale, beyond)
    crossed = reaches & torch.where(negative, beyond >= 0, beyond < 0)
    # Of two equal forms, each side takes the one that adds terms of one sign.
    if slope <= 1.0:
        r = torch.where(negative, u - bend * to_kink, u + bend * beyond)
    else:
        r = torch.where(negative, u / slope - bend * beyond, u / slope + bend * to_kink)
    return r, crossed


def _perturb_tanh(y: Tensor, kept: Tensor, e: Tensor, rule: str, scale: float | None) -> Tensor:
    dtype, wide = y.dtype, _wide(y)
    y, d, e = y.to(wide), kept.to(wide), e.to(wide)
    large = 1.0 + y.abs()
    # The smaller of 1 - y and 1 + y would cancel. Their product is d.
    small = d / large
    above = torch.where(y >= 0, small, large)
    below = torch.where(y >= 0, large, small)
    flat = (e == 0) | (d == 0)
    gait = rule == "gait"
    up, down = (above * (d * e), below * (d * e)) if gait else (e / below, e / above)
    outside = torch.zeros_like(flat) if gait else (d == 0) & (e != 0)
    if scale is None:
        r = 0.5 * (up + down)
    else:
        margin = 2.0 * torch.finfo(dtype).eps
        inside = ~flat
        outside = outside | (
            inside & ((scale * up <= margin - 1.0) | (scale * down >= 1.0 - margin))
        )
        r = 0.5 * (_scaled_log1p(scale, up) - _scaled_log1p(scale, -down))
    if bool(outside.any()):
        row, col = (int(i) for i in outside.nonzero()[0])
        raise Error(f"sample {row}, unit {col}: the target is outside the range of the activation")
    return torch.where(flat, d * e, r).to(dtype)


def _scaled_log1p(scale: float, z: Tensor) -> Tensor:
    """Return log1p(s z) / s, and z where s z is subnormal."""
    if scale == 0.0:
        return z
    sz = scale * z
    return torch.where(sz.abs() < torch.finfo(z.dtype).tiny, z, torch.log1p(sz) / scale)


def solve(r: Tensor, weight: Tensor) -> Tensor:
    """Return r W⁻¹ of shape (batch, n), by LU.

    Raises
    ------
    gaitprop.SingularMatrixError
        If W is singular, or so ill-conditioned that the solution has no correct digit.
    """
    factors, pivots, info = torch.linalg.lu_factor_ex(weight)
    diagonal = factors.diagonal().abs()
    spread = diagonal.max() / diagonal.min() if diagonal.numel() else diagonal.new_ones(())
    roundoff = torch.finfo(weight.dtype).eps / 2.0
    if int(info) != 0 or not bool(torch.isfinite(spread)):
        _refuse(float("inf"), weight)
    if float(spread) * roundoff > _SUSPICIOUS:
        condition = float(torch.linalg.cond(weight, 1))
        if not condition * roundoff < _HOPELESS:
            _refuse(condition, weight)
    solution: Tensor = torch.linalg.lu_solve(factors, pivots, r, left=False)
    return solution


def _refuse(condition: float, weight: Tensor) -> None:
    name = "f32" if weight.dtype == torch.float32 else "f64"
    raise SingularMatrixError(
        "the weights are singular or nearly so "
        f"(condition number about {condition:.1e}): the inverse is not accurate in {name}"
    )
