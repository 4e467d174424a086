"""A learning rule of one's own: feedback by strong weights, beside GAIT-prop and backpropagation.

    python own_rule.py

The rule sends errors down through the largest third of the weights alone. It is a function of a
layer's state and its delta. All else, from the optimizer to the checks, is the package's.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from gaitprop import Network, TrainConfig, Trainer, align, load_data


def strong_feedback(layer: dict[str, Any], delta: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the error of the layer below: delta · Wᵀ without weights below 1/√n in size."""
    w: npt.NDArray[Any] = layer["w"]
    error: npt.NDArray[Any] = delta @ (w * (np.abs(w) >= len(w) ** -0.5)).T
    return error


def main() -> None:
    """Train three networks from the same weights, and compare their updates of one batch."""
    digits = load_data("digits")
    x, labels = (part[:60] for part in digits.train)
    start = Network(64, [64] * 4, 10)
    plain = TrainConfig.published("bp", learning_rate=1e-3)
    rules = {
        "GAIT": (TrainConfig(learning_rate=1e-3), None),
        "BP": (plain, None),
        "strong-feedback": (plain, strong_feedback),
    }
    print("rule              test accuracy   cosine to BP's updates at the start, by layer")
    for name, (config, rule) in rules.items():
        cosines = [layer.cosine for layer in align(start, x, labels, config, rule=rule)]
        trainer = Trainer(start, config, rule=rule)
        trainer.fit(*digits.train, epochs=20)
        accuracy = trainer.evaluate(*digits.test)[1]
        print(f"{name:17} {accuracy:>12.1%}    {'  '.join(f'{c:6.3f}' for c in cosines)}")


if __name__ == "__main__":
    main()
