"""Precision over depth: what the published formula loses, and the difference form does not.

    python depth.py                  a table
    python depth.py depth.png        the figure, too (needs matplotlib)

Prints the relative error of the first layer's GAIT-prop update. The reference is the difference
form in float64 on the same weights.
"""

import sys
from typing import Literal

import numpy as np

from gaitprop import DivergedError, Network, TrainConfig, load_data, updates

DEPTHS = [2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50]
Form = Literal["difference", "absolute"]
# Arithmetic and element type.
CURVES: list[tuple[Form, str]] = [
    ("difference", "float32"),
    ("absolute", "float64"),
    ("absolute", "float32"),
]


def error(layers: int, form: Form, dtype: str) -> float:
    """Return the relative error of the first layer's update, with 64 units a layer."""
    x, y = (part[:60] for part in load_data("digits").train)
    single = Network(64, [64] * layers, 10)
    found = []
    pair: list[tuple[Form, str]] = [("difference", "float64"), (form, dtype)]
    for arithmetic, kind in pair:
        net = Network.from_arrays([w.astype(kind) for w in single.weights], classes=10)
        config = TrainConfig(target_form=arithmetic, solver="lu", regularization=0.0)
        try:
            found.append(updates(net, x.astype(kind), y, config).weights[0].astype("float64"))
        except DivergedError:
            return float("inf")
    return float(np.linalg.norm(found[1] - found[0]) / np.linalg.norm(found[0]))


def main() -> None:
    """Print the table, and draw it where a file is named."""
    table = {curve: [error(layers, *curve) for layers in DEPTHS] for curve in CURVES}
    print("layers  " + "  ".join(f"{form + ', ' + dtype:>20}" for form, dtype in CURVES))
    for row, layers in enumerate(DEPTHS):
        print(f"{layers:6}  " + "  ".join(f"{table[curve][row]:20.1e}" for curve in CURVES))
    if len(sys.argv) > 1:
        import matplotlib.pyplot as plt

        for (form, dtype), errors in table.items():
            plt.loglog(DEPTHS, errors, "o-", label=f"{form} form, {dtype}")
        plt.xlabel("layers")
        plt.ylabel("relative error of the first layer's update")
        plt.legend()
        plt.savefig(sys.argv[1], dpi=150)


if __name__ == "__main__":
    main()
