"""Networks, trainers, and the updates of one batch."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TextIO, TypedDict

import numpy as np
import numpy.typing as npt

from gaitprop import _native, linalg
from gaitprop._errors import Error

__all__ = [
    "PRESETS",
    "RULES",
    "SOLVERS",
    "Alignment",
    "Data",
    "EpochResult",
    "Network",
    "TrainConfig",
    "Trainer",
    "Updates",
    "align",
    "load_data",
    "updates",
]

Array = npt.NDArray[Any]
Path = str | os.PathLike[str]
#: A rule: called with the state of a layer and its delta, returns the error of the layer below.
Rule = Callable[[dict[str, Any], Array], Array]

#: Names of the learning rules.
RULES: tuple[str, ...] = tuple(_native.names()["rule"])
#: Published number of epochs of each preset, by its name.
PRESETS: dict[str, int] = {name: _native.preset_epochs(name) for name in _native.names()["preset"]}
#: Names of the ways through the inverse of the weights.
SOLVERS: tuple[str, ...] = tuple(_native.names()["solver"])


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of a training.

    The defaults are those published for GAIT-prop; `TrainConfig.published` has those of the other
    rules, and `TrainConfig.preset` those of other published runs. Values are checked when a
    `Trainer` is made.

    Attributes
    ----------
    rule : str
        Learning rule, one of `RULES`.
    gamma : float
        Size of the perturbation of GAIT and ITP in one layer, from 0 (the linear limit) to 1.
    target_form : {"difference", "absolute"}
        Arithmetic of GAIT, ITP and TP. ``"absolute"`` is the published formula, which loses its
        digits in deep networks. It needs ``solver="lu"``.
    solver : str
        Way through the inverse of the weights, one of `SOLVERS`.
    tolerance : float
        Relative error at which iterative solvers stop.
    damping : float
        Damping of ``solver="damped"``, at least 0.
    inverse_rate : float, optional
        Learning rate of ``solver="learned"``; `None` for that of the weights. Other solvers refuse
        a rate.
    decorrelation_rate : float, optional
        Learning rate of the decorrelation of every layer's input; `None` for no decorrelation.
    decorrelation_share : float
        Share of each batch that decorrelations learn from, above 0 and at most 1.
    loss : {"squared", "cross-entropy"}
        Loss. Cross-entropy needs a network whose last layer is linear: `Network` with this loss.
    regularization : float
        λ of the regularizer that draws weights towards orthogonal ones; 0 switches it off.
    ortho_form : {"published", "identity"}
        Form of the regularizer: the part of W Wᵀ off its diagonal, or W Wᵀ − I.
    ortho_layers : {"all", "above-first"}
        Layers of the regularizer, and of ``hold="block"`` and ``hold="retract"``.
    hold : {"none", "block", "retract", "cayley"}
        Other method that keeps weights near orthogonal. It adds to the regularizer. The program's
        ``--hold block`` and ``--hold cayley`` replace it: ``regularization=0.0`` here.
    mu : float
        Strength of ``hold="block"``, from 0 to below 2.
    retract_every : int
        Steps from one retraction to the next, for ``hold="retract"``.
    optimizer : {"published-adam", "adam", "sgd", "momentum"}
        Optimizer.
    learning_rate : float
        Learning rate.
    beta1, beta2, epsilon : float, optional
        Constants of Adam; ``beta1`` is also the factor of momentum. ``None`` is the optimizer's
        default. An optimizer without such a constant refuses a value.
    weight_decay : float
        Each step multiplies weights by 1 - ``weight_decay`` after the optimizer; from 0 to below 1.
    init : {"orthogonal", "xavier"}
        Distribution of the feedback of FA, DFA, DRTP and KP, and of learned inverses at the start.
    batch : int
        Samples in a step.
    shuffle : bool
        Whether every epoch draws a new order of the samples.
    """

    rule: str = "gait"
    gamma: float = 1e-3
    target_form: Literal["difference", "absolute"] = "difference"
    solver: str = "auto"
    tolerance: float = 1e-3
    damping: float = 1e-3
    inverse_rate: float | None = None
    decorrelation_rate: float | None = None
    decorrelation_share: float = 0.1
    loss: Literal["squared", "cross-entropy"] = "squared"
    regularization: float = 0.1
    ortho_form: Literal["published", "identity"] = "published"
    ortho_layers: Literal["all", "above-first"] = "all"
    hold: Literal["none", "block", "retract", "cayley"] = "none"
    mu: float = 1.0
    retract_every: int = 100
    optimizer: Literal["published-adam", "adam", "sgd", "momentum"] = "published-adam"
    learning_rate: float = 1e-4
    beta1: float | None = None
    beta2: float | None = None
    epsilon: float | None = None
    weight_decay: float = 0.0
    init: Literal["orthogonal", "xavier"] = "orthogonal"
    batch: int = 60
    shuffle: bool = False

    @classmethod
    def published(cls, rule: str, **changes: Any) -> TrainConfig:
        """Return the published settings of a rule, with some of them changed.

        Parameters
        ----------
        rule : str
            One of `RULES`.
        **changes
            Fields with other values.

        Returns
        -------
        TrainConfig
            The settings.

        Raises
        ------
        gaitprop.Error
            If there is no such rule.

        Examples
        --------
        >>> from gaitprop import TrainConfig
        >>> TrainConfig.published("bp", learning_rate=1e-3).regularization
        0.0
        """
        return cls.preset("paper", rule, **changes)

    @classmethod
    def preset(cls, name: str, rule: str, **changes: Any) -> TrainConfig:
        """Return the settings of published runs of a rule, with some of them changed.

        ``init`` of a preset is also meant for the `Network`: ``Network(…, init=config.init,
        loss=config.loss)``.

        Parameters
        ----------
        name : str
            ``"paper"``, ``"paper-2020"`` (the authors' code at the time of the paper: rules with
            a regularizer start from Gaussian weights) or ``"follow-up"`` (CIFAR-10). `PRESETS`
            has the number of epochs of each.
        rule : str
            One of `RULES`.
        **changes
            Fields with other values.

        Returns
        -------
        TrainConfig
            The settings.

        Raises
        ------
        gaitprop.Error
            If there is no such preset or rule.

        Examples
        --------
        >>> from gaitprop import TrainConfig
        >>> TrainConfig.preset("paper-2020", "gait").init
        'xavier'
        """
        return cls(**(_native.preset(name, rule) | changes))

    def _settings(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


class Network:
    """A network: layers fed by the first units of the layer below, square above the first.

    A network does not change. A `Trainer` copies the one that it is given, and `Trainer.network`
    returns a copy of its own.

    Parameters
    ----------
    inputs : int
        Width of the input.
    widths : sequence of int
        Width of each layer. The last may be wider than the number of classes: its other units are
        auxiliary.
    classes : int
        Number of classes. The first units of the last layer stand for them.
    activation : str
        ``"leaky-relu"``, ``"leaky-relu:SLOPE"``, ``"tanh"`` or ``"identity"``.
    loss : {"squared", "cross-entropy"}
        With cross-entropy the last layer is linear.
    init : {"orthogonal", "xavier"}
        Distribution of the weights. Biases are 0.
    seed : int
        Decides the weights, on every machine alike.
    dtype : dtype
        ``numpy.float32`` or ``numpy.float64``.
    tower : bool
        Whether the first layer is square, too, and reads the first inputs only.
    dense : bool
        Whether every layer reads all units of the layer below, so that any may be rectangular.
        GAIT, ITP and TP then need ``solver="damped"`` or ``"learned"``.

    Raises
    ------
    gaitprop.Error
        If the layers do not fit each other.

    Examples
    --------
    >>> from gaitprop import Network
    >>> net = Network(64, [64, 64], 10)
    >>> [w.shape for w in net.weights]
    [(64, 64), (64, 64)]
    """

    def __init__(
        self,
        inputs: int,
        widths: Sequence[int],
        classes: int,
        *,
        activation: str = "leaky-relu",
        loss: str = "squared",
        init: str = "orthogonal",
        seed: int = 1,
        dtype: npt.DTypeLike = np.float32,
        tower: bool = False,
        dense: bool = False,
    ) -> None:
        if tower and dense:
            raise Error("tower and dense contradict each other: use one of them")
        below = [inputs, *widths]
        layers = [
            (below[layer] if dense or (layer == 0 and not tower) else width, width)
            for layer, width in enumerate(widths)
        ]
        single = _is_single(np.dtype(dtype))
        self._native = _native.Network.random(
            inputs, layers, classes, activation, loss, init, seed, single
        )

    @classmethod
    def _of(cls, native: _native.Network) -> Network:
        network = cls.__new__(cls)
        network._native = native
        return network

    @classmethod
    def from_arrays(
        cls,
        weights: Sequence[Array],
        biases: Sequence[Array] | None = None,
        *,
        classes: int | None = None,
        inputs: int | None = None,
        activations: str | Sequence[str] = "leaky-relu",
        decorrelation: Sequence[Array] = (),
    ) -> Network:
        """Make a network from arrays, which are copied.

        Parameters
        ----------
        weights : sequence of ndarray
            Each of shape (units that feed the layer, width), all float32 or all float64.
        biases : sequence of ndarray, optional
            Each of shape (width,). Zeros by default.
        classes : int, optional
            Number of classes; by default the width of the last layer.
        inputs : int, optional
            Width of the input; by default what the first layer reads.
        activations : str or sequence of str
            One for all layers, or one for each.
        decorrelation : sequence of ndarray
            The matrix that each layer's input is multiplied by before its weights, square. None by
            default.

        Returns
        -------
        Network
            The network.

        Raises
        ------
        gaitprop.Error
            If the layers do not fit each other.
        TypeError
            If arrays are of other types.
        """
        if not weights:
            raise Error("a network needs at least one layer")
        dtype = _dtype_of(weights[0], "weights")
        weights = [_matrix(w, dtype, "weights") for w in weights]
        if biases is None:
            biases = [np.zeros(w.shape[1], dtype) for w in weights]
        names = [activations] * len(weights) if isinstance(activations, str) else list(activations)
        if not len(weights) == len(biases) == len(names):
            raise Error(
                f"{len(weights)} weights, {len(biases)} biases and {len(names)} activations: "
                "give one of each for every layer"
            )
        layers = [
            (w, np.ascontiguousarray(_checked(b, dtype, "biases")), name)
            for w, b, name in zip(weights, biases, names, strict=True)
        ]
        make = _native.Network.from_f32 if _is_single(dtype) else _native.Network.from_f64
        inputs = weights[0].shape[0] if inputs is None else inputs
        classes = weights[-1].shape[1] if classes is None else classes
        square = [_matrix(r, dtype, "decorrelation") for r in decorrelation]
        return cls._of(make(inputs, layers, classes, square))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type: float32 or float64."""
        return np.dtype(np.float32 if self._native.single else np.float64)

    @property
    def inputs(self) -> int:
        """Width of the input."""
        return self._native.inputs

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self._native.labels

    @property
    def activations(self) -> list[str]:
        """Name of each layer's activation."""
        return self._native.activations

    @property
    def weights(self) -> list[Array]:
        """Read-only views of the weights, each of shape (units that feed it, width)."""
        return self._native.weights

    @property
    def biases(self) -> list[Array]:
        """Read-only views of the biases, each of shape (width,)."""
        return self._native.biases

    @property
    def decorrelation(self) -> list[Array]:
        """Read-only views of the decorrelations of the layers' inputs; empty without."""
        return self._native.decorrelation

    def _folded(self) -> list[Array]:
        """Return ``R W`` of each layer, and copies of its weights without decorrelations.

        A network of these weights alone computes the same outputs.
        """
        if not self.decorrelation:
            return [w.copy() for w in self.weights]
        # Not by NumPy's product, whose bits depend on the machine.
        return [
            linalg.matmul(r.astype(np.float64), w.astype(np.float64)).astype(self.dtype)
            for r, w in zip(self.decorrelation, self.weights, strict=True)
        ]

    def state_dict(self) -> dict[str, Array]:
        """Return views of all parameters by name: ``W0``, ``b0``, ``W1`` and so on.

        A network with decorrelations also has ``R0``, ``R1`` and so on.
        """
        state: dict[str, Array] = {}
        for layer, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            state |= {f"W{layer}": w, f"b{layer}": b}
        return state | {f"R{layer}": r for layer, r in enumerate(self.decorrelation)}

    def outputs(self, x: npt.ArrayLike, *, threads: int | None = None) -> Array:
        """Return the activities of the classes' units.

        Parameters
        ----------
        x : array_like
            Samples × inputs.
        threads : int, optional
            Number of threads; by default `get_num_threads`.

        Returns
        -------
        ndarray
            Samples × classes.
        """
        return self._native.outputs(_matrix(x, self.dtype, "x"), threads)

    def predict(self, x: npt.ArrayLike, *, threads: int | None = None) -> npt.NDArray[np.int64]:
        """Return the class of each sample: the unit with the largest activity.

        Parameters
        ----------
        x : array_like
            Samples × inputs.
        threads : int, optional
            Number of threads; by default `get_num_threads`.

        Returns
        -------
        ndarray of int
            One class for each sample.
        """
        return np.asarray(np.argmax(self.outputs(x, threads=threads), axis=1), np.int64)

    def evaluate(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        loss: str = "squared",
        threads: int | None = None,
    ) -> tuple[float, float]:
        """Return mean loss and accuracy.

        Parameters
        ----------
        x : array_like
            Samples × inputs.
        y : array_like of int
            One class for each sample.
        loss : {"squared", "cross-entropy"}
            The loss.
        threads : int, optional
            Number of threads; by default `get_num_threads`.

        Returns
        -------
        tuple of float
            Mean loss and share of correct predictions.
        """
        return self._native.evaluate(_samples(x, self.dtype, "x"), _labels(y), loss, threads)

    def save(
        self,
        path: Path,
        *,
        rule: str = "gait",
        loss: str = "squared",
        center: npt.ArrayLike = 0.0,
        scale: npt.ArrayLike = 1.0,
    ) -> None:
        """Write the weights to a safetensors file, which the program reads, too.

        Parameters
        ----------
        path : path
            The file. It is replaced in one move, or stays as it was.
        rule, loss : str
            How the network was trained.
        center, scale : array_like
            Scaling that was applied to the inputs, for the program: a number, or one for each
            input.

        Raises
        ------
        gaitprop.Error
            For an unknown loss, or a scaling that does not fit the inputs.
        OSError
            If the file cannot be written.
        """
        given = (np.asarray(v, np.float64) for v in (center, scale))
        centers, scales = (
            (np.full(self.inputs, v) if v.ndim == 0 else v.ravel()).tolist() for v in given
        )
        self._native.save(os.fspath(path), loss, rule, centers, scales)

    @classmethod
    def load(cls, path: Path) -> Network:
        """Read a file of `save` or of the program.

        Parameters
        ----------
        path : path
            The file.

        Returns
        -------
        Network
            The network.

        Raises
        ------
        OSError
            If the file cannot be read.
        gaitprop.Error
            If it is damaged, or of another kind.
        """
        return cls._of(_native.Network.load(os.fspath(path))[0])

    def to_onnx(self) -> Any:
        """Return the network as an ONNX model, for other runtimes.

        The model has one input ``x`` (samples × inputs) and one output ``outputs`` (samples ×
        classes), of the network's element type. It computes `outputs`, with the runtime's rounding.
        ``onnx.save(network.to_onnx(), path)`` writes it to a file.

        Returns
        -------
        onnx.ModelProto
            The model, checked.

        Raises
        ------
        ModuleNotFoundError
            Without the package ``onnx``: ``pip install onnx``.
        """
        from gaitprop._onnx import model

        parameters = (self.weights, self.biases, self.decorrelation)
        return model(*parameters, self.activations, self.inputs, self.classes)

    def __repr__(self) -> str:
        """Return shape and element type."""
        widths = "-".join(str(w.shape[1]) for w in self.weights)
        return f"Network({self.inputs}-{widths}, {self.classes} classes, {self.dtype})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arrays."""
        arrays = ([a.copy() for a in of] for of in (self.weights, self.biases, self.decorrelation))
        return _rebuilt, (*arrays, self.classes, self.inputs, self.activations)


def _rebuilt(
    weights: list[Array],
    biases: list[Array],
    decorrelation: list[Array],
    classes: int,
    inputs: int,
    activations: list[str],
) -> Network:
    return Network.from_arrays(
        weights,
        biases,
        classes=classes,
        inputs=inputs,
        activations=activations,
        decorrelation=decorrelation,
    )


class EpochResult(TypedDict, total=False):
    """Results of an epoch.

    ``loss`` and ``accuracy`` are of each sample just before it was learned. ``validation_loss`` and
    ``validation_accuracy`` are there with validation samples.
    """

    epoch: int
    loss: float
    accuracy: float
    steps: int
    seconds: float
    validation_loss: float
    validation_accuracy: float


class Trainer:
    """Trains a network, with the bits of the program ``gaitprop train``.

    Parameters
    ----------
    network : Network
        Start of the training. It is copied.
    config : TrainConfig, optional
        Settings.
    seed : int
        Decides the order of samples and random feedback.
    threads : int, optional
        Number of threads; by default `get_num_threads`. It changes no bit.
    rule : callable, optional
        A learning rule of one's own, in place of ``config.rule``. It is called as
        ``rule(layer, delta)`` for each layer but the first, from the last down. ``layer`` is a
        dictionary: ``index``, ``above`` (number of layers above), ``w`` (fan-in × width), ``b``,
        ``decorrelation`` (R of the input, fan-in × fan-in, or None), ``activation``, ``active``
        (units that may have an error), ``input`` (batch × fan-in, after R), ``y`` and ``e`` (batch
        × width), ``slope`` (or None where ``y`` determines it), ``output_delta`` and ``target``;
        ``delta`` is f′ ∘ e (batch × width). It returns the error of the layer below, batch ×
        fan-in: of its activity before R, so that backpropagation is ``delta @ w.T``, and ``delta @
        w.T @ r.T`` with a decorrelation r. All arrays are copies. Such a rule goes through layers
        of any shape; ``rule``, ``gamma`` and ``target_form`` of the settings do not matter.

    Raises
    ------
    gaitprop.Error
        For settings that are out of range or contradict each other.
    TypeError
        If `config` is no `TrainConfig`.

    Notes
    -----
    One thread uses a trainer at a time; a second one gets a ``RuntimeError``. Other threads of
    Python run meanwhile.

    Examples
    --------
    >>> from gaitprop import Network, TrainConfig, Trainer, load_data
    >>> digits = load_data("digits")
    >>> trainer = Trainer(Network(64, [64, 64], 10), TrainConfig(learning_rate=1e-3))
    >>> history = trainer.fit(*digits.train, epochs=10)
    >>> trainer.evaluate(*digits.test)[1] > 0.9
    True
    """

    def __init__(
        self,
        network: Network,
        config: TrainConfig | None = None,
        *,
        seed: int = 1,
        threads: int | None = None,
        rule: Rule | None = None,
    ) -> None:
        self._config = _config(config)
        self._seed = seed
        self._threads = threads
        self._own_rule = rule is not None
        self._native = _native.Trainer(
            network._native, self._config._settings(), seed, threads, rule
        )
        self._dtype = network.dtype

    @property
    def config(self) -> TrainConfig:
        """Settings."""
        return self._config

    @property
    def network(self) -> Network:
        """A copy of the network as it is now."""
        return Network._of(self._native.network())

    @network.setter
    def network(self, network: Network) -> None:
        """Replace the weights; the optimizer's moments stay."""
        self._native.set_network(network._native)

    @property
    def epochs(self) -> int:
        """Number of whole epochs so far."""
        return self._native.epochs

    @property
    def steps(self) -> int:
        """Number of steps so far."""
        return self._native.steps

    def orthogonality(self) -> list[float]:
        """Return the distance of each layer's weights from orthogonal ones."""
        return self._native.orthogonality()

    def fit(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        epochs: int = 1,
        validation: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
        patience: int | None = None,
        callback: Callable[[Trainer, EpochResult], bool | None] | None = None,
        progress: bool | None = None,
    ) -> list[EpochResult]:
        """Train.

        Parameters
        ----------
        x : array_like
            Samples × inputs. Arrays of the network's element type are not copied.
        y : array_like of int
            One class for each sample, from 0 on.
        epochs : int
            Number of epochs.
        validation : tuple of array_like, optional
            Samples and classes to evaluate after each epoch.
        patience : int, optional
            Number of epochs without a smaller validation loss after which training stops. The
            network is then the one with the smallest loss.
        callback : callable, optional
            Called as ``callback(trainer, result)`` after each epoch. ``True`` stops.
        progress : bool, optional
            Whether to show a progress bar; by default if the error stream is a terminal.

        Returns
        -------
        list of EpochResult
            One for each epoch.

        Raises
        ------
        gaitprop.Error
            If samples or classes do not fit the network; or if a target lies outside the range of
            ``tanh``, in which case the network is as after the last step.
        gaitprop.SingularMatrixError
            If weights that need an inverse have none. The network is as after the last step (where
            a retraction failed, it is that of the epoch's start).
        gaitprop.DivergedError
            If values become infinite. The network is that of the epoch's start, and the optimizer's
            moments are 0.
        KeyboardInterrupt
            After Ctrl-C. The network is as after the last step, and the next call goes on with the
            interrupted epoch.

        Notes
        -----
        After any other exception in a step, such as one of a rule in Python (Ctrl-C there
        included), the network is that of the epoch's start, and the optimizer's moments are 0.
        After one in `callback` it is as at the end of the epoch.
        """
        x, y = _samples(x, self._dtype, "x"), _labels(y)
        if patience is not None and validation is None:
            raise Error("patience needs validation samples")
        if patience is not None and patience < 1:
            raise Error(f"patience is {patience}, but must be at least 1")
        if epochs < 0:
            raise Error(f"epochs is {epochs}, but must be at least 0")
        held = None
        if validation is not None:
            held = (_samples(validation[0], self._dtype, "validation"), _labels(validation[1]))
            # Refuses before the first epoch what `evaluate` would refuse after it.
            fits = len(held[0]) == len(held[1]) and held[1].max() < self.network.classes
            self.evaluate(*(part[:1] if fits else part for part in held))
        bar = _Progress(epochs, sys.stderr) if _shows(progress) else None
        history: list[EpochResult] = []
        best: tuple[float, Network] | None = None
        since = 0
        try:
            for _ in range(epochs):
                start = time.perf_counter()
                native = self._native.epoch(x, y, bar)
                result = EpochResult(
                    epoch=self.epochs,
                    loss=native["loss"],
                    accuracy=native["accuracy"],
                    steps=native["steps"],
                    seconds=time.perf_counter() - start,
                )
                if held is not None:
                    loss, accuracy = self.evaluate(*held)
                    result["validation_loss"], result["validation_accuracy"] = loss, accuracy
                    if patience is not None:
                        since += 1
                        if best is None or loss < best[0]:
                            best, since = (loss, self.network), 0
                history.append(result)
                if bar is not None:
                    bar.epoch(result)
                stop = callback is not None and callback(self, result) is True
                if stop or (patience is not None and since >= patience):
                    break
        finally:
            if bar is not None:
                bar.close()
        if best is not None and since > 0:
            self.network = best[1]
        return history

    def predict(self, x: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the class of each sample, as `Network.predict`."""
        return self.network.predict(x, threads=self._threads)

    def evaluate(self, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[float, float]:
        """Return mean loss and accuracy, as `Network.evaluate`, with the training's loss."""
        return self.network.evaluate(x, y, loss=self._config.loss, threads=self._threads)

    def save(self, path: Path) -> None:
        """Write a checkpoint: all that later steps depend on.

        A trainer of `load` goes on bit for bit, in the middle of an epoch, too.

        Parameters
        ----------
        path : path
            The file. It is replaced in one move, or stays as it was.

        Raises
        ------
        gaitprop.Error
            For a rule of one's own, which a file cannot hold.
        OSError
            If the file cannot be written.
        """
        if self._own_rule:
            raise Error("a checkpoint cannot hold a rule that is a function: save the network")
        network = self.network
        notes = {
            "config": self._config._settings(),
            "seed": self._seed,
            "epochs": self.epochs,
            "dtype": self._dtype.name,
            "inputs": network.inputs,
            "classes": network.classes,
            "layers": [w.shape for w in network.weights],
            "activations": network.activations,
            "decorrelated": bool(network.decorrelation),
        }
        self._native.save(os.fspath(path), json.dumps(notes))

    @classmethod
    def load(cls, path: Path, *, threads: int | None = None) -> Trainer:
        """Make a trainer from a file of `save`.

        Parameters
        ----------
        path : path
            The file.
        threads : int, optional
            Number of threads; by default `get_num_threads`. It changes no bit.

        Returns
        -------
        Trainer
            The trainer.

        Raises
        ------
        OSError
            If the file cannot be read.
        gaitprop.Error
            If it is damaged, or no checkpoint of this package.
        """
        path = os.fspath(path)
        try:
            notes = json.loads(_native.checkpoint_notes(path))
            shapes, dtype = notes["layers"], np.dtype(notes["dtype"])
            network = Network.from_arrays(
                [np.zeros(shape, dtype) for shape in shapes],
                classes=notes["classes"],
                inputs=notes["inputs"],
                activations=notes["activations"],
                decorrelation=[np.zeros((n, n), dtype) for n, _ in shapes]
                if notes.get("decorrelated")
                else (),
            )
            trainer = cls(
                network, TrainConfig(**notes["config"]), seed=notes["seed"], threads=threads
            )
            trainer._native.epochs = notes["epochs"]
        except (KeyError, TypeError, OverflowError, json.JSONDecodeError) as e:
            raise Error(f"{path}: not a checkpoint of this package: {e}") from e
        trainer._native.load(path)
        return trainer


@dataclass(frozen=True)
class Updates:
    """What a rule computes on one batch; `updates` makes it.

    Attributes
    ----------
    activities : list of ndarray
        Activity of each layer, batch × width.
    deltas : list of ndarray
        f′ ∘ e of each layer, batch × width: the difference of target and activity, times the slope.
        With GAIT-prop and orthogonal weights it is minus the gradient by the layer's input.
    weights, biases : list of ndarray
        Updates by plain gradient descent with learning rate 1: to be added. They include the
        regularizer.
    loss : float
        Mean loss of the batch.
    accuracy : float
        Share of correct predictions.
    """

    activities: list[Array]
    deltas: list[Array]
    weights: list[Array]
    biases: list[Array]
    loss: float
    accuracy: float


def updates(
    network: Network,
    x: npt.ArrayLike,
    target: npt.ArrayLike,
    config: TrainConfig | None = None,
    *,
    seed: int = 1,
    threads: int | None = None,
    rule: Rule | None = None,
) -> Updates:
    """Compute the updates of one batch by a rule. The network stays as it is.

    The rule starts anew: its feedback is that of step 0 for this seed. ``kp``, which has then
    learned no feedback, is another rule than the one that trained the network, and ``brsf`` has the
    magnitudes of step 0.

    Parameters
    ----------
    network : Network
        The network.
    x : array_like
        Batch × inputs.
    target : array_like
        One class for each sample, or batch × classes.
    config : TrainConfig, optional
        Settings; optimizer, learning rate, hold, batch and shuffle do not matter.
    seed : int
        Decides random feedback.
    threads : int, optional
        Number of threads; by default `get_num_threads`. It changes no bit.
    rule : callable, optional
        A rule of one's own, as in `Trainer`.

    Returns
    -------
    Updates
        Activities, deltas and updates.

    Raises
    ------
    gaitprop.Error
        If arrays do not fit the network, settings are out of range, or a target lies outside the
        range of ``tanh``.
    gaitprop.SingularMatrixError
        If weights that need an inverse have none.
    gaitprop.DivergedError
        If values become infinite.
    TypeError
        If `config` is no `TrainConfig`.

    Examples
    --------
    >>> import numpy as np
    >>> from gaitprop import Network, TrainConfig, updates
    >>> net = Network(8, [8, 8], 3, dtype=np.float64)
    >>> x = np.random.default_rng(1).random((5, 8))
    >>> gait = updates(net, x, [0, 1, 2, 0, 1], TrainConfig(regularization=0.0, tolerance=1e-9))
    >>> bp = updates(net, x, [0, 1, 2, 0, 1], TrainConfig.published("bp"))
    >>> bool(np.allclose(gait.weights[0], bp.weights[0]))
    True
    """
    x, target = _samples(x, network.dtype, "x"), _targets(target, network)
    settings = _config(config)._settings()
    return Updates(**_native.updates(network._native, x, target, settings, seed, threads, rule))


@dataclass(frozen=True)
class Alignment:
    """Comparison of one layer's weight update with that of a reference.

    Attributes
    ----------
    cosine : float
        Cosine of the angle between them.
    difference : float
        Norm of their difference over the norm of the reference's.
    ratio : float
        Norm of the first over norm of the second.
    """

    cosine: float
    difference: float
    ratio: float

    @property
    def degrees(self) -> float:
        """Angle between them in degrees; NaN where the cosine is."""
        return float(np.degrees(np.arccos(np.clip(self.cosine, -1.0, 1.0))))


def align(
    network: Network,
    x: npt.ArrayLike,
    target: npt.ArrayLike,
    config: TrainConfig | None = None,
    *,
    reference: Literal["bp", "gauss-newton"] = "bp",
    damping: float = 0.0,
    seed: int = 1,
    threads: int | None = None,
    rule: Rule | None = None,
) -> list[Alignment]:
    """Compare a rule's updates of one batch with those of a reference, without a regularizer.

    The rule starts anew, as in `updates`: for ``kp``, trained weights meet the feedback of step 0,
    and the cosines are not those of the rule that trained them. ``brsf`` has the magnitudes of
    step 0.

    Other parameters and exceptions are those of `updates`.

    Parameters
    ----------
    reference : {"bp", "gauss-newton"}
        Backpropagation, or the Gauss-Newton targets that target propagation approximates.
    damping : float
        Damping λ of the Gauss-Newton targets: 0 gives the exact target, a large λ the direction
        of backpropagation.

    Returns
    -------
    list of Alignment
        One for each layer.

    Raises
    ------
    gaitprop.Error
        If there is no such reference, or the damping is negative or not finite.
    gaitprop.SingularMatrixError
        If only damping determines a Gauss-Newton target.
    """
    if reference not in ("bp", "gauss-newton"):
        raise Error(f"unknown reference `{reference}`: use bp or gauss-newton")
    x, target = _samples(x, network.dtype, "x"), _targets(target, network)
    settings = _config(config)._settings()
    damped = damping if reference == "gauss-newton" else None
    found = _native.alignment(network._native, x, target, settings, seed, threads, rule, damped)
    return [Alignment(*layer) for layer in found]


@dataclass(frozen=True)
class Data:
    """A data set; `load_data` makes it.

    Attributes
    ----------
    train, test : tuple of ndarray
        Samples × inputs, and one class for each sample.
    classes : int
        Number of classes.
    center, scale : ndarray
        Scaling of the inputs, as `Network.save` takes it.
    """

    train: tuple[Array, npt.NDArray[np.uint32]]
    test: tuple[Array, npt.NDArray[np.uint32]]
    classes: int
    center: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]


def load_data(
    name: Path = "digits",
    *,
    scaling: Literal["none", "unit", "standard", "per-feature"] = "unit",
    dtype: npt.DTypeLike = np.float32,
    limit_train: int | None = None,
    limit_test: int | None = None,
) -> Data:
    """Load a data set as the program does.

    Parameters
    ----------
    name : path
        ``"digits"``, which the package holds, a folder of IDX files such as MNIST's, or an .npz
        file as the program takes it (``x``, ``y``, ``x_test``, ``y_test``).
    scaling : str
        Scaling of the inputs, with statistics of the training set.
    dtype : dtype
        ``numpy.float32`` or ``numpy.float64``.
    limit_train, limit_test : int, optional
        Number of leading samples to keep.

    Returns
    -------
    Data
        Samples and classes.

    Raises
    ------
    OSError
        If a file cannot be read.
    gaitprop.Error
        If there is no such data set, or a file is damaged.
    """
    single = _is_single(np.dtype(dtype))
    return Data(**_native.load_data(os.fspath(name), scaling, single, limit_train, limit_test))


def _is_single(dtype: np.dtype[Any]) -> bool:
    if dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"networks are float32 or float64, not {dtype}")
    return dtype == np.float32


