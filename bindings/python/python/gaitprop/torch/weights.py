"""Weights to and from the library's safetensors files and `torch.nn.Linear`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gaitprop import _native
from gaitprop._errors import Error
from gaitprop._training import Network
from gaitprop.torch._checks import RULES, TARGET_RULES, activation_name, parse_activation
from gaitprop.torch.modules import GaitNet, RuleLinear, layers

__all__ = ["WeightNotes", "from_linear", "load_weights", "save_weights", "to_linear"]


@dataclass(frozen=True)
class WeightNotes:
    """Description of saved weights.

    Attributes
    ----------
    classes : int
        Number of label units.
    loss : str
        ``squared`` or ``cross-entropy``.
    rule : str
        Name of the learning rule.
    center, scale : Tensor, shape (inputs,), float64
        The network's inputs are ``(values - center) / scale``.
    """

    classes: int
    loss: str
    rule: str
    center: Tensor
    scale: Tensor


def save_weights(
    net: GaitNet,
    path: str | os.PathLike[str],
    *,
    classes: int,
    loss: str = "squared",
    center: Sequence[float] | Tensor | None = None,
    scale: Sequence[float] | Tensor | None = None,
) -> None:
    """Write a network to a file that the library and its program read.

    Parameters
    ----------
    net : GaitNet
        The network, compiled or not. Layers without biases are written with biases of 0.
    path : path-like
        A safetensors file; replaced atomically.
    classes : int
        Number of label units.
    loss : str
        ``squared`` or ``cross-entropy``, for the program's evaluation.
    center, scale : sequence of float, shape (inputs,), optional
        Scaling of the inputs: ``(values - center) / scale``. The default leaves them as they are.

    Raises
    ------
    gaitprop.Error
        If the library has no such network or loss, or the scaling does not fit.
    TypeError
        If `net` is no GaitNet.
    OSError
        If the file cannot be written. An existing file is then unchanged.
    """
    net = getattr(net, "_orig_mod", net)  # what `torch.compile` wraps
    if not isinstance(net, GaitNet):
        raise TypeError(f"a GaitNet is needed, not {type(net).__name__}")
    found = list(layers(net))
    weights = [layer.weight.detach().cpu() for layer in found]
    biases = [
        w.new_zeros(w.shape[1]) if layer.bias is None else layer.bias.detach().cpu()
        for layer, w in zip(found, weights, strict=True)
    ]
    center = [0.0] * net.inputs if center is None else [float(c) for c in center]
    scale = [1.0] * net.inputs if scale is None else [float(s) for s in scale]
    made = Network.from_arrays(
        [w.numpy() for w in weights],
        [b.numpy() for b in biases],
        classes=classes,
        inputs=net.inputs,
        activations=[layer.activation for layer in found],
    )
    made.save(path, rule=found[0].rule, loss=loss, center=center, scale=scale)


def load_weights(
    path: str | os.PathLike[str], *, rule: str | None = None, **settings: Any
) -> tuple[GaitNet, WeightNotes]:
    """Read a network from a file that the library or its program wrote.

    Parameters
    ----------
    path : path-like
        A safetensors file, in float32 or float64.
    rule : str, optional
        Learning rule of the layers; by default the file's, or ``bp`` for a rule that layers of
        torch do not have, which is any target rule if a layer above the first is not square. Files
        hold no feedback, so ``fa`` and ``dfa`` draw theirs anew.
    **settings
        Keyword arguments of :class:`GaitNet` but for those that the file decides: shape, biases,
        activations and dtype.

    Returns
    -------
    net : GaitNet
    notes : WeightNotes

    Notes
    -----
    Decorrelations are multiplied into the weights: a layer ``f(x R W + b)`` of the file becomes one
    of weights ``R W``. It computes the same outputs, and trains without a decorrelation.

    Raises
    ------
    gaitprop.Error
        If the file is damaged or of another kind, or a :class:`GaitNet` has no such layers.
    OSError
        If it cannot be read.
    """
    decided = {"tower", "dense", "bias", "activation", "output_activation", "dtype"}
    if given := sorted(decided & settings.keys()):
        raise Error(f"{given[0]} is the file's: leave it out")
    made, loss, saved, center, scale = _native.Network.load(os.fspath(path))
    weights = Network._of(made)._folded()
    sizes = [made.inputs, *(w.shape[1] for w in weights)]
    shape = _shape(sizes, [w.shape[0] for w in weights])
    if rule is None:
        square = all(w.shape[0] == w.shape[1] for w in weights[1:])
        rule = saved if saved in RULES and (square or saved not in TARGET_RULES) else "bp"
    if rule == "dfa":
        settings["classes"] = made.labels
    dtype = torch.float32 if made.single else torch.float64
    net = GaitNet(sizes, rule=rule, dtype=dtype, **shape, **settings)
    with torch.no_grad():
        for layer, w, b, name in zip(
            layers(net), weights, made.biases, made.activations, strict=True
        ):
            layer.weight.copy_(torch.tensor(w))
            if layer.bias is not None:
                layer.bias.copy_(torch.tensor(b))
            layer.activation = activation_name(*parse_activation(name))
    wide = [torch.tensor(v, dtype=torch.float64) for v in (center, scale)]
    return net, WeightNotes(made.labels, loss, saved, *wide)


def _shape(sizes: list[int], fan_ins: list[int]) -> dict[str, Any]:
    """Return the arguments of the `GaitNet` whose layers read that many units of those below."""
    below, widths = sizes[:-1], sizes[1:]
    if fan_ins[1:] == widths[1:] and fan_ins[0] in (below[0], widths[0]):
        return {"tower": fan_ins[0] != below[0]}
    if fan_ins == below:
        return {"dense": True}
    reads, units, has = (", ".join(map(str, numbers)) for numbers in (fan_ins, below, widths))
    raise Error(
        f"the layers read {reads} of the {units} units below and have {has}: those of a GaitNet "
        "all read every unit below, or are square (the first may read all inputs)"
    )


def from_linear(linear: nn.Linear, **settings: Any) -> RuleLinear:
    """Return a layer with the weights of a `torch.nn.Linear`, whose transpose it holds.

    Parameters
    ----------
    linear : torch.nn.Linear
        Weights of shape (out_features, in_features).
    **settings
        Keyword arguments of :class:`RuleLinear`.

    Returns
    -------
    RuleLinear
        On the same device and of the same type.
    """
    like: dict[str, Any] = {"device": linear.weight.device, "dtype": linear.weight.dtype}
    layer = RuleLinear(
        linear.in_features, linear.out_features, linear.bias is not None, **like, **settings
    )
    with torch.no_grad():
        layer.weight.copy_(linear.weight.T)
        if layer.bias is not None:
            layer.bias.copy_(linear.bias)
    return layer


def to_linear(layer: RuleLinear) -> nn.Linear:
    """Return a `torch.nn.Linear` with the weights of a layer; the activation is the caller's."""
    like: dict[str, Any] = {"device": layer.weight.device, "dtype": layer.weight.dtype}
    linear = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None, **like)
    with torch.no_grad():
        linear.weight.copy_(layer.weight.T)
        if layer.bias is not None:
            linear.bias.copy_(layer.bias)
    return linear
