"""Methods that keep weights near orthogonal, where W⁻¹ = Wᵀ and GAIT carries BP's errors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gaitprop._errors import Error
from gaitprop.torch import _ops
from gaitprop.torch._checks import IMPLEMENTATIONS, choice
from gaitprop.torch.modules import layers

__all__ = ["BlockStep", "orthogonality_penalty"]

_FORMS = ("published", "identity")
_SIDES = ("rows", "columns")


def _weights(net: nn.Module) -> list[Tensor]:
    found: list[Tensor] = [layer.weight for layer in layers(net)]
    if not found:
        raise Error("the module contains no layer of gaitprop.torch")
    return found


def _columns(weight: Tensor, side: str) -> bool:
    """Return whether columns become orthogonal. A rectangular layer takes its shorter side."""
    rows, cols = weight.shape
    return rows > cols or (rows == cols and side == "columns")


def orthogonality_penalty(
    net: nn.Module,
    weight: float,
    *,
    form: str = "published",
    side: str = "rows",
    implementation: str = "auto",
) -> Tensor:
    """Return ``λ Σ_l ‖offdiag(W_l W_lᵀ)‖²`` to be added to the loss.

    Its gradient is ``4 λ offdiag(W Wᵀ) W``. The sum runs over layers and entries; it is not a mean.

    Parameters
    ----------
    net : Module
        Every :class:`RuleLinear` inside counts.
    weight : float
        λ, at least 0.
    form : {'published', 'identity'}
        ``identity`` is ``‖W Wᵀ - I‖²``, which also holds the norms of the rows.
    side : {'rows', 'columns'}
        ``columns`` takes WᵀW. A rectangular layer always takes its shorter side.
    implementation : {'auto', 'native', 'torch'}
        As in :func:`gaitprop.torch.rule_linear`.

    Returns
    -------
    Tensor, shape ()
    """
    choice("form", form, _FORMS)
    choice("side", side, _SIDES)
    choice("implementation", implementation, IMPLEMENTATIONS)
    if not 0.0 <= weight < float("inf"):
        raise Error(f"lambda is {weight}, but must be at least 0 and finite")
    found = _weights(net)
    total = found[0].new_zeros(())
    for w in found:
        value, _ = _ops.orthogonality(w, form == "identity", _columns(w, side), implementation)
        total = total + value
    return weight * total


class BlockStep:
    """The block regularizer: after an optimizer's step, pushes the next few rows from all others.

    ::

        S = the next |S| columns (or rows), cyclically
        R = W_S Wᵀ;  R[i,i] = 0;  R[i,j] /= ‖w_j‖²;  R[i,j] /= 2 for j in S
        W_S ← W_S - μ R W

    It costs 4 |S| n² flops a layer where the penalty takes 3 n³, and the optimizer's moments never
    see it.

    Parameters
    ----------
    net : Module
        Every :class:`RuleLinear` inside is held. Their weights must be parameters.
    size : int
        |S|, at least 1.
    mu : float
        μ, at least 0 and below 2.
    side : {'columns', 'rows'}
        Vectors to make orthogonal. A rectangular layer always takes its shorter side.

    Attributes
    ----------
    turn : int
        Number of steps taken.
    """

    def __init__(
        self, net: nn.Module, *, size: int = 64, mu: float = 1.0, side: str = "columns"
    ) -> None:
        if not 0.0 <= mu < 2.0:
            raise Error(f"mu is {mu}, but must be at least 0 and below 2")
        if size < 1:
            raise Error("a block must have at least 1 row")
        self.net, self.size, self.mu, self.side = net, size, mu, choice("side", side, _SIDES)
        self.turn = 0
        if not all(isinstance(w, nn.Parameter) for w in _weights(net)):
            raise Error("a weight is computed by a parametrization, so no step can change it")

    @torch.no_grad()
    def step(self) -> None:
        """Push the next block of every layer.

        Raises
        ------
        gaitprop.Error
            If a pushed weight is not finite. That layer, and those above, have then not changed.
        """
        if self.mu == 0.0:
            return
        for index, weight in enumerate(_weights(self.net)):
            self._push(index, weight)
        self.turn += 1

    def _push(self, index: int, weight: Tensor) -> None:
        v = weight.T if _columns(weight, self.side) else weight
        n = v.shape[0]
        first = self.turn % -(-n // self.size) * self.size
        last = min(first + self.size, n)
        block = v[first:last]
        # The factors are computed in float64 and rounded once.
        wide = v.dtype if v.device.type == "mps" else torch.float64
        squares = v.to(wide).square().sum(1)
        shares = -self.mu / squares
        shares[first:last] *= 0.5
        shares = shares.to(v.dtype)
        # A row of norm 0 has no direction and pushes nothing.
        shares = torch.where(torch.isfinite(shares), shares, 0.0)
        r = block @ v.T * shares
        r.diagonal(first).zero_()
        pushed = torch.addmm(block, r, v)
        if not bool(torch.isfinite(pushed).all()):
            raise Error(
                f"training diverged in step {self.turn + 1}: a weight pushed by the block "
                f"regularizer of layer {index} is not finite"
            )
        block.copy_(pushed)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps taken, which is all that later steps depend on."""
        return {"turn": self.turn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.turn = int(state["turn"])
