"""Networks as models of ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

# Has all operators that are used. Runtimes of 2020 read it.
OPSET = 13


def model(
    weights: Sequence[npt.NDArray[Any]],
    biases: Sequence[npt.NDArray[Any]],
    decorrelation: Sequence[npt.NDArray[Any]],
    activations: Sequence[str],
    inputs: int,
    classes: int,
) -> onnx.ModelProto:
    """Return a model that computes the activities of the classes' units."""
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, npt.NDArray[Any]] = {}

    def leading(value: str, width: int, wanted: int, name: str) -> str:
        """Append a cut to the leading units, where there are more than are wanted."""
        if width == wanted:
            return value
        ends = {"first": 0, "units": 1, f"{name}_end": wanted}
        constants.update((of, np.array([number])) for of, number in ends.items())
        nodes.append(helper.make_node("Slice", [value, "first", f"{name}_end", "units"], [name]))
        return name

    value, width = "x", inputs
    for layer, (w, b, activation) in enumerate(zip(weights, biases, activations, strict=True)):
        value = leading(value, width, w.shape[0], f"x{layer}")
        width = w.shape[1]
        if decorrelation:
            constants[f"R{layer}"] = np.ascontiguousarray(decorrelation[layer])
            nodes.append(helper.make_node("MatMul", [value, f"R{layer}"], [f"r{layer}"]))
            value = f"r{layer}"
        constants |= {f"W{layer}": np.ascontiguousarray(w), f"b{layer}": np.ascontiguousarray(b)}
        nodes.append(helper.make_node("Gemm", [value, f"W{layer}", f"b{layer}"], [f"z{layer}"]))
        kind, _, slope = activation.partition(":")
        if kind == "leaky-relu":
            # `LeakyRelu` keeps its slope as float32, and runtimes have `PRelu` for float32 alone.
            constants["zero"] = np.zeros(1, w.dtype)
            constants[f"slope{layer}"] = np.array([float(slope)], w.dtype)
            steps = [
                ("Less", [f"z{layer}", "zero"], f"below{layer}"),
                ("Mul", [f"z{layer}", f"slope{layer}"], f"scaled{layer}"),
                ("Where", [f"below{layer}", f"scaled{layer}", f"z{layer}"], f"y{layer}"),
            ]
        else:
            steps = [({"tanh": "Tanh", "identity": "Identity"}[kind], [f"z{layer}"], f"y{layer}")]
        nodes.extend(helper.make_node(operator, of, [result]) for operator, of, result in steps)
        value = f"y{layer}"
    value = leading(value, width, classes, "labels")
    nodes.append(helper.make_node("Identity", [value], ["outputs"]))

    element = helper.np_dtype_to_tensor_dtype(weights[0].dtype)
    graph = helper.make_graph(
        nodes,
        "gaitprop",
        [helper.make_tensor_value_info("x", element, ["samples", inputs])],
        [helper.make_tensor_value_info("outputs", element, ["samples", classes])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    made = helper.make_model(
        graph,
        producer_name="gaitprop",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=7,
    )
    onnx.checker.check_model(made)
    return made
