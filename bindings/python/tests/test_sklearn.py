"""The classifier of scikit-learn."""

from __future__ import annotations

import os
import pickle
import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.6")

import joblib
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import gaitprop
from gaitprop import Network, TrainConfig, Trainer
from gaitprop.sklearn import GaitPropClassifier

X, Y = load_digits(return_X_y=True)
X = X / 16


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [
        GaitPropClassifier(max_iter=30),
        GaitPropClassifier(rule="bp", max_iter=30),
        # Its samples are of size 100: decorrelations diverge at larger rates.
        GaitPropClassifier(solver="damped", dense=True, decorrelation_rate=1e-6, max_iter=30),
    ]
)
def test_the_contract_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("rule", gaitprop.RULES)
def test_every_rule_learns_the_digits(rule: str) -> None:
    model = GaitPropClassifier(rule=rule, max_iter=30, random_state=1)
    assert model.fit(X[:1200], Y[:1200]).score(X[1200:], Y[1200:]) > 0.85


def test_probabilities_are_the_softmax_of_the_outputs() -> None:
    model = GaitPropClassifier(max_iter=5, random_state=1).fit(X, Y)
    p = model.predict_proba(X)
    assert np.allclose(p.sum(axis=1), 1)
    assert np.array_equal(model.classes_[p.argmax(axis=1)], model.predict(X))
    assert np.allclose(np.log(p), model.predict_log_proba(X))
    squared = GaitPropClassifier(loss="squared", max_iter=5, random_state=1).fit(X, Y)
    with pytest.raises(gaitprop.Error, match="cross-entropy"):
        squared.predict_proba(X)
    assert squared.score(X, Y) > 0.8


def test_it_is_the_trainer() -> None:
    """The same bits as `Trainer` with the same settings."""
    model = GaitPropClassifier(max_iter=3, random_state=5).fit(X, Y)
    seed = int(np.random.RandomState(5).randint(2**31 - 1))
    network = Network(64, [64, 64], 10, loss="cross-entropy", seed=seed, dtype=np.float64)
    config = TrainConfig(loss="cross-entropy", learning_rate=1e-3, shuffle=True)
    trainer = Trainer(network, config, seed=seed)
    trainer.fit(X, Y, epochs=3)
    for own, other in zip(model.coefs_, trainer.network.weights, strict=True):
        assert np.array_equal(own, other)


def test_settings_arrive_in_the_trainer() -> None:
    """Each in its own place: the weights are those of `Trainer` with the same settings."""
    settings: Any = {"solver": "damped", "damping": 0.01, "decorrelation_rate": 1e-3}
    settings |= {"decorrelation_share": 0.5, "ortho_form": "identity"}
    settings["ortho_layers"] = "above-first"
    model = GaitPropClassifier((32, 48), dense=True, max_iter=3, random_state=5, **settings)
    model.fit(X, Y)
    seed = int(np.random.RandomState(5).randint(2**31 - 1))
    network = Network(
        64, [32, 48, 10], 10, loss="cross-entropy", seed=seed, dtype=np.float64, dense=True
    )
    config = TrainConfig(loss="cross-entropy", learning_rate=1e-3, shuffle=True, **settings)
    trainer = Trainer(network, config, seed=seed)
    trainer.fit(X, Y, epochs=3)
    assert np.array_equal(model.decision_function(X), trainer.network.outputs(X))
    # The coefficients compute them, too.
    y = X
    for layer, (w, b) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        h = y @ w + b
        y = np.where((h < 0) & (layer < 2), 0.1 * h, h)
    assert np.abs(y - model.decision_function(X)).max() < 1e-12
    assert not np.allclose(model.coefs_[0], trainer.network.weights[0])
    learned = GaitPropClassifier(max_iter=1, solver="learned", random_state=5)
    other = GaitPropClassifier(max_iter=1, solver="learned", inverse_rate=0.1, random_state=5)
    assert learned.fit(X, Y).loss_curve_ != other.fit(X, Y).loss_curve_


def test_dense_layers_learn_and_go_on() -> None:
    model = GaitPropClassifier((48, 20), rule="bp", dense=True, max_iter=20, random_state=1)
    assert model.fit(X[:1200], Y[:1200]).score(X[1200:], Y[1200:]) > 0.85
    assert [w.shape for w in model.coefs_] == [(64, 48), (48, 20), (20, 10)]
    # Decorrelations go on, too, after a pickle.
    going = GaitPropClassifier(decorrelation_rate=1e-3, random_state=1).partial_fit(X, Y)
    going = pickle.loads(pickle.dumps(going))
    before = going.coefs_[0].copy()
    assert not np.array_equal(going.partial_fit(X, Y).coefs_[0], before)
    with pytest.raises(ValueError, match="only square weights have one"):
        GaitPropClassifier((48, 20), dense=True).fit(X, Y)


