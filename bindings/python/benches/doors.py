"""An epoch of MNIST through three doors: the program, `Trainer`, and PyTorch.

    python doors.py FOLDER [--rounds 3] [--threads 1] [--samples 60000] [--without-torch]

GAIT-prop at its published settings, from the same weights, in the same order of samples: seconds an
epoch, interleaved, and test accuracy. The program and `Trainer` agree in bits; PyTorch adds samples
in its own order. FOLDER holds MNIST's IDX files.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from gaitprop import Data, Network, TrainConfig, Trainer, load_data

WIDTHS, BATCH, CLASSES = [784] * 5, 60, 10
Result = tuple[float, float]


def program(folder: Path, threads: int, samples: int) -> Result:
    """Return seconds of an epoch, by its metrics, and accuracy of ``gaitprop train``."""
    with tempfile.TemporaryDirectory() as out:
        command = "-m gaitprop train --rule gait --epochs 1 --quiet"
        command += f" --threads {threads} --limit-train {samples}"
        subprocess.run(
            [sys.executable, *command.split(), f"--data={folder}", f"--out={out}/run"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        with Path(out, "run", "metrics.jsonl").open() as lines:
            epoch = json.loads(next(lines))
        return epoch["seconds"], epoch["test_accuracy"]


def trainer(data: Data, threads: int) -> Result:
    """Return the same of `Trainer`."""
    network = Network(784, WIDTHS, CLASSES)
    made = Trainer(network, TrainConfig(), threads=threads)
    (epoch,) = made.fit(*data.train)
    return epoch["seconds"], made.evaluate(*data.test)[1]


def door(data: Data, threads: int) -> Result:
    """Return the same of a torch model."""
    import torch

    from gaitprop.torch import GaitNet, PublishedAdam, orthogonality_penalty

    torch.set_num_threads(threads)
    net = GaitNet([784, *WIDTHS])
    start = Network(784, WIDTHS, CLASSES).weights
    with torch.no_grad():
        weights = [p for name, p in net.named_parameters() if name.endswith("weight")]
        for parameter, weight in zip(weights, start, strict=True):
            parameter.copy_(torch.from_numpy(weight.copy()))
    optimizer = PublishedAdam(net.parameters(), lr=1e-4)
    x = torch.from_numpy(data.train[0])
    labels = torch.from_numpy(data.train[1].astype(np.int64))
    targets = torch.nn.functional.one_hot(labels, CLASSES).float()
    begin = time.perf_counter()
    for batch, target in zip(x.split(BATCH), targets.split(BATCH), strict=True):
        optimizer.zero_grad()
        loss = 0.5 * (net(batch)[:, :CLASSES] - target).square().sum(1).mean()
        (loss + orthogonality_penalty(net, 0.1)).backward()
        optimizer.step()
    seconds = time.perf_counter() - begin
    with torch.no_grad():
        found = net(torch.from_numpy(data.test[0]))[:, :CLASSES].argmax(1).numpy()
    return seconds, float(np.mean(found == data.test[1]))


def main() -> None:
    """Run the doors in turn and print their medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--samples", type=int, default=60_000)
    parser.add_argument("--without-torch", action="store_true")
    options = parser.parse_args()

    data = load_data(options.folder, limit_train=options.samples)
    doors: dict[str, Any] = {
        "program": lambda: program(options.folder, options.threads, options.samples),
        "Trainer": lambda: trainer(data, options.threads),
    }
    if not options.without_torch:
        doors["PyTorch"] = lambda: door(data, options.threads)
    results: dict[str, list[Result]] = {name: [] for name in doors}
    for _ in range(options.rounds):
        for name, run in doors.items():
            results[name].append(run())
            print(f"{name}: {results[name][-1][0]:.1f} s", file=sys.stderr)
    first = {name: rounds[0][1] for name, rounds in results.items()}
    assert first["program"] == first["Trainer"], "the program and Trainer differ"
    base = statistics.median(seconds for seconds, _ in results["program"])
    for name, rounds in results.items():
        seconds = [s for s, _ in rounds]
        middle = statistics.median(seconds)
        print(
            f"{name:8} {middle:7.1f} s ({min(seconds):.1f} to {max(seconds):.1f}), "
            f"{middle / base:.3f} of the program, accuracy {100 * rounds[0][1]:.2f} %"
        )


if __name__ == "__main__":
    main()
