"""Modules: one layer, and a network of layers that know their depth."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from gaitprop._errors import Error
from gaitprop.torch import functional
from gaitprop.torch._checks import (
    IMPLEMENTATIONS,
    REDUCTIONS,
    RULES,
    TARGET_RULES,
    activation_name,
    check_gamma,
    choice,
    parse_activation,
    perturbation_scale,
)
from gaitprop.torch._solvers import Solver

__all__ = ["GaitLinear", "GaitNet", "RuleLinear", "layers"]


class RuleLinear(nn.Module):
    """A layer ``y = f(x W + b)`` that sends errors down by a learning rule.

    The gradients of W and b are exact. The gradient of x is minus the rule's error::

        bp          (D ∘ g) Wᵀ
        fa          (D ∘ g) Bᵀ                                  B fixed and random
        dfa         (D_L ∘ g_L) B                               only in a GaitNet
        gait        -[f⁻¹(y - s D² ∘ g) - f⁻¹(y)] / s · W⁻¹     s = gamma^(above + 1)
        itp         -[f⁻¹(y - s g) - f⁻¹(y)] / s · W⁻¹
        tp          itp with s = 1

    where g is the gradient of y, times the batch if the loss is a mean. The perturbation is
    evaluated without cancellation, however small s is.

    Parameters
    ----------
    in_features : int
        Fan-in of the layer.
    out_features : int, optional
        Width of the layer; the fan-in by default. Target rules need a square layer wherever the
        input has a gradient.
    bias : bool
        Whether the layer has biases.
    rule : {'gait', 'bp', 'itp', 'tp', 'fa', 'dfa'}
        The learning rule.
    activation : str
        ``leaky-relu`` (slope 0.1), ``leaky-relu:SLOPE``, ``tanh`` or ``identity``.
    gamma : float
        Perturbation factor, from 0 to 1; 0 is the linear limit.
    above : int
        Number of layers above this one; :class:`GaitNet` counts them.
    reduction : {'mean', 'sum'}
        How the loss adds samples.
    solver : {'auto', 'lu', 'stale', 'cg', 'gram', 'transpose'}
        Solver of the native kernels. ``lu`` is exact; the others stop at `tolerance`. Operations
        of torch always take LU.
    tolerance : float
        Relative error of a solution.
    classes : int, optional
        Number of label units, for ``rule='dfa'`` alone.
    implementation : {'auto', 'native', 'torch'}
        As in :func:`gaitprop.torch.rule_linear`.
    device, dtype
        As in :class:`torch.nn.Linear`.

    Attributes
    ----------
    weight : Parameter, shape (in_features, out_features)
        W, orthogonal at first. The shape is the transpose of :class:`torch.nn.Linear`'s.
    bias : Parameter, shape (out_features,), or None
        b, 0 at first.
    feedback : Tensor
        B of ``fa``, shape (in_features, out_features), or of ``dfa``, (classes, in_features).
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int | None = None,
        bias: bool = True,
        *,
        rule: str = "gait",
        activation: str = "leaky-relu:0.1",
        gamma: float = 1e-3,
        above: int = 0,
        reduction: str = "mean",
        solver: str = "auto",
        tolerance: float = 1e-3,
        classes: int | None = None,
        implementation: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        out_features = in_features if out_features is None else out_features
        if in_features < 1 or out_features < 1:
            raise Error(f"the weights are {in_features}x{out_features}, which is empty")
        self.in_features, self.out_features = in_features, out_features
        self.rule = choice("rule", rule, RULES)
        self.activation = activation_name(*parse_activation(activation))
        self.gamma = check_gamma(gamma)
        self.above = above
        if rule in TARGET_RULES:
            perturbation_scale(rule, gamma, above)
        self.reduction = choice("reduction", reduction, REDUCTIONS)
        self.implementation = choice("implementation", implementation, IMPLEMENTATIONS)
        self.solver = Solver(solver, tolerance)
        if (rule == "dfa") != (classes is not None):
            raise Error("classes is the number of label units for rule 'dfa', and for no other")
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        self.weight = nn.Parameter(torch.empty(in_features, out_features, **made))
        if self.weight.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"weights must be float32 or float64, but are {self.weight.dtype}")
        if bias:
            self.bias = nn.Parameter(torch.empty(out_features, **made))
        else:
            self.register_parameter("bias", None)
        shape = {"fa": (in_features, out_features), "dfa": (classes or 0, in_features)}.get(rule)
        feedback = None if shape is None else torch.empty(shape, **made)
        self.register_buffer("feedback", feedback)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw orthogonal weights and feedback, and set biases to 0."""
        nn.init.orthogonal_(self.weight)
        feedback = cast("Tensor | None", self.feedback)
        if feedback is not None:
            nn.init.orthogonal_(feedback)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``f(x W + b)``.

        Parameters
        ----------
        x : Tensor, shape (..., in_features)

        Returns
        -------
        Tensor, shape (..., out_features)
        """
        return functional.rule_linear(
            x,
            self.weight,
            self.bias,
            rule=self.rule,
            activation=self.activation,
            gamma=self.gamma,
            above=self.above,
            reduction=self.reduction,
            feedback=cast("Tensor | None", self.feedback),
            solver=self.solver,
            implementation=self.implementation,
        )

    def forward_wired(self, x: Tensor, wire: Tensor | None, last: bool) -> tuple[Tensor, Tensor]:
        """Return ``f(x W + b)`` and the wire of direct feedback: see `dfa_linear`."""
        return functional.dfa_linear(
            x,
            self.weight,
            self.bias,
            feedback=cast(Tensor, self.feedback),
            wire=wire,
            last=last,
            activation=self.activation,
            implementation=self.implementation,
        )

    def extra_repr(self) -> str:
        """Return the settings as `print(module)` shows them."""
        return (
            f"{self.in_features}, {self.out_features}, bias={self.bias is not None}, "
            f"rule={self.rule!r}, activation={self.activation!r}, gamma={self.gamma}, "
            f"above={self.above}"
        )