def test_threads_and_repetitions_give_the_same_bits() -> None:
    a, b = (GaitPropClassifier(max_iter=3, random_state=1, n_threads=n).fit(X, Y) for n in (1, 2))
    assert np.array_equal(a.coefs_[0], b.coefs_[0])
    c = GaitPropClassifier(max_iter=3, random_state=2).fit(X, Y)
    assert not np.array_equal(a.coefs_[0], c.coefs_[0])


def test_float32_stays_float32() -> None:
    model = GaitPropClassifier(max_iter=3, random_state=1).fit(X.astype(np.float32), Y)
    assert model.coefs_[0].dtype == np.float32
    assert GaitPropClassifier(max_iter=3).fit(X, Y).coefs_[0].dtype == np.float64


def test_partial_fit_goes_on_and_names_unknown_classes() -> None:
    model = GaitPropClassifier(random_state=1)
    model.partial_fit(X[:300], Y[:300], classes=np.arange(10))
    first = model.score(X, Y)
    for _ in range(15):
        for part in range(0, 1500, 300):
            model.partial_fit(X[part : part + 300], Y[part : part + 300])
    assert model.score(X, Y) > max(first, 0.9)
    with pytest.raises(ValueError, match="did not name"):
        model.partial_fit(X[:3], [0, 1, 10])
    with pytest.raises(ValueError, match="first call"):
        model.partial_fit(X[:3], Y[:3], classes=[0, 1, 2])


def test_warm_start_goes_on() -> None:
    cold = GaitPropClassifier(max_iter=2, random_state=1)
    first = cold.fit(X, Y).loss_curve_
    assert cold.fit(X, Y).loss_curve_ == first
    warm = GaitPropClassifier(max_iter=2, random_state=1, warm_start=True)
    assert warm.fit(X, Y).loss_curve_ == first
    assert warm.fit(X, Y).loss_curve_[0] < first[-1]
    with pytest.raises(ValueError, match="warm_start"):
        warm.fit(X[Y < 5], Y[Y < 5])
    # `partial_fit` goes on from the weights of `fit`, not from its own last ones.
    warm.partial_fit(X, Y)
    again = warm.fit(X, Y).loss_curve_[-1]
    assert warm.partial_fit(X, Y).loss_curve_[-1] < again


def test_early_stopping_stops() -> None:
    model = GaitPropClassifier(
        max_iter=500,
        early_stopping=True,
        n_iter_no_change=2,
        learning_rate_init=0.01,
        random_state=1,
    )
    assert model.fit(X, Y).n_iter_ < 500


def test_pickles_predict_the_same() -> None:
    model = GaitPropClassifier(max_iter=2, random_state=1).fit(X, Y)
    other = pickle.loads(pickle.dumps(model))
    assert np.array_equal(model.decision_function(X), other.decision_function(X))
    going = GaitPropClassifier(random_state=1).partial_fit(X, Y)
    assert np.array_equal(pickle.loads(pickle.dumps(going)).predict(X), going.predict(X))


def scores(**options: Any) -> Any:
    """Scores of a grid over rules."""
    model = make_pipeline(MinMaxScaler(), GaitPropClassifier(max_iter=5, random_state=1))
    grid = {"gaitpropclassifier__rule": ["gait", "bp"]}
    fitted = GridSearchCV(model, grid, cv=3, **options).fit(X[:600], Y[:600])
    return fitted.cv_results_["mean_test_score"]


def test_a_grid_in_two_processes() -> None:
    assert np.array_equal(scores(n_jobs=2), scores())


def test_a_grid_on_dask() -> None:
    distributed = pytest.importorskip("distributed")
    workers = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    with workers as cluster, distributed.Client(cluster) as client:
        before = client.run(os.getpid)
        with joblib.parallel_config(backend="dask"):
            there = scores()
        assert len(set(before.values()) - {os.getpid()}) == 2
        # Both workers had a part of it.
        assert all(client.run(lambda: "gaitprop._native" in sys.modules).values())
    assert np.array_equal(there, scores())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"rule": "foo"}, "unknown rule"),
        ({"max_iter": 0}, "max_iter"),
        ({"batch_size": 2.5}, "batch_size"),
        ({"learning_rate_init": -1.0}, "learning rate"),
        ({"hidden_layer_sizes": (5,)}, "classes"),
        ({"hidden_layer_sizes": (20, 30)}, "fan-in"),
        ({"inverse_rate": 0.1}, "learns no inverses"),
        ({"decorrelation_rate": -1.0}, "decorrelation's rate"),
        ({"validation_fraction": 1.5}, "validation_fraction"),
    ],
)
def test_parameters_out_of_range_are_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        GaitPropClassifier(**change).fit(X, Y)
