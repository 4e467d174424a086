from collections.abc import Callable, Sequence
from typing import Any, Literal, TypedDict, TypeVar, final

import numpy as np
from numpy.typing import NDArray

_T = TypeVar("_T", np.float32, np.float64)
_Array = NDArray[Any]
_Rule = Callable[[dict[str, Any], _Array], _Array]
_Trans = Literal[0, 1, 2, "N", "T", "C"]

__all__ = [
    "LayerSolver",
    "Network",
    "Trainer",
    "__version__",
    "alignment",
    "checkpoint_notes",
    "cholesky",
    "get_num_threads",
    "layer_adam",
    "layer_feedback",
    "layer_forward",
    "layer_gradients",
    "layer_gram",
    "layer_product",
    "layer_targets",
    "load_data",
    "lu_factor",
    "lu_solve",
    "main",
    "matmul",
    "names",
    "preset",
    "preset_epochs",
    "set_num_threads",
    "solve",
    "solve_triangular",
    "syrk",
    "updates",
]

__version__: str

def cholesky(
    a: NDArray[_T],
    /,
    out: NDArray[_T] | None = None,
    *,
    upper: bool = False,
    threads: int | None = None,
) -> NDArray[_T]: ...
def get_num_threads() -> int: ...
def lu_factor(
    a: NDArray[_T], /, out: NDArray[_T] | None = None, *, threads: int | None = None
) -> tuple[NDArray[_T], NDArray[np.intp]]: ...
def lu_solve(
    lu_and_piv: tuple[NDArray[_T], NDArray[np.integer]],
    b: NDArray[_T],
    /,
    out: NDArray[_T] | None = None,
    *,
    trans: _Trans = 0,
    threads: int | None = None,
) -> NDArray[_T]: ...
def main(args: Sequence[str], /) -> int: ...
def matmul(
    a: NDArray[_T],
    b: NDArray[_T],
    /,
    out: NDArray[_T] | None = None,
    *,
    threads: int | None = None,
) -> NDArray[_T]: ...
def set_num_threads(threads: int, /) -> None: ...
def solve(
    a: NDArray[_T],
    b: NDArray[_T],
    /,
    out: NDArray[_T] | None = None,
    *,
    threads: int | None = None,
) -> NDArray[_T]: ...
def solve_triangular(
    a: NDArray[_T],
    b: NDArray[_T],
    /,
    out: NDArray[_T] | None = None,
    *,
    trans: _Trans = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    threads: int | None = None,
) -> NDArray[_T]: ...
def syrk(
    a: NDArray[_T],
    /,
    out: NDArray[_T] | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    trans: bool = False,
    part: Literal["both", "lower", "upper"] = "both",
    threads: int | None = None,
) -> NDArray[_T]: ...

class _Results(TypedDict):
    loss: float
    accuracy: float
    steps: int

@final
class Network:
    @staticmethod
    def random(
        inputs: int,
        layers: Sequence[tuple[int, int]],
        labels: int,
        activation: str,
        loss: str,
        init: str,
        seed: int,
        single: bool,
    ) -> Network: ...
    @staticmethod
    def from_f32(
        inputs: int,
        layers: Sequence[tuple[_Array, _Array, str]],
        labels: int,
        decorrelation: Sequence[_Array],
    ) -> Network: ...
    @staticmethod
    def from_f64(
        inputs: int,
        layers: Sequence[tuple[_Array, _Array, str]],
        labels: int,
        decorrelation: Sequence[_Array],
    ) -> Network: ...
    @property
    def single(self) -> bool: ...
    @property
    def inputs(self) -> int: ...
    @property
    def labels(self) -> int: ...
    @property
    def activations(self) -> list[str]: ...
    @property
    def weights(self) -> list[_Array]: ...
    @property
    def biases(self) -> list[_Array]: ...
    @property
    def decorrelation(self) -> list[_Array]: ...
    def outputs(self, x: _Array, threads: int | None) -> _Array: ...
    def evaluate(
        self, x: _Array, y: NDArray[np.uint32], loss: str, threads: int | None
    ) -> tuple[float, float]: ...
    def save(
        self, path: str, loss: str, rule: str, center: list[float], scale: list[float]
    ) -> None: ...
    @staticmethod
    def load(path: str) -> tuple[Network, str, str, list[float], list[float]]: ...

