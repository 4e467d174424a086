"""GAIT-prop in PyTorch: layers that send errors down by a learning rule.

A layer computes ``y = f(x W + b)``; rows are samples and W is n_in x n_out. Autograd gives W and b
their exact gradients. What it carries down to x is minus the rule's error, for GAIT ::

    dx = -[f⁻¹(y + s D² ∘ e) - f⁻¹(y)] / s · W⁻¹        D = f'(h)    s = gamma^(layers above + 1)

with e minus the gradient of y, times the batch where the loss is a mean. Losses, optimizers,
schedulers, parametrizations and other modules of torch work around these layers. There are no
second derivatives.

Tensors on the CPU are computed by the native kernels, without a copy and on
`torch.get_num_threads()` threads; others by the same formulas in operations of torch.

Classes and functions
---------------------
GaitNet
    A network of layers that know their depth.
GaitLinear, RuleLinear
    One layer, by GAIT or by any rule.
gait_linear, rule_linear, dfa_linear
    The layers as functions.
orthogonality_penalty, BlockStep
    Methods that keep weights near orthogonal.
PublishedAdam
    The published optimizer.
save_weights, load_weights, WeightNotes
    The library's files.
from_linear, to_linear
    Layers from and to `torch.nn.Linear`.
Solver
    Solver of e W = r for :func:`rule_linear`; modules have their own.

Examples
--------
>>> import torch
>>> from gaitprop.torch import GaitNet, PublishedAdam
>>> net = GaitNet([16, 16, 16])
>>> optimizer = PublishedAdam(net.parameters(), lr=1e-4)
>>> x, target = torch.rand(60, 16), torch.eye(10)[torch.randint(10, (60,))]
>>> loss = 0.5 * (net(x)[:, :10] - target).square().sum(1).mean()
>>> loss.backward()
>>> optimizer.step()
"""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "gaitprop.torch needs PyTorch 2.4 or newer: pip install torch", name="torch"
    ) from _missing

from gaitprop.torch._solvers import Solver
from gaitprop.torch.functional import dfa_linear, gait_linear, rule_linear
from gaitprop.torch.modules import GaitLinear, GaitNet, RuleLinear
from gaitprop.torch.optim import PublishedAdam
from gaitprop.torch.ortho import BlockStep, orthogonality_penalty
from gaitprop.torch.weights import (
    WeightNotes,
    from_linear,
    load_weights,
    save_weights,
    to_linear,
)

__all__ = [
    "BlockStep",
    "GaitLinear",
    "GaitNet",
    "PublishedAdam",
    "RuleLinear",
    "Solver",
    "WeightNotes",
    "dfa_linear",
    "from_linear",
    "gait_linear",
    "load_weights",
    "orthogonality_penalty",
    "rule_linear",
    "save_weights",
    "to_linear",
]