def _dtype_of(array: object, what: str) -> np.dtype[Any]:
    dtype = np.asarray(array).dtype
    if dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"{what} are {dtype}: use float32 or float64")
    return dtype


def _checked(array: npt.ArrayLike, dtype: np.dtype[Any], what: str) -> Array:
    """Return an array of this type. Numbers become it; no array loses digits silently."""
    given = np.asarray(array)
    if given.dtype == dtype:
        # Also to this machine's byte order and alignment, where they differ.
        return np.require(given, dtype, ["A"])
    if isinstance(array, np.ndarray) and (given.dtype.kind not in "iub"):
        raise TypeError(
            f"{what}: an array of {given.dtype}, but the network is {dtype}; "
            f"pass {what}.astype({dtype.name!r})"
        )
    if given.dtype.kind not in "iubf":
        raise TypeError(f"{what}: numbers are needed, not {given.dtype}")
    return np.require(given.astype(dtype), dtype, ["A"])


def _config(config: TrainConfig | None) -> TrainConfig:
    if config is None:
        return TrainConfig()
    if not isinstance(config, TrainConfig):
        raise TypeError(f"config must be a TrainConfig, not {type(config).__name__}")
    return config


def _samples(array: npt.ArrayLike, dtype: np.dtype[Any], what: str) -> Array:
    samples = _matrix(array, dtype, what)
    if not len(samples):
        raise Error(f"{what} has no samples")
    return samples