class GaitLinear(RuleLinear):
    """A :class:`RuleLinear` of rule ``gait``, whose arguments it takes.

    Examples
    --------
    >>> import torch
    >>> from gaitprop.torch import GaitLinear
    >>> net = torch.nn.Sequential(GaitLinear(8, above=1), GaitLinear(8))
    >>> net(torch.zeros(3, 8)).shape
    torch.Size([3, 8])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int | None = None,
        bias: bool = True,
        *,
        activation: str = "leaky-relu:0.1",
        gamma: float = 1e-3,
        above: int = 0,
        reduction: str = "mean",
        solver: str = "auto",
        tolerance: float = 1e-3,
        implementation: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_features,
            out_features,
            bias,
            rule="gait",
            activation=activation,
            gamma=gamma,
            above=above,
            reduction=reduction,
            solver=solver,
            tolerance=tolerance,
            implementation=implementation,
            device=device,
            dtype=dtype,
        )


class GaitNet(nn.Module):
    """A network of layers, each fed by the first units of the layer below, or by all of them.

    Units that feed nothing are auxiliary: they carry information for the inverse and have zero
    error. In the last layer, ``net(x)[:, :classes]`` leaves all others without an error.

    Parameters
    ----------
    sizes : sequence of int
        Width of the input, then of each layer. The first layer is connected to all inputs, so that
        it may be rectangular. The others are square.
    tower : bool
        Whether the first layer is square too, fed by the first inputs: the published tower.
    dense : bool
        Whether every layer is connected to all units below, so that each may be rectangular. Rules
        ``gait``, ``itp`` and ``tp`` need square layers above the first.
    output_activation : str, optional
        Activation of the last layer; `activation` by default. Cross-entropy wants ``identity``.
    classes : int, optional
        Number of label units, for ``rule='dfa'`` alone.
    rule, activation, gamma, reduction, solver, tolerance, implementation, bias, device, dtype
        As in :class:`RuleLinear`.

    Attributes
    ----------
    layers : ModuleList of RuleLinear
        The layers, from the input up.

    Examples
    --------
    >>> import torch
    >>> from gaitprop.torch import GaitNet
    >>> net = GaitNet([16, 12, 8])
    >>> x, labels = torch.zeros(5, 16), torch.tensor([0, 1, 2, 0, 1])
    >>> loss = torch.nn.functional.mse_loss(net(x)[:, :3], torch.eye(3)[labels])
    >>> loss.backward()
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        rule: str = "gait",
        tower: bool = False,
        dense: bool = False,
        activation: str = "leaky-relu:0.1",
        output_activation: str | None = None,
        gamma: float = 1e-3,
        reduction: str = "mean",
        solver: str = "auto",
        tolerance: float = 1e-3,
        classes: int | None = None,
        bias: bool = True,
        implementation: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        sizes = [int(n) for n in sizes]
        if len(sizes) < 2:
            raise Error("a network needs the width of the input and of at least one layer")
        if tower and dense:
            raise Error("tower and dense contradict each other: use one of them")
        self.inputs = sizes[0]
        made: list[nn.Module] = []
        count = len(sizes) - 1
        for index, (below, width) in enumerate(itertools.pairwise(sizes)):
            fan_in = below if dense or (index == 0 and not tower) else width
            if fan_in > below:
                raise Error(
                    f"layer {index}: its fan-in is {fan_in}, but there are only {below} units "
                    "below it"
                )
            if index > 0 and fan_in != width and rule in TARGET_RULES:
                raise Error(
                    f"layer {index}: its weights are {fan_in}x{width}, but rule {rule!r} sends "
                    "targets through inverses: use square layers, or another rule such as 'bp'"
                )
            last = index == count - 1
            made.append(
                RuleLinear(
                    fan_in,
                    width,
                    bias,
                    rule=rule,
                    activation=(output_activation or activation) if last else activation,
                    gamma=gamma,
                    above=count - 1 - index,
                    reduction=reduction,
                    solver=solver,
                    tolerance=tolerance,
                    classes=classes,
                    implementation=implementation,
                    device=device,
                    dtype=dtype,
                )
            )
        if classes is not None and classes > sizes[-1]:
            raise Error(f"the last layer has {sizes[-1]} units, but there are {classes} labels")
        self.layers = nn.ModuleList(made)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activity of the last layer.

        Parameters
        ----------
        x : Tensor, shape (..., inputs)

        Returns
        -------
        Tensor, shape (..., width of the last layer)
        """
        if x.dim() < 1 or x.shape[-1] != self.inputs:
            raise Error(
                f"the input has shape {tuple(x.shape)}, but the network has {self.inputs} inputs"
            )
        wire: Tensor | None = None
        last = len(self.layers) - 1
        for index, module in enumerate(self.layers):
            layer = cast(RuleLinear, module)
            fed = x if layer.in_features == x.shape[-1] else x[..., : layer.in_features]
            if layer.rule == "dfa":
                x, wire = layer.forward_wired(fed, wire, index == last)
            else:
                x = layer(fed)
        return x


def layers(module: nn.Module) -> Iterator[RuleLinear]:
    """Yield every :class:`RuleLinear` inside `module`, in its order."""
    for inner in module.modules():
        if isinstance(inner, RuleLinear):
            yield inner
