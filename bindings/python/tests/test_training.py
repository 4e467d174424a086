"""Networks, trainers, updates."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gaitprop
from gaitprop import Data, Network, TrainConfig, Trainer, _native, align, load_data, updates

FAST: dict[str, Any] = {"learning_rate": 1e-3}


@pytest.fixture(scope="module")
def digits() -> Data:
    return load_data("digits")


def small(seed: int = 1, dtype: Any = np.float32) -> Network:
    return Network(64, [64, 64], 10, seed=seed, dtype=dtype)


def same(a: Network, b: Network) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


def program(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gaitprop", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_names_are_those_of_the_library() -> None:
    refused = program("train", "--rule", "none")
    known = refused.stderr.split("[possible values: ")[1].split("]")[0]
    assert tuple(known.split(", ")) == gaitprop.RULES
    for rule in gaitprop.RULES:
        assert TrainConfig.published(rule).rule == rule
    assert TrainConfig() == TrainConfig.published("gait")


def test_presets_are_those_of_the_library() -> None:
    assert gaitprop.PRESETS == {"paper": 100, "paper-2020": 100, "follow-up": 200}
    assert TrainConfig.preset("paper", "tp") == TrainConfig.published("tp")
    old = TrainConfig.preset("paper-2020", "gait", batch=30)
    assert (old.init, old.batch) == ("xavier", 30)
    new = TrainConfig.preset("follow-up", "gait")
    assert (new.ortho_form, new.ortho_layers, new.optimizer) == ("identity", "above-first", "adam")
    # The published values are those of a loss that is summed over the batch of 256.
    assert new.epsilon is not None
    assert (256 * new.regularization, 256 * new.epsilon, new.beta2) == (100.0, 1e-6, 0.999)
    with pytest.raises(gaitprop.Error, match="unknown preset `papers`: use paper, paper-2020"):
        TrainConfig.preset("papers", "gait")


def test_constants_of_the_optimizer_are_those_of_the_program(digits: Data, tmp_path: Path) -> None:
    flags = "train --epochs 2 --optimizer adam --lr 0.001 --beta1 0.8 --beta2 0.9 --epsilon 1e-4"
    rest = "--layers 64,64 --seed 7 --threads 1 --ortho-layers above-first --quiet"
    done = program(*flags.split(), *rest.split(), "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    constants: Any = {"beta1": 0.8, "beta2": 0.9, "epsilon": 1e-4}
    config = TrainConfig(optimizer="adam", ortho_layers="above-first", **constants, **FAST)
    trainer = Trainer(small(7), config, seed=7)
    trainer.fit(*digits.train, epochs=2)
    assert same(Network.load(tmp_path / "run" / "weights.safetensors"), trainer.network)
    with pytest.raises(gaitprop.Error, match="the optimizer sgd has no beta1"):
        Trainer(small(), TrainConfig(optimizer="sgd", beta1=0.9))


def test_rules_that_learn_resume_with_the_same_bits(digits: Data, tmp_path: Path) -> None:
    """Of the program, too, whose defaults are those of `TrainConfig.published`."""
    assert TrainConfig.published("kp").weight_decay > 0.0 == TrainConfig().weight_decay
    for rule in ("kp", "brsf"):
        flags = f"train --rule {rule} --epochs 2 --lr 0.001 --layers 64,64 --seed 7 --threads 1"
        done = program(*flags.split(), "--quiet", "--out", tmp_path / rule)
        assert done.returncode == 0, done.stderr
        trainer = Trainer(small(7), TrainConfig.published(rule, **FAST), seed=7)
        trainer.fit(*digits.train)
        trainer.save(tmp_path / "checkpoint")
        trainer = Trainer.load(tmp_path / "checkpoint")
        trainer.fit(*digits.train)
        assert same(Network.load(tmp_path / rule / "weights.safetensors"), trainer.network)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_run_has_the_bits_of_the_program(digits: Data, tmp_path: Path, threads: int) -> None:
    flags = "train --rule gait --epochs 3 --lr 0.001 --layers 64,64 --seed 7 --threads 1 --quiet"
    done = program(*flags.split(), "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    trainer = Trainer(small(7), TrainConfig(**FAST), seed=7, threads=threads)
    trainer.fit(*digits.train, epochs=3)
    assert same(Network.load(tmp_path / "run" / "weights.safetensors"), trainer.network)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_digits_are_learned(dtype: Any) -> None:
    digits = load_data("digits", dtype=dtype)
    trainer = Trainer(small(dtype=dtype), TrainConfig(**FAST))
    history = trainer.fit(*digits.train, epochs=8, validation=digits.test)
    assert [h["epoch"] for h in history] == list(range(1, 9))
    assert history[-1]["validation_accuracy"] > 0.9
    assert history[-1]["loss"] < history[0]["loss"]
    assert np.mean(trainer.predict(digits.test[0]) == digits.test[1]) > 0.9
    assert trainer.steps == sum(h["steps"] for h in history)
    assert max(trainer.orthogonality()) < 1


def test_a_checkpoint_goes_on_with_the_same_bits(digits: Data, tmp_path: Path) -> None:
    file = tmp_path / "state.safetensors"
    trainer = Trainer(small(), TrainConfig(shuffle=True, **FAST), seed=3)
    trainer.fit(*digits.train, epochs=2)
    trainer.save(file)
    restored = Trainer.load(file)
    assert restored.epochs == 2
    assert restored.config == trainer.config
    trainer.fit(*digits.train, epochs=2)
    restored.fit(*digits.train, epochs=2)
    assert same(trainer.network, restored.network)
    notes = json.loads(_native.checkpoint_notes(str(file)))
    for damaged in (-1, "two", 2.5, None, 1 << 99):
        notes["epochs"] = damaged
        trainer._native.save(str(file), json.dumps(notes))
        with pytest.raises(gaitprop.Error, match="not a checkpoint of this package"):
            Trainer.load(file)
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(gaitprop.Error):
        Trainer.load(file)
    with pytest.raises(FileNotFoundError):
        Trainer.load(tmp_path / "none")


def test_early_stopping_returns_to_the_best_network(digits: Data) -> None:
    trainer = Trainer(small(), TrainConfig(learning_rate=0.02))
    seen: list[tuple[float, Network]] = []

    def watch(trainer: Trainer, result: gaitprop.EpochResult) -> None:
        seen.append((result["validation_loss"], trainer.network))

    history = trainer.fit(
        *digits.train, epochs=40, validation=digits.test, patience=2, callback=watch
    )
    losses = [h["validation_loss"] for h in history]
    assert len(history) == int(np.argmin(losses)) + 3
    assert same(trainer.network, min(seen, key=lambda pair: pair[0])[1])


def test_a_callback_ends_the_training(digits: Data) -> None:
    history = Trainer(small()).fit(
        *digits.train, epochs=9, callback=lambda trainer, _: trainer.epochs == 2
    )
    assert len(history) == 2


def test_weights_are_views_that_outlive_their_network() -> None:
    network = small()
    views = network.weights
    assert np.shares_memory(views[0], network.weights[0])
    kept = views[0].copy()
    with pytest.raises(ValueError, match="read-only"):
        views[0][0, 0] = 1
    del network
    assert np.array_equal(views[0], kept)


def test_networks_come_back_from_files_and_pickles(tmp_path: Path) -> None:
    for network in (
        small(),
        small(dtype=np.float64),
        Network(70, [64, 32], 10, tower=True, activation="tanh"),
        Network(8, [6, 6], 3, loss="cross-entropy", activation="leaky-relu:0.3"),
        Network(8, [6, 7, 3], 3, dense=True),
        decorrelated(np.float32),
    ):
        file = tmp_path / "weights.safetensors"
        network.save(file, center=0.5, scale=np.full(network.inputs, 2.0))
        for other in (Network.load(file), pickle.loads(pickle.dumps(network))):
            assert same(other, network)
            assert other.dtype == network.dtype
            assert repr(other) == repr(network)
            assert other.activations == network.activations
    assert os.listdir(tmp_path) == ["weights.safetensors"]


def decorrelated(dtype: Any) -> Network:
    """Return a network whose decorrelations have learned."""
    x = np.random.default_rng(3).standard_normal((60, 9)).astype(dtype)
    config = TrainConfig.published("bp", decorrelation_rate=0.05, decorrelation_share=1.0)
    trainer = Trainer(Network(9, [8, 6, 6], 4, tower=True, dtype=dtype), config)
    trainer.fit(x, np.arange(60) % 4, epochs=5)
    return trainer.network


def test_decorrelations_belong_to_the_network(tmp_path: Path) -> None:
    net = decorrelated(np.float64)
    assert [r.shape for r in net.decorrelation] == [(8, 8), (6, 6), (6, 6)]
    assert np.abs(net.decorrelation[0] - np.eye(8)).max() > 0.01
    assert list(net.state_dict()) == [f"{kind}{n}" for n in range(3) for kind in "Wb"] + [
        f"R{n}" for n in range(3)
    ]
    folded = [r @ w for r, w in zip(net.decorrelation, net.weights, strict=True)]
    plain = Network.from_arrays(
        folded, net.biases, classes=4, inputs=9, activations=net.activations
    )
    assert plain.decorrelation == []
    x = np.random.default_rng(4).standard_normal((5, 9))
    assert np.abs(plain.outputs(x) - net.outputs(x)).max() < 1e-14
    # A checkpoint has them, too, whether they go on learning or stay.
    for rate in (None, 1e-3):
        trainer = Trainer(net, TrainConfig.published("bp", decorrelation_rate=rate))
        trainer.save(tmp_path / "checkpoint")
        assert same(Trainer.load(tmp_path / "checkpoint").network, net)
    trainer = Trainer(net, TrainConfig.published("bp"))
    with pytest.raises(gaitprop.Error, match="another shape"):
        trainer.network = small(dtype=np.float64)
    with pytest.raises(gaitprop.Error, match="no decorrelations, but the trainer's has"):
        trainer.network = plain
    with pytest.raises(gaitprop.Error, match="has decorrelations, but the trainer's has none"):
        Trainer(plain, TrainConfig.published("bp")).network = net
    with pytest.raises(gaitprop.Error, match="decorrelation is 8x8, but must be 6x6"):
        Network.from_arrays(net.weights[1:], decorrelation=net.decorrelation[:2])


@pytest.mark.parametrize("solver", ["damped", "learned"])
def test_targets_go_through_layers_of_any_shape(solver: str) -> None:
    data = load_data("digits", limit_train=600)
    net = Network(64, [48, 20], 10, dense=True)
    rate: Any = {"inverse_rate": 1e-2} if solver == "learned" else {}
    config = TrainConfig.published("gait", solver=solver, learning_rate=1e-3, **rate)
    trainer = Trainer(net, config)
    trainer.fit(*data.train, epochs=25)
    assert trainer.evaluate(*data.test)[1] > 0.8
    with pytest.raises(gaitprop.Error, match="only square weights have one"):
        Trainer(net, TrainConfig.published("gait"))
    with pytest.raises(gaitprop.Error, match="contradict"):
        Network(64, [20], 10, dense=True, tower=True)
    with pytest.raises(gaitprop.Error, match="nothing to learn from"):
        updates(
            net,
            data.train[0][:6],
            np.eye(10, dtype=np.float32)[data.train[1][:6]],
            TrainConfig(solver="learned"),
        )


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        small().save(tmp_path / "none" / "weights.safetensors")
    with pytest.raises(FileNotFoundError):
        Network.load(tmp_path / "none")


def test_layouts_and_lists_give_the_same_bits(digits: Data) -> None:
    x, y = digits.train[0][:120], digits.train[1][:120]
    want = Trainer(small())
    want.fit(x, y)
    wide = np.zeros((120, 130), np.float32)
    wide[:, 1:129:2] = x
    shifted = np.empty(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    shifted[...] = x
    assert not shifted.flags.aligned
    for variant in (
        np.asfortranarray(x),
        wide[:, 1:129:2],
        x[::-1].copy()[::-1],
        shifted,
        x.tolist(),
    ):
        trainer = Trainer(small())
        trainer.fit(variant, y.astype(np.int64))
        assert same(trainer.network, want.network)


def test_updates_of_gait_are_those_of_backpropagation_for_orthogonal_weights() -> None:
    digits = load_data("digits", dtype=np.float64)
    x, y = digits.train[0][:60], digits.train[1][:60]
    network = Network(64, [64, 64, 64], 10, dtype=np.float64)
    exact = TrainConfig(regularization=0.0, tolerance=1e-12, gamma=0.0)
    gait, bp = updates(network, x, y, exact), updates(network, x, y, TrainConfig.published("bp"))
    for a, b in zip(gait.weights + gait.biases, bp.weights + bp.biases, strict=True):
        assert np.linalg.norm(a - b) < 1e-9 * np.linalg.norm(b)
    for layer in align(network, x, y, exact):
        assert layer.cosine > 1 - 1e-12
        assert layer.difference < 1e-9
    # With other weights they differ: the comparison can fail.
    other = Network(64, [64, 64, 64], 10, dtype=np.float64, init="xavier")
    assert align(other, x, y, exact)[0].cosine < 0.99
    # Classes and their rows of zeros and a one are the same targets.
    assert np.array_equal(updates(network, x, np.eye(10)[y], exact).weights[0], gait.weights[0])


def test_gauss_newton_is_itp_where_every_unit_has_a_label() -> None:
    x, y = np.random.default_rng(1).random((6, 5)), [0, 1, 2, 3, 4, 0]
    network = Network(5, [5, 5, 5], 5, dtype=np.float64, init="xavier")
    itp = TrainConfig(rule="itp", gamma=0.0, regularization=0.0, solver="lu")
    for layer in align(network, x, y, itp, reference="gauss-newton"):
        assert layer.difference < 1e-4
    bp = TrainConfig.published("bp")
    assert align(network, x, y, bp, reference="gauss-newton")[0].cosine < 0.99
    damped = align(network, x, y, bp, reference="gauss-newton", damping=1e9)
    assert damped[0].cosine > 1 - 1e-9
    assert damped[0].ratio > 1e6
    with pytest.raises(gaitprop.Error, match="damping is -1, but must be at least 0"):
        align(network, x, y, bp, reference="gauss-newton", damping=-1.0)
    with pytest.raises(gaitprop.Error, match="unknown reference `newton`: use bp"):
        align(network, x, y, bp, reference="newton")  # type: ignore[arg-type]
    # Two classes of equal weights cannot be told apart.
    twins = np.eye(5)
    twins[:, 1] = twins[:, 0]
    network = Network.from_arrays([np.eye(5), twins])
    with pytest.raises(gaitprop.SingularMatrixError, match="use more damping"):
        align(network, x, y, bp, reference="gauss-newton")


def test_a_rule_in_python_can_be_backpropagation(digits: Data) -> None:
    seen: list[dict[str, Any]] = []

    def backpropagation(layer: dict[str, Any], delta: np.ndarray) -> Any:
        seen.append(layer)
        return delta @ layer["w"].T

    x, y = digits.train[0][:60], digits.train[1][:60]
    config = TrainConfig.published("bp", **FAST)
    own = updates(small(), x, y, config, rule=backpropagation)
    bp = updates(small(), x, y, config)
    for a, b in zip(own.weights, bp.weights, strict=True):
        assert np.linalg.norm(a - b) < 1e-5 * np.linalg.norm(b)
    (layer,) = seen
    assert (layer["index"], layer["above"], layer["active"]) == (1, 0, 10)
    # A function goes through layers of any shape, whatever the settings say of inverses.
    wide = Network(64, [48, 20], 10, dense=True)
    bp = updates(wide, x, y, TrainConfig.published("bp"))
    for solver in ("auto", "lu", "learned"):
        gait = TrainConfig(target_form="absolute", solver=solver, regularization=0.0)
        own = updates(wide, x, y, gait, rule=backpropagation)
        for a, b in zip(own.weights, bp.weights, strict=True):
            assert np.linalg.norm(a - b) < 1e-5 * np.linalg.norm(b)
        Trainer(wide, gait, rule=backpropagation).fit(x, y)
    assert layer["y"].shape == layer["e"].shape == layer["input"].shape == (60, 64)
    trainer = Trainer(small(), config, rule=backpropagation)
    trainer.fit(*digits.train, epochs=6)
    assert trainer.evaluate(*digits.test)[1] > 0.85
    with pytest.raises(gaitprop.Error, match="function"):
        trainer.save("state")


def test_a_rule_in_python_sends_errors_through_decorrelations() -> None:
    """Errors of the activity below, before R: the result is backpropagation's."""
    net = decorrelated(np.float64)
    seen: list[Any] = []

    def backpropagation(layer: dict[str, Any], delta: np.ndarray) -> Any:
        seen.append(layer["decorrelation"])
        error = delta @ layer["w"].T
        return error if seen[-1] is None else error @ seen[-1].T

    x, y = np.random.default_rng(5).standard_normal((6, 9)), [0, 1, 2, 3, 0, 1]
    config = TrainConfig.published("bp")
    own, bp = updates(net, x, y, config, rule=backpropagation), updates(net, x, y, config)
    for a, b in zip(own.weights, bp.weights, strict=True):
        assert np.linalg.norm(a - b) < 1e-12 * np.linalg.norm(b)
    assert [np.array_equal(r, net.decorrelation[n]) for r, n in zip(seen, (2, 1), strict=True)] == [
        True,
        True,
    ]
    wrong = updates(net, x, y, config, rule=lambda layer, delta: delta @ layer["w"].T)
    assert np.linalg.norm(wrong.weights[0] - bp.weights[0]) > 1e-3 * np.linalg.norm(bp.weights[0])
    seen.clear()
    plain = Network.from_arrays(net.weights, classes=4, inputs=9)
    updates(plain, x, y, config, rule=backpropagation)
    assert seen == [None, None]


