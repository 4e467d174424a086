"""A GAIT step of five GaitLinear layers beside the same step in plain torch with torch.linalg.

    python torch_step.py FOLDER [--threads 1 2]

Times forward, loss and backward of 784 x 5, batch 60, float32, gamma 1e-3, tolerance 1e-3, without
a regularizer. FOLDER holds MNIST's IDX files. Both networks train from the same weights by the same
optimizer, whose step is not timed, since a stale inverse is worth what training leaves of it. They
take turns, batch by batch. Prints medians with quartiles.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gaitprop import load_data
from gaitprop.torch import GaitNet, PublishedAdam

WIDTH, LAYERS, BATCH, CLASSES, GAMMA, SLOPE = 784, 5, 60, 10, 1e-3, 0.1


class Plain(torch.autograd.Function):
    """A layer as one would write it in torch: GAIT's error by the definition, LU in each step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, scale: float) -> Tensor:
        """Return f(x W + b)."""
        y = nn.functional.leaky_relu(torch.addmm(bias, x, weight), SLOPE)
        ctx.save_for_backward(x, weight, y)
        ctx.scale = scale
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return minus GAIT's error, and the gradients of W and b."""
        x, weight, y = ctx.saved_tensors
        d = torch.where(y < 0, SLOPE, 1.0)
        delta = d * grad
        down = None
        if ctx.needs_input_grad[0]:
            target = y - (ctx.scale * len(y)) * d * delta
            inverse = [torch.where(v < 0, v / SLOPE, v) for v in (target, y)]
            difference = (inverse[0] - inverse[1]) / (ctx.scale * len(y))
            down = -torch.linalg.solve(weight, difference, left=False)
        return down, x.T @ delta, delta.sum(0), None


class PlainNet(nn.Module):
    """Five layers of `Plain`."""

    def __init__(self, weights: list[Tensor]) -> None:
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(w.detach().clone()) for w in weights])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(WIDTH)) for _ in weights])

    def forward(self, x: Tensor) -> Tensor:
        """Return the activities of the last layer."""
        for w, b in zip(self.weights, self.biases, strict=True):
            # The published formula takes smaller scales in lower layers, and float32 loses them.
            x = Plain.apply(x, w, b, GAMMA)
        return x


def main() -> None:
    """Time both, for each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batches", type=int, default=60)
    options = parser.parse_args()

    data = load_data(options.folder, limit_train=BATCH * (options.batches + 10), limit_test=1)
    x = torch.from_numpy(data.train[0]).split(BATCH)
    labels = torch.from_numpy(data.train[1].astype(np.int64))
    targets = nn.functional.one_hot(labels, CLASSES).float().split(BATCH)
    for threads in options.threads:
        torch.set_num_threads(threads)
        torch.manual_seed(1)
        ours = GaitNet([WIDTH] * (LAYERS + 1), gamma=GAMMA, tolerance=1e-3)
        plain = PlainNet([p for name, p in ours.named_parameters() if name.endswith("weight")])
        nets: dict[str, Callable[[Tensor], Tensor]] = {"gaitprop": ours, "torch.linalg": plain}
        optimizers = [PublishedAdam(net.parameters(), lr=1e-4) for net in (ours, plain)]
        times: dict[str, list[float]] = {name: [] for name in nets}
        for step, (batch, target) in enumerate(zip(x, targets, strict=True)):
            for (name, net), optimizer in zip(nets.items(), optimizers, strict=True):
                optimizer.zero_grad()
                start = time.perf_counter()
                loss = 0.5 * (net(batch)[:, :CLASSES] - target).square().sum(1).mean()
                loss.backward()
                seconds = time.perf_counter() - start
                # The first steps start threads and inverses.
                if step >= 10:
                    times[name].append(1e3 * seconds)
                optimizer.step()
        print(f"{threads} threads")
        for name, values in times.items():
            low, middle, high = np.percentile(values, [25, 50, 75])
            print(f"  {name:13} {middle:7.2f} ms  (quartiles {low:.2f} to {high:.2f})")
        ratio = np.median(times["gaitprop"]) / np.median(times["torch.linalg"])
        print(f"  ratio of medians {ratio:.2f}")


if __name__ == "__main__":
    main()
