"""MNIST in PyTorch: GAIT-prop beside backpropagation.

The networks, losses and settings are the published ones: square layers, leaky ReLU, squared error
on ten label units, batches of 60. GAIT adds the orthogonality penalty to the loss. All else is
PyTorch's.

    python torch_mnist.py FOLDER              one short epoch of each rule
    python torch_mnist.py FOLDER --samples 60000 --epochs 5 --hidden 4

FOLDER holds MNIST's four IDX files, compressed or not, under their usual names.
"""

import argparse
import gzip
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from gaitprop.torch import GaitNet, PublishedAdam, orthogonality_penalty

CLASSES = 10
# Published learning rates and weights of the penalty.
PUBLISHED = {"gait": (1e-4, 0.1), "bp": (1e-4, 0.0)}


def idx(folder: Path, name: str) -> Tensor:
    """Return the array of an IDX file of bytes."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.exists():
            raw = path.read_bytes()
            raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
            shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3])]
            flat = torch.frombuffer(bytearray(raw[4 + 4 * raw[3] :]), dtype=torch.uint8)
            return flat.reshape(shape)
    sys.exit(f"{folder}: there is no {name}, compressed or not")


def split(folder: Path, prefix: str, samples: int) -> tuple[Tensor, Tensor]:
    """Return pixels from 0 to 1, one row a sample, and labels."""
    x = idx(folder, f"{prefix}-images-idx3-ubyte")[:samples].flatten(1).float() / 255
    return x, idx(folder, f"{prefix}-labels-idx1-ubyte")[:samples].long()


def progress(batches: list[tuple[Tensor, Tensor]], title: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches, with a bar where a terminal shows it."""
    for done, batch in enumerate(batches):
        if sys.stderr.isatty():
            bar = "#" * (30 * done // len(batches))
            print(f"\r{title} [{bar:30}] {done}/{len(batches)}", end="", file=sys.stderr)
        yield batch
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)


def accuracy(net: torch.nn.Module, x: Tensor, labels: Tensor) -> float:
    """Return the share of samples whose largest label unit is the right one."""
    with torch.no_grad():
        found = torch.cat([net(part)[:, :CLASSES].argmax(1) for part in x.split(500)])
    return float((found == labels).float().mean())


def main() -> None:
    """Train each rule and print its accuracy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=6000, help="training samples")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--hidden", type=int, default=2, help="hidden layers")
    parser.add_argument("--batch", type=int, default=60)
    parser.add_argument("--gamma", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rules", nargs="+", default=["gait", "bp"], choices=sorted(PUBLISHED))
    options = parser.parse_args()

    x, labels = (t.to(options.device) for t in split(options.folder, "train", options.samples))
    test = [t.to(options.device) for t in split(options.folder, "t10k", 10_000)]
    targets = torch.nn.functional.one_hot(labels, CLASSES).float()
    batches = list(zip(x.split(options.batch), targets.split(options.batch), strict=True))
    sizes = [x.shape[1]] * (options.hidden + 2)
    for rule in options.rules:
        torch.manual_seed(options.seed)
        rate, weight = PUBLISHED[rule]
        net = GaitNet(sizes, rule=rule, gamma=options.gamma, device=options.device)
        optimizer = PublishedAdam(net.parameters(), lr=rate)
        for epoch in range(1, options.epochs + 1):
            start, total = time.perf_counter(), 0.0
            for batch, target in progress(batches, f"{rule}, epoch {epoch}"):
                optimizer.zero_grad()
                loss = 0.5 * (net(batch)[:, :CLASSES] - target).square().sum(1).mean()
                (loss + orthogonality_penalty(net, weight) if weight else loss).backward()
                optimizer.step()
                total += loss.item()
            if not math.isfinite(total):
                sys.exit(f"{rule}: the loss is not finite")
            seconds = time.perf_counter() - start
            print(
                f"{rule:5} epoch {epoch}: loss {total / len(batches):.4f}, "
                f"test accuracy {100 * accuracy(net, *test):.2f} %, {seconds:.1f} s"
            )


if __name__ == "__main__":
    main()
