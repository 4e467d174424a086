"""Reads a run's folder with numpy and safetensors: metrics, weights, singular values, a forward pass.

    gaitprop train --rule gait --epochs 20 --out run
    python examples/read_run.py run                     # weights, metrics
"""

import json
import pathlib
import sys

import numpy as np
from safetensors.numpy import load_file


def forward(arrays, x, slope=0.1):
    """Returns the last layer's activities: y = f(x R W + b), each layer fed by the first units below.

    Runs without decorrelations have no R.
    """
    y = (x - arrays["input_centre"]) / arrays["input_spread"]
    for layer in range(sum(name.startswith("W") for name in arrays)):
        w, b = arrays[f"W{layer}"], arrays[f"b{layer}"]
        x = y[:, : w.shape[0]]
        if f"R{layer}" in arrays:
            x = x @ arrays[f"R{layer}"]
        h = x @ w + b
        y = np.where(h < 0, slope * h, h)
    return y


def main(folder):
    arrays = load_file(folder / "weights.safetensors")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        if line["event"] == "epoch":
            print(f"epoch {line['epoch']:3}  test accuracy {100 * line['test_accuracy']:.2f} %")
    for name in sorted(arrays):
        print(name, arrays[name].shape, arrays[name].dtype)
    for name in sorted(name for name in arrays if name.startswith("W")):
        values = np.linalg.svd(arrays[name], compute_uv=False)
        print(f"{name}: singular values {values[-1]:.3f} to {values[0]:.3f}")
    x = np.random.default_rng(0).random((3, arrays["input_centre"].size), dtype=np.float32)
    print("answers to three random inputs:", forward(arrays, x)[:, :10].argmax(axis=1))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