def test_measurements_have_the_feedback_of_step_0(digits: Data) -> None:
    """`kp` that has not learned is feedback alignment, also where its weights have been trained."""
    x, y = digits.train[0][:60], digits.train[1][:60]
    config = TrainConfig.published("kp", **FAST)
    trainer = Trainer(small(), config)
    trainer.fit(*digits.train)
    kp = updates(trainer.network, x, y, config)
    fa = updates(trainer.network, x, y, dataclasses.replace(config, rule="fa"))
    assert np.array_equal(kp.weights[0], fa.weights[0])
    for function in (updates, align):
        assert "step 0" in (function.__doc__ or "")


def test_exceptions_of_a_rule_arrive(digits: Data) -> None:
    def broken(layer: dict[str, Any], delta: np.ndarray) -> np.ndarray:
        raise LookupError("mine")

    trainer = Trainer(small(), rule=broken)
    with pytest.raises(LookupError, match="mine"):
        trainer.fit(*digits.train)
    with pytest.raises(LookupError, match="mine"):
        updates(small(), digits.train[0][:5], digits.train[1][:5], rule=broken)
    narrow = Trainer(small(), rule=lambda layer, delta: delta[:, :3].copy())
    with pytest.raises(gaitprop.Error, match="layer below needs"):
        narrow.fit(*digits.train)

    def within(layer: dict[str, Any], delta: np.ndarray) -> np.ndarray:
        return recursive.network.weights[0]

    recursive = Trainer(small(), rule=within)
    with pytest.raises(RuntimeError, match="at work"):
        recursive.fit(*digits.train)


