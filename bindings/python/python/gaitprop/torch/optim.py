"""The published optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gaitprop._errors import Error
from gaitprop.torch import _kernels as kernels
from gaitprop.torch._checks import IMPLEMENTATIONS, choice

__all__ = ["PublishedAdam"]


def _complement(beta: float) -> float:
    """Return 1 - β rounded to 15 decimals: in binary, 1.0 - 0.99 is 0.010000000000000009."""
    return round((1.0 - beta) * 1e15) / 1e15


class PublishedAdam(Optimizer):
    """The authors' Adam, without bias correction and with ε beside the root.

    ::

        m ← β1 m + (1 - β1) g        v ← β2 v + (1 - β2) g²        θ ← θ - η m / (ε + √v)

    Every operation is rounded once, so that a float32 or float64 step on the CPU has the bits of
    the library's step.

    Parameters
    ----------
    params : iterable
        Parameters, or dictionaries of groups.
    lr : float
        η. The published rate of GAIT and BP is 1e-4.
    betas : tuple of float
        β1 and β2, in [0, 1).
    eps : float
        ε, greater than 0.
    implementation : {'auto', 'native', 'torch'}
        As in :func:`gaitprop.torch.rule_linear`.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        *,
        implementation: str = "auto",
    ) -> None:
        inf = float("inf")
        if not 0.0 <= lr < inf:
            raise Error(f"the learning rate is {lr}, but must be at least 0 and finite")
        for name, beta in zip(("beta1", "beta2"), betas, strict=True):
            if not 0.0 <= beta < 1.0:
                raise Error(f"{name} is {beta}, but must be at least 0 and below 1")
        if not 0.0 < eps < inf:
            raise Error(f"epsilon is {eps}, but must be greater than 0 and finite")
        choice("implementation", implementation, IMPLEMENTATIONS)
        defaults = {"lr": lr, "betas": betas, "eps": eps, "implementation": implementation}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step along minus the gradients.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss and its gradients again.

        Returns
        -------
        float or None
            What `closure` returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._move(p, p.grad, group)
        return loss

    def _move(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        if grad.is_sparse:
            raise Error("PublishedAdam takes no sparse gradients")
        state = self.state[p]
        if not state:
            state["exp_avg"] = torch.zeros_like(p, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(p, memory_format=torch.preserve_format)
        m, v = state["exp_avg"], state["exp_avg_sq"]
        rate, eps = float(group["lr"]), float(group["eps"])
        beta1, beta2 = ((b, _complement(b)) for b in group["betas"])
        implementation = group["implementation"]
        real = p.dtype in (torch.float32, torch.float64)
        fits = p.device.type == "cpu" and real and all(t.is_contiguous() for t in (p, m, v))
        if implementation == "native" and not fits:
            raise Error("the native kernels step contiguous float32 or float64 tensors on the CPU")
        if fits and implementation != "torch":
            kernels.adam(p, m, v, grad.contiguous(), rate, beta1, beta2, eps)
            # The kernels wrote where torch did not see it.
            for written in (p, m, v):
                torch.autograd.graph.increment_version(written)
            return
        # One rounding for each operation: the fused forms of torch round differently.
        m.mul_(beta1[0]).add_(grad * beta1[1])
        v.mul_(beta2[0]).add_((grad * grad).mul_(beta2[1]))
        p.sub_((m * rate).div_(v.sqrt().add_(eps)))
