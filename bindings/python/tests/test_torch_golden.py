"""gaitprop.torch against reference vectors, and in bits against the program `gaitprop update`."""

# Layers of a ModuleList and gradients are unions in torch's own types.
# mypy: disable-error-code="arg-type, assignment, comparison-overlap, index, misc"
# mypy: disable-error-code="no-untyped-call, operator, union-attr"

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from gaitprop import Error, Network, TrainConfig, Trainer  # noqa: E402
from gaitprop.torch import (  # noqa: E402
    GaitNet,
    PublishedAdam,
    load_weights,
    orthogonality_penalty,
    save_weights,
)

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[3]
# The selection of the repository, or a folder with more of the same kind.
GOLDEN = Path(os.environ.get("GAITPROP_GOLDEN", ROOT / "tests" / "golden"))
# An update may be wrong by this many times the recorded error of a plain difference form: for the
# kernels the library's own tolerance, for LAPACK's other order of the same sums twice that.
TIMES = {"native": 6.0, "torch": 12.0}


def cases() -> Any:
    index = GOLDEN / "index.json"
    if not index.exists():
        reason = f"no reference vectors in {GOLDEN.name}"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason))]
    listed = json.loads(index.read_text())["cases"]
    return [pytest.param(case, id=case["file"].removesuffix(".npz")) for case in listed]


def network(case: Any, arrays: Any, rule: Any, dtype: Any, **settings: Any) -> Any:
    activation = "identity" if case["linear"] else "leaky-relu:0.1"
    net = GaitNet(
        case["structure"],
        rule=rule,
        tower=True,
        activation=activation,
        gamma=case["gamma"],
        solver="lu",
        dtype=dtype,
        **settings,
    )
    with torch.no_grad():
        for index, layer in enumerate(net.layers):
            layer.weight.copy_(torch.from_numpy(arrays[f"W{index}"]))
            layer.bias.copy_(torch.from_numpy(arrays[f"b{index}"]))
    return net


def loss_of(net: Any, arrays: Any, dtype: Any) -> Any:
    x, onehot = (torch.from_numpy(arrays[name]).to(dtype) for name in ("x", "onehot"))
    y = net(x)[:, : onehot.shape[1]]
    return 0.5 * (y - onehot).square().sum() / len(x)


def relative(found: Any, expected: Any) -> Any:
    size = np.linalg.norm(expected)
    off = np.linalg.norm(found - expected)
    return off / size if size else off