@pytest.mark.parametrize(
    ("x", "y", "exception", "sentence"),
    [
        (np.zeros((3, 64), np.float16), [0, 1, 2], TypeError, "astype"),
        (np.zeros((3, 64), np.float64), [0, 1, 2], TypeError, "astype"),
        (np.zeros((3, 64), ">f4"), [0, 1, 2], TypeError, "astype"),
        (np.zeros((3, 64), complex), [0, 1, 2], TypeError, "astype"),
        (np.zeros((3, 64), object), [0, 1, 2], TypeError, "astype"),
        (np.zeros((3, 5), np.float32), [0, 1, 2], gaitprop.Error, "features"),
        (np.zeros(64, np.float32), [0], gaitprop.Error, "two dimensions"),
        (np.zeros((3, 64), np.float32), [0, 1], gaitprop.Error, "labels"),
        (np.zeros((3, 64), np.float32), [0, 1, 10], gaitprop.Error, "classes"),
        (np.zeros((3, 64), np.float32), [0, 1, -1], gaitprop.Error, "whole numbers"),
        (np.zeros((3, 64), np.float32), [0, 1, np.nan], gaitprop.Error, "whole numbers"),
        (np.zeros((3, 64), np.float32), [0, 1, 0.5], gaitprop.Error, "whole numbers"),
        (np.zeros((3, 64), np.float32), ["a", "b", "c"], gaitprop.Error, "whole numbers"),
        (np.zeros((3, 64), np.float32), [[0], [1], [2]], gaitprop.Error, "dimensions"),
    ],
)
def test_samples_that_do_not_fit_are_refused(
    x: Any, y: Any, exception: type[Exception], sentence: str
) -> None:
    trainer = Trainer(small())
    with pytest.raises(exception, match=sentence):
        trainer.fit(x, y)
    assert trainer.steps == 0