def _matrix(array: npt.ArrayLike, dtype: np.dtype[Any], what: str) -> Array:
    matrix = _checked(array, dtype, what)
    if matrix.ndim != 2:
        raise Error(f"{what}: an array of two dimensions is needed, not of {matrix.ndim}")
    return matrix


def _labels(y: npt.ArrayLike) -> npt.NDArray[np.uint32]:
    labels = np.asarray(y)
    if labels.ndim != 1:
        raise Error(
            f"classes: one for each sample is needed, not an array of {labels.ndim} dimensions"
        )
    if (
        labels.dtype.kind == "f"
        and np.all(np.isfinite(labels))
        and np.all(labels == np.floor(labels))
    ):
        labels = labels.astype(np.int64)
    if labels.size and (
        labels.dtype.kind not in "iub" or labels.min() < 0 or labels.max() >= 2**32
    ):
        raise Error("classes: whole numbers from 0 on are needed")
    return np.ascontiguousarray(labels, dtype=np.uint32)


def _targets(target: npt.ArrayLike, network: Network) -> Array:
    given = np.asarray(target)
    if given.ndim == 2:
        return _matrix(target, network.dtype, "target")
    labels = _labels(given)
    if labels.size and labels.max() >= network.classes:
        raise Error(
            f"classes: {labels.max()} is there, but the network has {network.classes} classes"
        )
    return np.eye(network.classes, dtype=network.dtype)[labels]


def _shows(progress: bool | None) -> bool:
    return sys.stderr.isatty() if progress is None else progress


class _Progress:
    """One line on the error stream."""

    def __init__(self, epochs: int, stream: TextIO) -> None:
        self._epochs, self._done, self._stream, self._last = epochs, 0, stream, ""

    def __call__(self, learned: int, samples: int) -> None:
        filled = int(24 * learned / max(samples, 1))
        bar = "█" * filled + "·" * (24 - filled)
        self._stream.write(f"\repoch {self._done + 1}/{self._epochs} {bar} {self._last}\x1b[K")
        self._stream.flush()

    def epoch(self, result: Mapping[str, Any]) -> None:
        self._done += 1
        self._last = f"loss {result['loss']:.4g}, accuracy {result['accuracy']:.2%}"

    def close(self) -> None:
        self._stream.write("\r\x1b[K")
        self._stream.flush()