@pytest.mark.parametrize("implementation", ["native", "torch"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("case", cases())
def test_updates_match_the_references(case: Any, dtype: Any, implementation: Any) -> None:
    arrays = np.load(GOLDEN / case["file"])
    roundoff = torch.finfo(dtype).eps / 2
    widened = roundoff / (torch.finfo(torch.float64).eps / 2)
    for rule in ("bp", "gait", "tp"):
        net = network(case, arrays, rule, dtype, implementation=implementation)
        try:
            loss_of(net, arrays, dtype).backward()
        except np.linalg.LinAlgError:
            # Float32 may find no inverse where float64 does; the library refuses the same weights.
            assert dtype == torch.float32
            assert max(case["cond"]) * roundoff > 1e-3
            continue
        for index, layer in enumerate(net.layers):
            record = case["per_layer"][index]
            if rule == "gait":
                recorded = record["diff_f32_rel" if dtype == torch.float32 else "diff_f64_rel"]
            else:
                recorded = (record[f"{rule}_f64_rel"] or 0.0) * widened
            allowed = TIMES[implementation] * max(recorded or 0.0, roundoff)
            for what, p in [("dW", layer.weight), ("db", layer.bias)]:
                name = f"{rule}_hp_{what}{index}"
                if name not in arrays and rule != "gait":
                    name = f"{rule}_{what}{index}"
                if name in arrays:
                    error = relative(-p.grad.double().numpy(), arrays[name])
                    assert error <= allowed, f"{rule} {what}{index}: {error:.1e} > {allowed:.1e}"


@pytest.mark.parametrize("case", cases())
def test_three_steps_match_the_references(case: Any) -> None:
    """The exact regularizer and the published Adam, through a whole training step."""
    arrays = np.load(GOLDEN / case["file"])
    for rule in ("bp", "tp"):
        net = network(case, arrays, rule, torch.float64)
        optimizer = PublishedAdam(net.parameters(), lr=case["lr"])
        for _ in range(3):
            optimizer.zero_grad()
            loss = loss_of(net, arrays, torch.float64)
            (loss + orthogonality_penalty(net, case["lam"])).backward()
            optimizer.step()
        for index, layer in enumerate(net.layers):
            if f"{rule}_s3_mW{index}" not in arrays:
                continue
            # A weight moves by up to η even where its update is rounding noise, so weights whose
            # update is noise tell nothing, and later updates of the others feel their moves.
            moment = -optimizer.state[layer.weight]["exp_avg"].numpy()
            expected = arrays[f"{rule}_s3_mW{index}"]
            assert relative(moment, expected) < case["lr"] * max(1.0, case["lam"])
            clear = np.abs(expected) > 1e-9
            moved = np.abs(layer.weight.detach().numpy() - arrays[f"{rule}_s3_W{index}"])
            assert moved[clear].max(initial=0.0) < 1e-3 * case["lr"]


# ---- the program ---------------------------------------------------------------------------------


def update(folder: Any, arrays: Any, *flags: Any) -> Any:
    np.savez(folder / "in.npz", **arrays)
    code = "import sys; from gaitprop import _native; sys.exit(_native.main(sys.argv[1:]))"
    run = [sys.executable, "-c", code, "gaitprop", "update", folder / "in.npz", folder / "out.npz"]
    done = subprocess.run([*run, *flags], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(np.load(folder / "out.npz"))


def problem(sizes: Any, batch: Any, labels: Any, seed: Any = 1) -> Any:
    rng = np.random.default_rng(seed)
    arrays = {"x": rng.uniform(size=(batch, sizes[0]))}
    arrays["onehot"] = np.eye(labels)[rng.integers(labels, size=batch)]
    below = sizes[0]
    for index, width in enumerate(sizes[1:]):
        fan_in = below if index == 0 else width
        noise = 0.05 * rng.normal(size=(fan_in, width))
        arrays[f"W{index}"] = (
            np.linalg.qr(rng.normal(size=(max(fan_in, width),) * 2))[0][:fan_in, :width] + noise
        )
        arrays[f"b{index}"] = 0.1 * rng.normal(size=width)
        below = width
    return {name: a.astype(np.float32).astype(np.float64) for name, a in arrays.items()}


@pytest.mark.parametrize("activation", ["leaky-relu:0.1", "tanh", "identity"])
@pytest.mark.parametrize("rule", ["gait", "itp", "tp", "bp"])
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_the_native_path_has_the_bits_of_the_program(
    tmp_path: Any, dtype: Any, rule: Any, activation: Any
) -> None:
    """For a batch of a power of two, so that a mean over it rounds nothing."""
    sizes, batch, labels = [70, 50, 50, 33], 32, 7
    arrays = problem(sizes, batch, labels)
    if rule == "tp" and activation == "tanh":
        # Errors of label units lie outside the range of tanh otherwise.
        arrays["onehot"] *= 1e-3
        arrays["x"] *= 1e-3
        for index in range(3):
            arrays[f"b{index}"] *= 1e-2
    flags = ["--rule", rule, "--dtype", dtype, "--activation", activation, "--gamma", "0.01"]
    expected = update(tmp_path, arrays, *flags)
    real = torch.float32 if dtype == "f32" else torch.float64
    net = GaitNet(sizes, rule=rule, activation=activation, gamma=0.01, solver="lu", dtype=real)
    net.requires_grad_()
    with torch.no_grad():
        for index, layer in enumerate(net.layers):
            layer.weight.copy_(torch.from_numpy(arrays[f"W{index}"]))
            layer.bias.copy_(torch.from_numpy(arrays[f"b{index}"]))
    x, onehot = (torch.from_numpy(arrays[name]).to(real) for name in ("x", "onehot"))
    y = net(x)
    assert (y.detach().double().numpy() == expected["act3"]).all()
    (0.5 * (y[:, :labels] - onehot).square().sum() / batch).backward()
    for index, layer in enumerate(net.layers):
        for what, p in [("dW", layer.weight), ("db", layer.bias)]:
            assert (-p.grad.double().numpy() == expected[f"{what}{index}"]).all(), (what, index)


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_published_adam_has_the_bits_of_the_program(tmp_path: Any, dtype: Any) -> None:
    sizes, batch, labels = [40, 40, 40], 16, 5
    arrays = problem(sizes, batch, labels)
    flags = ["--rule", "gait", "--dtype", dtype, "--steps", "3", "--lr", "0.01"]
    expected = update(tmp_path, arrays, *flags)
    real = torch.float32 if dtype == "f32" else torch.float64
    net = GaitNet(sizes, solver="lu", dtype=real)
    with torch.no_grad():
        for index, layer in enumerate(net.layers):
            layer.weight.copy_(torch.from_numpy(arrays[f"W{index}"]))
            layer.bias.copy_(torch.from_numpy(arrays[f"b{index}"]))
    optimizer = PublishedAdam(net.parameters(), lr=0.01)
    x, onehot = (torch.from_numpy(arrays[name]).to(real) for name in ("x", "onehot"))
    for _ in range(3):
        optimizer.zero_grad()
        (0.5 * (net(x)[:, :labels] - onehot).square().sum() / batch).backward()
        optimizer.step()
    for index, layer in enumerate(net.layers):
        assert (layer.weight.detach().double().numpy() == expected[f"W{index}"]).all()
        assert (layer.bias.detach().double().numpy() == expected[f"b{index}"]).all()


# ---- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tower", [False, True])
def test_weights_come_back_from_the_librarys_file(tmp_path: Any, tower: Any, dtype: Any) -> None:
    net = GaitNet(
        [9, 8, 6], tower=tower, output_activation="identity", activation="tanh", dtype=dtype
    )
    path = tmp_path / "weights.safetensors"
    save_weights(net, path, classes=3, loss="cross-entropy", scale=[255.0] * 9)
    kept = path.read_bytes()
    save_weights(torch.compile(net), path, classes=3, loss="cross-entropy", scale=[255.0] * 9)
    assert path.read_bytes() == kept
    again, notes = load_weights(path, gamma=0.5)
    x = torch.rand(4, 9, dtype=dtype)
    assert torch.equal(net(x), again(x))
    assert [layer.activation for layer in again.layers] == ["tanh", "identity"]
    assert (again.layers[0].gamma, again.layers[0].above) == (0.5, 1)
    assert (notes.classes, notes.loss, notes.rule) == (3, "cross-entropy", "gait")
    assert notes.scale.tolist() == [255.0] * 9
    for decided in ("bias", "activation", "dtype", "dense"):
        with pytest.raises(Error, match=f"{decided} is the file's: leave it out"):
            load_weights(path, **{decided: None})
    with pytest.raises(Error, match="those of scale must be positive"):
        save_weights(net, path, classes=3, scale=[float("nan")] * 9)
    with pytest.raises(TypeError, match="a GaitNet is needed, not Linear"):
        save_weights(torch.nn.Linear(9, 8), path, classes=3)
    damaged = bytearray(path.read_bytes())
    damaged[-3] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(Error, match="checksum"):
        load_weights(path)
    with pytest.raises(FileNotFoundError):
        load_weights(tmp_path / "missing.safetensors")
    with pytest.raises(Error, match="there are 7 labels"):
        save_weights(net, path, classes=7)
    assert path.read_bytes() == bytes(damaged)


@pytest.mark.parametrize("dense", [False, True])
def test_decorrelations_of_a_file_are_multiplied_into_the_weights(
    tmp_path: Any, dense: Any
) -> None:
    widths = [12, 8, 5] if dense else [9, 8, 8]
    config = TrainConfig.published("bp", decorrelation_rate=0.05, decorrelation_share=1.0)
    made = Network(9, widths, 4, dense=dense, dtype=np.float64)
    trainer = Trainer(made, config)
    x = np.random.default_rng(3).standard_normal((60, 9))
    trainer.fit(x, np.arange(60) % 4, epochs=5)
    made, path = trainer.network, tmp_path / "weights.safetensors"
    assert np.abs(made.decorrelation[0] - np.eye(9)).max() > 0.01
    made.save(path, rule="bp")
    net, notes = load_weights(path)
    assert notes.rule == "bp"
    y = net(torch.from_numpy(x))
    assert np.abs(y[:, :4].detach().numpy() - made.outputs(x)).max() < 1e-13
    y.sum().backward()
    save_weights(net, path, classes=4)
    assert np.abs(Network.load(path).outputs(x) - made.outputs(x)).max() < 1e-13


def test_layers_of_any_shape_come_back_or_are_refused(tmp_path: Any) -> None:
    path = tmp_path / "weights.safetensors"
    made = Network(9, [12, 8, 5], 4, dense=True)
    x = torch.rand(6, 9)
    # The program trains such layers by GAIT through damped inverses. Layers of torch do not.
    made.save(path, rule="gait")
    net, notes = load_weights(path)
    assert ({layer.rule for layer in net.layers}, notes.rule) == ({"bp"}, "gait")
    assert np.abs(net(x)[:, :4].detach().numpy() - made.outputs(x.numpy())).max() < 1e-5
    assert load_weights(path, rule="dfa")[0].layers[2].feedback.shape == (4, 8)
    with pytest.raises(Error, match="layer 1: its weights are 12x8, but rule 'gait' sends targets"):
        load_weights(path, rule="gait")
    with pytest.raises(Error, match="contradict"):
        GaitNet([4, 4], tower=True, dense=True)
    for shapes, inputs, message in [
        ([(9, 8), (8, 6), (4, 5)], 9, "read 9, 8, 4 of the 9, 8, 6 units below and have 8, 6, 5"),
        ([(7, 8), (8, 8)], 9, "read 7, 8 of the 9, 8 units"),
        ([(9, 8), (6, 6), (6, 5)], 9, "read every unit below, or are square"),
        ([(8, 8), (8, 6)], 9, "read every unit below, or are square"),
    ]:
        weights = [np.zeros(shape, np.float32) for shape in shapes]
        Network.from_arrays(weights, inputs=inputs, classes=3).save(path)
        with pytest.raises(Error, match=message):
            load_weights(path)
