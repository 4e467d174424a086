"""Checks of arguments: each failure is an exception with one sentence."""

from __future__ import annotations

import torch
from torch import Tensor

from gaitprop._errors import Error

__all__ = [
    "ACTIVATIONS",
    "IMPLEMENTATIONS",
    "REDUCTIONS",
    "RULES",
    "TARGET_RULES",
    "activation_name",
    "check_dtype",
    "check_gamma",
    "choice",
    "parse_activation",
    "perturbation_scale",
]

#: Rules that layers of torch have. They lack those whose feedback depends on more than a fixed
#: matrix: on the targets (drtp), on the signs of the weights (usf, frsf, brsf), or on past updates
#: (kp).
RULES = ("bp", "gait", "itp", "tp", "fa", "dfa")
TARGET_RULES = ("gait", "itp", "tp")
ACTIVATIONS = ("leaky-relu", "tanh", "identity")
IMPLEMENTATIONS = ("auto", "native", "torch")
REDUCTIONS = ("mean", "sum")


def choice(what: str, value: object, accepted: tuple[str, ...]) -> str:
    """Return `value` if it is one of `accepted`."""
    if isinstance(value, str) and value in accepted:
        return value
    raise Error(f"{what} is {value!r}, but must be one of {', '.join(accepted)}")


def parse_activation(name: str) -> tuple[str, float]:
    """Return kind and slope below 0 of ``leaky-relu:0.1``, ``tanh`` or ``identity``."""
    kind, colon, rest = str(name).partition(":")
    if kind == "linear":
        kind = "identity"
    if kind not in ACTIVATIONS or (colon and kind != "leaky-relu"):
        raise Error(
            f"unknown activation {name!r}: use identity, tanh, leaky-relu or leaky-relu:SLOPE"
        )
    if kind != "leaky-relu":
        return kind, 1.0
    try:
        slope = float(rest) if colon else 0.1
    except ValueError:
        raise Error(f"activation {name!r}: {rest!r} is not a number") from None
    smallest = torch.finfo(torch.float32).tiny
    if not smallest <= slope <= 1.0 / smallest:
        raise Error(f"activation {name!r}: the slope must be greater than 0 and have an inverse")
    return kind, slope


def activation_name(kind: str, slope: float) -> str:
    """Return the name that `parse_activation` reads, as the library writes it."""
    if kind != "leaky-relu":
        return kind
    # Python writes 1e-05 and 1.0 where Rust writes 0.00001 and 1.
    digits = format(slope, "f") if float(format(slope, "f")) == slope else repr(slope)
    return f"leaky-relu:{digits.rstrip('0').rstrip('.') if '.' in digits else digits}"


def check_gamma(gamma: float) -> float:
    """Return gamma if it lies in [0, 1]."""
    gamma = float(gamma)
    if 0.0 <= gamma <= 1.0:
        return gamma
    raise Error(f"gamma is {gamma}, but must lie in [0, 1] (0 is the linear limit)")


def perturbation_scale(rule: str, gamma: float, above: int) -> float | None:
    """Return s = gamma^(above + 1) of GAIT and ITP, 1 for TP; None is the linear limit."""
    if rule == "tp":
        return 1.0
    if gamma == 0.0:
        return None
    if not isinstance(above, int) or above < 0:
        raise Error(f"above is {above!r}, but must be the number of layers above this one")
    # As the library: repeated multiplication rounds the same on every machine.
    scale = 1.0
    for _ in range(above + 1):
        scale *= gamma
    return scale


def check_dtype(what: str, tensor: Tensor, like: Tensor | None = None) -> None:
    """Refuse tensors that are not float32 or float64, or differ from `like`."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{what} must be a torch.Tensor, but is {type(tensor).__name__}")
    if tensor.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{what} must be float32 or float64, but is {tensor.dtype}")
    if like is not None and tensor.dtype != like.dtype:
        raise TypeError(f"{what} must be {like.dtype} as the weights are, but is {tensor.dtype}")
    if like is not None and tensor.device != like.device:
        raise Error(
            f"{what} must be on {like.device} as the weights are, but is on {tensor.device}"
        )