@final
class Trainer:
    def __new__(
        cls,
        network: Network,
        settings: dict[str, Any],
        seed: int,
        threads: int | None,
        rule: _Rule | None,
    ) -> Trainer: ...
    def epoch(
        self,
        x: _Array,
        y: NDArray[np.uint32],
        progress: Callable[[int, int], None] | None,
    ) -> _Results: ...
    def network(self) -> Network: ...
    def set_network(self, network: Network) -> None: ...
    @property
    def steps(self) -> int: ...
    @property
    def epochs(self) -> int: ...
    @epochs.setter
    def epochs(self, epochs: int) -> None: ...
    def orthogonality(self) -> list[float]: ...
    def save(self, path: str, notes: str) -> None: ...
    def load(self, path: str) -> None: ...

def alignment(
    network: Network,
    x: _Array,
    target: _Array,
    settings: dict[str, Any],
    seed: int,
    threads: int | None,
    rule: _Rule | None,
    damping: float | None,
) -> list[tuple[float, float, float]]: ...
def checkpoint_notes(path: str) -> str: ...
def load_data(
    name: str,
    scaling: str,
    single: bool,
    limit_train: int | None,
    limit_test: int | None,
) -> dict[str, Any]: ...
def names() -> dict[str, list[str]]: ...
def preset(preset: str, rule: str) -> dict[str, Any]: ...
def preset_epochs(preset: str) -> int: ...
def updates(
    network: Network,
    x: _Array,
    target: _Array,
    settings: dict[str, Any],
    seed: int,
    threads: int | None,
    rule: _Rule | None,
) -> dict[str, Any]: ...

# Layers of `gaitprop.torch`. Arrays are float32 or float64, all of one type.
@final
class LayerSolver:
    def __new__(cls, kind: str, tolerance: float, dtype: str) -> LayerSolver: ...

def layer_adam(
    theta: NDArray[Any],
    m: NDArray[Any],
    v: NDArray[Any],
    g: NDArray[Any],
    rate: float,
    beta1: tuple[float, float],
    beta2: tuple[float, float],
    epsilon: float,
) -> bool: ...
def layer_feedback(
    g: NDArray[Any],
    y: NDArray[Any],
    kept: NDArray[Any] | None,
    m: NDArray[Any],
    dx: NDArray[Any],
    kind: str,
    slope: float,
    threads: int,
) -> None: ...
def layer_forward(
    x: NDArray[Any],
    w: NDArray[Any],
    b: NDArray[Any] | None,
    y: NDArray[Any],
    kept: NDArray[Any] | None,
    kind: str,
    slope: float,
    threads: int,
) -> None: ...
def layer_gradients(
    g: NDArray[Any],
    y: NDArray[Any],
    kept: NDArray[Any] | None,
    x: NDArray[Any],
    dw: NDArray[Any],
    db: NDArray[Any],
    kind: str,
    slope: float,
    threads: int,
) -> None: ...
def layer_gram(v: NDArray[Any], gram: NDArray[Any], identity: bool, threads: int) -> float: ...
def layer_product(
    a: NDArray[Any], b: NDArray[Any], c: NDArray[Any], threads: int, alpha: float = 1.0
) -> None: ...
def layer_targets(
    g: NDArray[Any],
    y: NDArray[Any],
    kept: NDArray[Any] | None,
    w: NDArray[Any],
    dx: NDArray[Any],
    kind: str,
    slope: float,
    rule: str,
    scale: float | None,
    solver: LayerSolver | None,
    version: int,
    threads: int,
) -> None: ...