@pytest.mark.parametrize(
    ("change", "exception"),
    [
        ({"rule": "foo"}, gaitprop.Error),
        ({"solver": "foo"}, gaitprop.Error),
        ({"hold": "foo"}, gaitprop.Error),
        ({"batch": 0}, gaitprop.Error),
        ({"batch": -1}, TypeError),
        ({"gamma": 2.0}, gaitprop.Error),
        ({"gamma": "a"}, TypeError),
        ({"learning_rate": float("nan")}, gaitprop.Error),
        ({"regularization": -1.0}, gaitprop.Error),
        ({"weight_decay": 1.0}, gaitprop.Error),
        ({"hold": "block", "mu": 3.0}, gaitprop.Error),
        ({"hold": "cayley"}, gaitprop.Error),
        ({"inverse_rate": 1e-3}, gaitprop.Error),
        ({"inverse_rate": 1e-3, "solver": "damped"}, gaitprop.Error),
    ],
)
def test_settings_out_of_range_are_refused(
    change: dict[str, Any], exception: type[Exception]
) -> None:
    with pytest.raises(exception):
        Trainer(small(), TrainConfig(**change))


def test_layers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(gaitprop.Error, match="labels"):
        Network(4, [3], 5)
    with pytest.raises(gaitprop.Error):
        Network(4, [], 5)
    with pytest.raises(TypeError):
        Network(4, [4], 2, dtype=np.float16)
    with pytest.raises(TypeError):
        Network.from_arrays([np.eye(3, dtype=np.int64)])
    with pytest.raises(TypeError):
        Network.from_arrays([np.eye(3), np.eye(3, dtype=np.float32)])
    with pytest.raises(gaitprop.Error, match="biases"):
        Network.from_arrays([np.eye(3)], [np.zeros(2)])
    with pytest.raises(gaitprop.Error, match="labels"):
        Network.from_arrays([np.eye(3)], classes=0)


