"""GAIT-prop and other learning rules as a classifier of scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import check_is_fitted, validate_data

from gaitprop._errors import Error
from gaitprop._training import Network, TrainConfig, Trainer

__all__ = ["GaitPropClassifier"]

Array = npt.NDArray[Any]


class GaitPropClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classifier trained by GAIT-prop, backpropagation, or another rule.

    Parameters are named as in `sklearn.neural_network.MLPClassifier` where it has them. Two names
    have another meaning: ``solver`` is the way through inverses (``optimizer`` is the optimizer),
    and ``alpha`` draws weights towards orthogonal ones, not towards 0.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default=(64,)
        Widths of the layers below the last one, which is as wide as the layer below it; none: one
        layer alone. Each layer but the first is a square matrix that reads the first units of the
        layer below, so that widths must not grow; see ``dense``.
    rule : str, default="gait"
        Learning rule, one of `gaitprop.RULES`.
    loss : {"cross-entropy", "squared"}, default="cross-entropy"
        Loss. `predict_proba` needs cross-entropy.
    activation : str, default="leaky-relu"
        Activation of all layers; with cross-entropy the last one is linear.
    learning_rate_init : float, default=0.001
        Learning rate.
    alpha : float, default=0.1
        Strength of the regularizer that draws weights towards orthogonal ones (λ of the paper), for
        every rule; the published value for backpropagation is 0.
    ortho_form : {"published", "identity"}, default="published"
        Form of the regularizer: the part of W Wᵀ off its diagonal, or W Wᵀ − I.
    ortho_layers : {"all", "above-first"}, default="all"
        Layers of the regularizer, and of ``hold="block"`` and ``hold="retract"``.
    weight_decay : float, default=None
        Each step multiplies weights by 1 - ``weight_decay`` after the optimizer. By default the
        rule's own: 0, but for ``"kp"``.
    gamma : float, default=0.001
        Size of the perturbation in one layer, for ``"gait"`` and ``"itp"``.
    solver : str, default="auto"
        Way through the inverse of the weights, one of `gaitprop.SOLVERS`.
    damping : float, default=0.001
        Damping of ``solver="damped"``.
    inverse_rate : float or None, default=None
        Learning rate of ``solver="learned"``; None for that of the weights.
    decorrelation_rate : float or None, default=None
        Learning rate of the decorrelation of every layer's input; None for no decorrelation.
    decorrelation_share : float, default=0.1
        Share of each batch that decorrelations learn from.
    optimizer : str, default="published-adam"
        ``"published-adam"``, ``"adam"``, ``"sgd"`` or ``"momentum"``.
    beta_1, beta_2, epsilon : float or None, default=None
        Constants of Adam; ``beta_1`` is also the factor of momentum. None is the optimizer's
        default.
    hold : {"none", "block", "retract", "cayley"}, default="none"
        Another method that keeps weights near orthogonal.
    init : {"orthogonal", "xavier"}, default="orthogonal"
        Distribution of the first weights.
    dense : bool, default=False
        Whether every layer reads all units of the layer below. Layers then have any width, and the
        last has one unit for each class. Rules ``"gait"``, ``"itp"`` and ``"tp"`` need
        ``solver="damped"`` or ``"learned"``.
    batch_size : int, default=60
        Samples in a step.
    max_iter : int, default=100
        Number of epochs.
    shuffle : bool, default=True
        Whether every epoch draws a new order.
    early_stopping : bool, default=False
        Whether to hold out samples and stop when their loss no longer falls.
    validation_fraction : float, default=0.1
        Share of samples that are held out for early stopping.
    n_iter_no_change : int, default=10
        Epochs without a smaller loss after which training stops early.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights of the last `fit`.
    random_state : int, RandomState instance or None, default=None
        Decides the first weights and the order of samples. The same int gives the same bits on
        every machine.
    n_threads : int, default=1
        Number of threads. It changes no bit.
    verbose : bool, default=False
        Whether to show a progress bar.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes.
    coefs_ : list of ndarray
        Weights of each layer. A decorrelation R of its input is multiplied in: ``R W``.
    intercepts_ : list of ndarray
        Biases of each layer.
    loss_curve_ : list of float
        Mean loss of each epoch.
    n_iter_ : int
        Number of epochs.
    n_features_in_ : int
        Number of features.

    Examples
    --------
    >>> from gaitprop.sklearn import GaitPropClassifier
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import MinMaxScaler
    >>> X, y = load_digits(return_X_y=True)
    >>> model = make_pipeline(MinMaxScaler(), GaitPropClassifier(max_iter=20, random_state=1))
    >>> model.fit(X[:1000], y[:1000]).score(X[1000:], y[1000:]) > 0.9
    True
    """

    classes_: Array
    _network: Network
    _seed: int

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (64,),
        rule: str = "gait",
        *,
        loss: str = "cross-entropy",
        activation: str = "leaky-relu",
        learning_rate_init: float = 1e-3,
        alpha: float = 0.1,
        ortho_form: str = "published",
        ortho_layers: str = "all",
        weight_decay: float | None = None,
        gamma: float = 1e-3,
        solver: str = "auto",
        damping: float = 1e-3,
        inverse_rate: float | None = None,
        decorrelation_rate: float | None = None,
        decorrelation_share: float = 0.1,
        optimizer: str = "published-adam",
        beta_1: float | None = None,
        beta_2: float | None = None,
        epsilon: float | None = None,
        hold: str = "none",
        init: str = "orthogonal",
        dense: bool = False,
        batch_size: int = 60,
        max_iter: int = 100,
        shuffle: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        random_state: Any = None,
        n_threads: int = 1,
        verbose: bool = False,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.rule = rule
        self.loss = loss
        self.activation = activation
        self.learning_rate_init = learning_rate_init
        self.alpha = alpha
        self.ortho_form = ortho_form
        self.ortho_layers = ortho_layers
        self.weight_decay = weight_decay
        self.gamma = gamma
        self.solver = solver
        self.damping = damping
        self.inverse_rate = inverse_rate
        self.decorrelation_rate = decorrelation_rate
        self.decorrelation_share = decorrelation_share
        self.optimizer = optimizer
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.hold = hold
        self.init = init
        self.dense = dense
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.random_state = random_state
        self.n_threads = n_threads
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> GaitPropClassifier:
        """Train on all samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples. float32 arrays are trained in float32, all others in float64.
        y : array-like of shape (n_samples,)
            Classes.

        Returns
        -------
        GaitPropClassifier
            This classifier.

        Raises
        ------
        ValueError
            If the data or a parameter does not fit.
        gaitprop.SingularMatrixError
            If weights that need an inverse have none.
        """
        self._check_parameters()
        X, y = self._checked(X, y, reset=True)
        classes = unique_labels(y)
        if len(classes) < 2:
            raise ValueError(f"the samples have only one class, {classes[0]!r}: two are needed")
        again = self.warm_start and hasattr(self, "_network")
        if again and not np.array_equal(classes, self.classes_):
            raise ValueError(f"warm_start: the classes are {classes}, but were {self.classes_}")
        # The next `partial_fit` starts from this training, with moments of 0.
        self.__dict__.pop("_going_on", None)
        self.classes_ = classes
        if not again:
            self._start(X)
        labels = np.searchsorted(classes, y)
        validation = None
        if self.early_stopping:
            X, held, labels, held_labels = train_test_split(
                X,
                labels,
                test_size=self.validation_fraction,
                stratify=labels,
                random_state=self._seed,
            )
            validation = (held, held_labels)
        trainer = self._trainer(max(min(self.batch_size, len(X)), 1))
        history = trainer.fit(
            X,
            labels,
            epochs=self.max_iter,
            validation=validation,
            patience=self.n_iter_no_change if self.early_stopping else None,
            progress=bool(self.verbose),
        )
        self.loss_curve_ = [epoch["loss"] for epoch in history]
        self.n_iter_ = len(history)
        self._finish(trainer)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> GaitPropClassifier:
        """Train on these samples once.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        y : array-like of shape (n_samples,)
            Classes.
        classes : array-like, optional
            All classes that there will be. The first call needs it, if ``y`` lacks some.

        Returns
        -------
        GaitPropClassifier
            This classifier.
        """
        self._check_parameters()
        first = not hasattr(self, "_network")
        X, y = self._checked(X, y, reset=first)
        if first:
            self.classes_ = unique_labels(y if classes is None else classes)
            self._start(X)
            self.n_iter_, self.loss_curve_ = 0, []
        elif classes is not None and not np.array_equal(unique_labels(classes), self.classes_):
            raise ValueError(f"classes are {classes}, but were {self.classes_} in the first call")
        labels = np.searchsorted(self.classes_, y)
        known = labels < len(self.classes_)
        if not np.all(known) or np.any(self.classes_[labels] != y):
            raise ValueError("y has a class that the first call of partial_fit did not name")
        trainer = getattr(self, "_going_on", None) or self._trainer(self.batch_size)
        X = X.astype(self._network.dtype, copy=False)
        self.loss_curve_.append(trainer.fit(X, labels, progress=bool(self.verbose))[0]["loss"])
        self.n_iter_ += 1
        self._finish(trainer)
        self._going_on = trainer
        return self

    def decision_function(self, X: Any) -> Array:
        """Return the outputs of the classes' units.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or (n_samples,) for two classes
            Outputs, or the second class's minus the first's.
        """
        outputs = self._outputs(X)
        return outputs[:, 1] - outputs[:, 0] if len(self.classes_) == 2 else outputs

    def predict(self, X: Any) -> Array:
        """Return the class of each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,)
            Classes.
        """
        outputs = self._outputs(X)
        return self.classes_[np.argmax(outputs, axis=1)]  # type: ignore[no-any-return]

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Softmax of the outputs.

        Raises
        ------
        gaitprop.Error
            With ``loss="squared"``, whose outputs are no logarithms of probabilities.
        """
        if self.loss != "cross-entropy":
            raise Error('predict_proba needs loss="cross-entropy"')
        outputs = self._outputs(X)
        powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of `predict_proba`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Logarithms of probabilities.
        """
        return np.log(self.predict_proba(X))

    def _check_parameters(self) -> None:
        """Check what no `TrainConfig` checks."""
        for name in ("batch_size", "max_iter", "n_iter_no_change", "n_threads"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < 1:
                raise ValueError(f"{name} is {value!r}, but must be a whole number from 1 on")
        if not 0 < self.validation_fraction < 1:
            raise ValueError(f"validation_fraction is {self.validation_fraction!r}: use 0 to 1")

    def _checked(self, X: Any, y: Any, *, reset: bool) -> tuple[Array, Array]:
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], reset=reset)
        check_classification_targets(y)
        return X, y

    def _start(self, X: Array) -> None:
        """Draw a network for these samples."""
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        sizes = [int(size) for size in np.ravel(self.hidden_layer_sizes)]
        classes = len(self.classes_)
        if sizes and sizes[-1] < classes and not self.dense:
            raise ValueError(
                f"hidden_layer_sizes ends with {sizes[-1]}, but there are {classes} classes"
            )
        # Unless layers are dense, the last one is square, too. Its units beyond the classes carry
        # what the inverse needs.
        last = sizes[-1] if sizes and not self.dense else classes
        self._network = Network(
            X.shape[1],
            [*sizes, last],
            classes,
            activation=self.activation,
            loss=self.loss,
            init=self.init,
            seed=self._seed,
            dtype=X.dtype,
            dense=bool(self.dense),
        )

    def _trainer(self, batch: int) -> Trainer:
        decay = self.weight_decay
        config = TrainConfig.published(
            self.rule,
            gamma=float(self.gamma),
            solver=self.solver,
            damping=float(self.damping),
            inverse_rate=self.inverse_rate,
            decorrelation_rate=self.decorrelation_rate,
            decorrelation_share=float(self.decorrelation_share),
            loss=self.loss,
            regularization=float(self.alpha),
            ortho_form=self.ortho_form,
            ortho_layers=self.ortho_layers,
            hold=self.hold,
            optimizer=self.optimizer,
            learning_rate=float(self.learning_rate_init),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            **({} if decay is None else {"weight_decay": float(decay)}),
            init=self.init,
            batch=int(batch),
            shuffle=bool(self.shuffle),
        )
        return Trainer(self._network, config, seed=self._seed, threads=int(self.n_threads))

    def _finish(self, trainer: Trainer) -> None:
        self._network = trainer.network
        self.coefs_ = self._network._folded()
        self.intercepts_ = [b.copy() for b in self._network.biases]

    def _outputs(self, X: Any) -> Array:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        X = X.astype(self._network.dtype, copy=False)
        return self._network.outputs(X, threads=int(self.n_threads))

    def __getstate__(self) -> dict[str, Any]:
        """Leave the trainer of `partial_fit` out: its moments start anew after a pickle."""
        state = dict(super().__getstate__())
        state.pop("_going_on", None)
        return state

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether there is a network."""
        return hasattr(self, "coefs_")