def test_singular_weights_are_named() -> None:
    weights = [np.eye(8, dtype=np.float32), np.zeros((8, 8), np.float32)]
    network = Network.from_arrays(weights, classes=2)
    trainer = Trainer(network, TrainConfig(batch=4))
    x = np.random.default_rng(1).random((8, 8), dtype=np.float32)
    with pytest.raises(np.linalg.LinAlgError, match="layer 1"):
        trainer.fit(x, [0, 1] * 4)
    assert same(trainer.network, network)


def test_a_divergence_returns_to_the_start_of_the_epoch(digits: Data) -> None:
    config = TrainConfig.published("bp", learning_rate=1e30, optimizer="sgd")
    trainer = Trainer(small(), config)
    with pytest.raises(gaitprop.DivergedError):
        trainer.fit(*digits.train)
    assert same(trainer.network, small())


def test_an_interrupt_leaves_a_trainer_that_goes_on(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as np, gaitprop\n"
        "x, y = gaitprop.load_data('digits').train\n"
        "x, y = np.tile(x, (20, 1)), np.tile(y, 20)\n"
        "t = gaitprop.Trainer(gaitprop.Network(64, [64] * 4, 10))\n"
        "try:\n"
        "    print('started', flush=True)\n"
        "    t.fit(x, y, epochs=100000)\n"
        "except KeyboardInterrupt:\n"
        "    epochs = t.epochs\n"
        "    t.fit(x, y)\n"
        "    assert t.epochs == epochs + 1\n"
        "    assert t.steps == t.epochs * -(-len(x) // 60), (t.steps, t.epochs)\n"
        "    print('went on', flush=True)\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "went on\n"
    assert process.returncode == 0


def test_other_threads_run_and_are_refused_the_same_trainer(digits: Data) -> None:
    trainer = Trainer(small())
    x, y = np.tile(digits.train[0], (30, 1)), np.tile(digits.train[1], 30)
    found: list[BaseException] = []
    thread = threading.Thread(target=trainer.fit, args=(x, y))
    thread.start()
    while thread.is_alive() and not found:
        try:
            _ = trainer.steps
        except RuntimeError as e:
            found.append(e)
    thread.join()
    assert found
    assert trainer.steps > 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_children_train_after_a_fork(digits: Data) -> None:
    want = Trainer(small(), threads=2)
    want.fit(*digits.train)
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            trainer = Trainer(small(), threads=2)
            trainer.fit(*digits.train)
            os._exit(0 if same(trainer.network, want.network) else 1)
        children.append(child)
    for child in children:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_progress_bar_stays_out_of_files(
    digits: Data, capfd: pytest.CaptureFixture[str]
) -> None:
    Trainer(small()).fit(*digits.train)
    assert capfd.readouterr() == ("", "")
    many = np.tile(digits.train[0], (20, 1)), np.tile(digits.train[1], 20)
    Trainer(small()).fit(*many, progress=True)
    assert "epoch 1/1" in capfd.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    import resource

    file = tmp_path / "weights.safetensors"
    small(1).save(file)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="cannot"):
            small(2).save(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert same(Network.load(file), small(1))
    assert os.listdir(tmp_path) == ["weights.safetensors"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ["leaky-relu:0.3", "tanh", "identity"])
def test_onnx_computes_the_outputs(dtype: Any, activation: str) -> None:
    pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    # Inputs, units and classes are cut, each once.
    net = Network(9, [8, 6, 6], 4, activation=activation, dtype=dtype, tower=True)
    net = Network.from_arrays(
        net.weights,
        [np.linspace(-1, 1, b.size).astype(dtype) for b in net.biases],
        classes=4,
        inputs=9,
        activations=net.activations,
    )
    x = np.random.default_rng(2).standard_normal((5, 9)).astype(dtype)
    for of in (net, decorrelated(dtype)):
        found = np.asarray(*ReferenceEvaluator(of.to_onnx()).run(None, {"x": x}))
        assert found.dtype == dtype
        assert found.shape == (5, 4)
        assert np.abs(found - of.outputs(x)).max() < 40 * np.finfo(dtype).eps


def test_what_would_train_wrongly_is_refused(digits: Data, tmp_path: Path) -> None:
    absolute, few = TrainConfig(target_form="absolute"), digits.train[0][:9]
    with pytest.raises(gaitprop.Error, match="absolute targets need exact inverses"):
        Trainer(small(), absolute)
    Trainer(small(), TrainConfig(target_form="absolute", solver="lu"))
    crossed = TrainConfig(loss="cross-entropy")
    for call in (
        lambda: Trainer(small(), crossed),
        lambda: updates(small(), few, digits.train[1][:9], crossed),
        lambda: align(small(), few, digits.train[1][:9], crossed),
    ):
        with pytest.raises(gaitprop.Error, match="a last layer that is linear"):
            call()
    trainer = Trainer(small(), TrainConfig(**FAST))
    x, y = digits.train
    wrong: dict[str, Any]
    for wrong, message in (
        ({"epochs": -1}, "epochs is -1"),
        ({"validation": digits.test, "patience": 0}, "patience is 0, but must be at least 1"),
        ({"validation": (x[:0], y[:0])}, "validation has no samples"),
        ({"validation": (x[:9], y[:8])}, "9 samples"),
        ({"validation": (x[:9, :8], y[:9])}, "8 features"),
        ({"validation": (x[:9], np.arange(9) + 5)}, "sample 5 has label 10"),
    ):
        with pytest.raises(gaitprop.Error, match=message):
            trainer.fit(x, y, **wrong)
    for nothing in (trainer.fit, trainer.evaluate, trainer.network.evaluate):
        with pytest.raises(gaitprop.Error, match="x has no samples"):
            nothing(x[:0], y[:0])
    for measure in (updates, align):
        with pytest.raises(gaitprop.Error, match="x has no samples"):
            measure(small(), x[:0], y[:0])
        with pytest.raises(TypeError, match="config must be a TrainConfig, not dict"):
            measure(small(), few, y[:9], FAST)  # type: ignore[arg-type]
    assert trainer.steps == 0
    with pytest.raises(TypeError, match="config must be a TrainConfig, not dict"):
        Trainer(small(), FAST)  # type: ignore[arg-type]
    with pytest.raises(gaitprop.Error, match="an array of two dimensions is needed, not of 1"):
        Network.from_arrays([np.zeros(3)])
    file = tmp_path / "weights.safetensors"
    trainer.network.save(file)
    kept = file.read_bytes()
    for wrong in ({"scale": 0.0}, {"center": float("nan")}, {"scale": [1.0]}):
        with pytest.raises(gaitprop.Error, match="center and scale"):
            trainer.network.save(file, **wrong)
    with pytest.raises(gaitprop.Error, match="hinge"):
        trainer.network.save(file, loss="hinge")
    assert file.read_bytes() == kept
    trainer.network.save(file, center=np.zeros((8, 8)), scale=np.ones((8, 8)))
    assert file.read_bytes() == kept


def test_what_a_rule_of_ones_own_returns_is_named(digits: Data) -> None:
    def give(result: Any, layer: Any, delta: Any) -> Any:
        return result

    for result, message in (
        (
            np.zeros((60, 64)),
            "array of float32 with 2 dimensions, but returned an array of float64",
        ),
        (np.zeros(64, np.float32), "but returned an array of float32 with 1 dimensions"),
        ([[0.0]], "but returned a list"),
        (None, "but returned a NoneType"),
    ):
        trainer = Trainer(small(), rule=functools.partial(give, result))
        with pytest.raises(TypeError, match=message):
            trainer.fit(*digits.train)
    odd = np.zeros((60, 64 * 4 + 1), np.int8)[:, 1:].view(np.float32)
    trainer = Trainer(small(), rule=lambda layer, delta: odd)
    with pytest.raises(gaitprop.Error, match="is not aligned to its elements"):
        trainer.fit(*digits.train)


def test_a_trainer_evaluates_with_its_own_threads(digits: Data, monkeypatch: Any) -> None:
    trainer = Trainer(small(), threads=1)
    seen: list[int | None] = []
    for name in ("predict", "evaluate"):
        made = getattr(Network, name)

        def spy(self: Network, *args: Any, made: Any = made, **kwargs: Any) -> Any:
            seen.append(kwargs.get("threads"))
            return made(self, *args, **kwargs)

        monkeypatch.setattr(Network, name, spy)
    trainer.predict(digits.test[0])
    trainer.fit(*digits.train, validation=digits.test)
    # Before and after the epoch.
    assert seen == [1, 1, 1]
