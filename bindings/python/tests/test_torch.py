"""Formulas, gradients and operators of gaitprop.torch."""

# Layers of a ModuleList and gradients are unions in torch's own types.
# mypy: disable-error-code="arg-type, assignment, comparison-overlap, index, misc"
# mypy: disable-error-code="no-untyped-call, operator, union-attr"

import copy
import multiprocessing
import pickle
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch.autograd import gradcheck  # noqa: E402

from gaitprop import Error, SingularMatrixError, _native  # noqa: E402
from gaitprop.torch import (  # noqa: E402
    BlockStep,
    GaitLinear,
    GaitNet,
    PublishedAdam,
    RuleLinear,
    Solver,
    _ops,
    dfa_linear,
    from_linear,
    gait_linear,
    orthogonality_penalty,
    rule_linear,
    to_linear,
)

torch.set_num_threads(1)

BOTH = pytest.mark.parametrize("implementation", ["native", "torch"])
ACTIVATIONS = ["leaky-relu:0.1", "leaky-relu:3", "tanh", "identity"]
F64 = torch.float64


def normal(*shape: Any, seed: Any = 0, dtype: Any = F64, grad: Any = False) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=F64, generator=generator).to(dtype).requires_grad_(grad)


def orthogonal(n: Any, seed: Any = 0, dtype: Any = F64) -> Any:
    return torch.linalg.qr(normal(n, n, seed=seed))[0].to(dtype)


def slopes(y: Any) -> Any:
    return torch.where(y < 0, torch.tensor(0.1, dtype=F64), torch.tensor(1.0, dtype=F64))


# ---- gradients -----------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("rule", ["gait", "bp"])
def test_gradcheck_passes_for_orthogonal_weights_in_the_limit(
    rule: Any, activation: Any, implementation: Any
) -> None:
    w, b, x = orthogonal(6).requires_grad_(), normal(6, seed=1, grad=True), normal(4, 6, grad=True)

    def layer(x: Any, w: Any, b: Any) -> Any:
        return rule_linear(
            x, w, b, rule=rule, activation=activation, gamma=0.0, implementation=implementation
        )

    assert gradcheck(layer, (x, w, b))


@BOTH
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradcheck_refuses_gaussian_weights(activation: Any, implementation: Any) -> None:
    w, x = normal(6, 6, seed=3), normal(4, 6, grad=True)

    def layer(x: Any) -> Any:
        return gait_linear(x, w, activation=activation, gamma=0.0, implementation=implementation)

    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        gradcheck(layer, (x,))


@BOTH
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("rule", ["gait", "itp", "tp", "fa", "bp"])
def test_gradients_of_parameters_are_exact_for_any_weights(
    rule: Any, activation: Any, implementation: Any
) -> None:
    w, b, x = normal(5, 7, seed=3, grad=True), normal(7, seed=4, grad=True), normal(4, 5)
    feedback = normal(5, 7, seed=5) if rule == "fa" else None

    def layer(w: Any, b: Any) -> Any:
        return rule_linear(
            x,
            w,
            b,
            rule=rule,
            activation=activation,
            feedback=feedback,
            implementation=implementation,
        )

    assert gradcheck(layer, (w, b))


@BOTH
def test_a_network_of_orthogonal_layers_is_backpropagation(implementation: Any) -> None:
    gait = GaitNet([12, 12, 12, 12], gamma=0.0, solver="lu", implementation=implementation).double()
    bp = GaitNet([12, 12, 12, 12], rule="bp", implementation=implementation).double()
    bp.load_state_dict(gait.state_dict())
    with torch.no_grad():
        for layer in (*gait.layers, *bp.layers):
            layer.weight.copy_(orthogonal(12, seed=layer.above))
    for net in (gait, bp):
        net(normal(9, 12))[:, :4].square().mean().backward()
    for p, q in zip(gait.parameters(), bp.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-12, atol=1e-14)


@BOTH
def test_the_error_sent_down_is_the_definition(implementation: Any) -> None:
    """The published target, in a precision in which it does not cancel: s is large."""
    w, b, x = normal(6, 6, seed=3), normal(6, seed=4), normal(5, 6, grad=True)
    g = normal(5, 6, seed=9)
    forward = {
        "leaky-relu:0.1": lambda h: torch.where(h < 0, 0.1 * h, h),
        "identity": lambda h: h,
    }
    back = {
        "leaky-relu:0.1": lambda y: torch.where(y < 0, 10.0 * y, y),
        "identity": lambda y: y,
    }
    for activation, f in forward.items():
        for rule, gamma, above in [("gait", 0.5, 1), ("itp", 0.5, 0), ("tp", 1e-3, 3)]:
            y = rule_linear(
                x,
                w,
                b,
                rule=rule,
                activation=activation,
                gamma=gamma,
                above=above,
                implementation=implementation,
            )
            (dx,) = torch.autograd.grad(y, x, g)
            h = (x @ w + b).detach()
            e, s = -g * len(x), 1.0 if rule == "tp" else gamma ** (above + 1)
            slope = slopes(h) if activation != "identity" else 1.0
            phi = slope**2 * e if rule == "gait" else e
            inverse = back[activation]
            r = (inverse(f(h) + s * phi) - inverse(f(h))) / s
            torch.testing.assert_close(dx, -(r @ torch.linalg.inv(w)) / len(x))


def test_both_implementations_agree_on_every_rule_and_activation() -> None:
    for dtype, rtol in [(torch.float32, 2e-5), (F64, 1e-11)]:
        w, b = orthogonal(33, dtype=dtype), normal(33, seed=4, dtype=dtype)
        w = w + 0.05 * normal(33, 33, seed=6, dtype=dtype)
        for rule in ("gait", "itp", "tp", "bp", "fa"):
            for activation in ACTIVATIONS:
                for gamma in (0.0, 1e-3, 0.3):
                    found = []
                    for implementation in ("native", "torch"):
                        x = (0.2 * normal(17, 33, dtype=dtype)).requires_grad_()
                        p, q = w.clone().requires_grad_(), (0.2 * b).requires_grad_()
                        y = rule_linear(
                            x,
                            p,
                            q,
                            rule=rule,
                            gamma=gamma,
                            activation=activation,
                            feedback=w if rule == "fa" else None,
                            implementation=implementation,
                        )
                        (0.02 * (y[:, :5] - 0.5).square().sum() / 17).backward()
                        found.append((y.detach(), x.grad, p.grad, q.grad))
                    for native, reference in zip(*found, strict=True):
                        scale = reference.norm() / reference.numel() ** 0.5
                        torch.testing.assert_close(
                            native, reference, rtol=rtol, atol=float(scale) * rtol
                        )


@BOTH
def test_perturbations_at_and_across_the_kink(implementation: Any) -> None:
    y = torch.tensor([[0.0, 0.0, 1e-12, -1e-12, 1e-4, -1e-4, 2.0, -2.0]], dtype=F64)
    e = torch.tensor([[-1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0]], dtype=F64)
    w = torch.eye(8, dtype=F64)
    for s in (1e-3, 1e-200, 1.0):
        x = torch.where(y < 0, 10 * y, y).requires_grad_()
        found = gait_linear(x, w, gamma=s, reduction="sum", implementation=implementation)
        (dx,) = torch.autograd.grad(found, x, -e)
        slope = slopes(y)
        phi = slope**2 * e
        # In the exact definition, what lies beyond the kink goes by the other side's slope.
        expected = phi / slope
        for j in range(8):
            a, u = float(y[0, j]), float(phi[0, j])
            if (a >= 0 and a + s * u < 0) or (a == 0 and u < 0):
                expected[0, j] = u + 9 * (u + a / s)
            elif a < 0 <= a + s * u:
                expected[0, j] = u - 9 * a / s
        torch.testing.assert_close(-dx, expected, rtol=1e-14, atol=0.0)


def test_leading_dimensions_are_samples() -> None:
    w, x = orthogonal(6).requires_grad_(), normal(3, 4, 6)
    y = gait_linear(x, w)
    assert y.shape == (3, 4, 6)
    assert torch.equal(y.reshape(12, 6), gait_linear(x.reshape(12, 6), w))
    assert gait_linear(x[0, 0], w).shape == (6,)


def test_views_with_strides_give_the_same_bits() -> None:
    w, x, g = normal(9, 9, seed=1), normal(8, 9), normal(8, 9, seed=2)
    spread = torch.full((8, 20), float("nan"), dtype=F64)
    spread[:, 1:19:2] = x
    for views in [(spread[:, 1:19:2], w), (x.T.contiguous().T, w.T.contiguous().T)]:
        plain = [x.clone().requires_grad_(), w.clone().requires_grad_()]
        strided = [v.detach().requires_grad_() for v in views]
        assert not all(v.is_contiguous() for v in strided)
        (a, b) = (gait_linear(*v, implementation="native") for v in (plain, strided))
        assert torch.equal(a, b)
        # A gradient with strides of 0, as a sum has.
        for grad in (g, g.T.contiguous().T, torch.ones(1, 1, dtype=F64).expand(8, 9)):
            for p, q in zip(
                torch.autograd.grad(a, plain, grad, retain_graph=True),
                torch.autograd.grad(b, strided, grad, retain_graph=True),
                strict=True,
            ):
                assert torch.equal(p, q)


# ---- operators -----------------------------------------------------------------------------------


@BOTH
@pytest.mark.filterwarnings("ignore")
def test_opcheck(implementation: Any) -> None:
    w, b, x = orthogonal(6).requires_grad_(), normal(6, grad=True), normal(4, 6, grad=True)
    for rule, kind, feedback, scale in [
        ("gait", "leaky-relu", None, 1e-3),
        ("gait", "tanh", None, None),
        ("fa", "identity", normal(6, 6), None),
        ("bp", "leaky-relu", None, None),
    ]:
        settings = (kind, 0.1, rule, scale, True, 0, implementation)
        torch.library.opcheck(_ops.linear, (x, w, b, feedback, *settings))
        torch.library.opcheck(_ops.linear, (x, w, None, feedback, *settings))
    wire = torch.zeros(4, 2, dtype=F64, requires_grad=True)
    for last in (False, True):
        settings = ("tanh", 0.1, last, implementation)
        torch.library.opcheck(_ops.dfa_linear, (x, w, b, normal(2, 6), wire, *settings))
    for identity in (False, True):
        for columns in (False, True):
            arguments = (w, identity, columns, implementation)
            torch.library.opcheck(_ops.orthogonality, arguments)


@BOTH
def test_second_derivatives_are_refused_with_a_sentence(implementation: Any) -> None:
    w, x = orthogonal(6).requires_grad_(), normal(4, 6, grad=True)
    y = gait_linear(x, w, implementation=implementation)
    dx, dw = torch.autograd.grad(y.sum(), (x, w), create_graph=True)
    for first in (dx, dw):
        with pytest.raises(RuntimeError, match="no second derivatives"):
            first.sum().backward(retain_graph=True)


@BOTH
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("rule", ["gait", "dfa"])
def test_compiled_networks_have_the_same_gradients(rule: Any, implementation: Any) -> None:
    classes = 3 if rule == "dfa" else None
    net = GaitNet(
        [10, 8, 8, 6], rule=rule, classes=classes, solver="lu", implementation=implementation
    )
    compiled = torch.compile(net, fullgraph=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for batch in (5, 7):
        x = normal(batch, 10, dtype=torch.float32)
        found = []
        for module in (net, compiled):
            net.zero_grad()
            module(x)[:, :3].square().mean().backward()
            found.append([p.grad.clone() for p in net.parameters()])
        for p, q in zip(*found, strict=True):
            torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-7)
        optimizer.step()


# ---- direct feedback -----------------------------------------------------------------------------


@BOTH
def test_direct_feedback_is_its_formula(implementation: Any) -> None:
    net = GaitNet([9, 8, 7], rule="dfa", classes=3, implementation=implementation).double()
    x, target = normal(6, 9), normal(6, 3, seed=1)
    (0.5 * (net(x)[:, :3] - target).square().sum(1).mean()).backward()
    with torch.no_grad():
        below, above = net.layers
        y1 = torch.nn.functional.leaky_relu(x @ below.weight + below.bias, 0.1)
        y2 = torch.nn.functional.leaky_relu(y1[:, :7] @ above.weight + above.bias, 0.1)
        slope = [slopes(y) for y in (y1, y2)]
        e2 = torch.nn.functional.pad(y2[:, :3] - target, (0, 4)) / 6
        d2 = slope[1] * e2
        e1 = torch.nn.functional.pad(d2[:, :3] @ above.feedback, (0, 1))
        d1 = slope[0] * e1
    torch.testing.assert_close(above.weight.grad, y1[:, :7].T @ d2)
    torch.testing.assert_close(below.weight.grad, x.T @ d1)
    torch.testing.assert_close(below.bias.grad, d1.sum(0))


@BOTH
def test_feedback_alignment_is_its_formula(implementation: Any) -> None:
    layer = RuleLinear(5, 4, rule="fa", activation="identity", implementation=implementation)
    layer.double()
    x, g = normal(3, 5, grad=True), normal(3, 4)
    (dx,) = torch.autograd.grad(layer(x), x, g)
    torch.testing.assert_close(dx, g @ layer.feedback.T)
    assert set(layer.state_dict()) == {"weight", "bias", "feedback"}


# ---- modules -------------------------------------------------------------------------------------


def test_towers_and_auxiliary_units() -> None:
    net = GaitNet([12, 10, 6, 4], tower=True)
    assert [tuple(p.weight.shape) for p in net.layers] == [(10, 10), (6, 6), (4, 4)]
    assert [p.above for p in net.layers] == [2, 1, 0]
    y = net(normal(5, 12, dtype=torch.float32))
    y[:, :2].square().mean().backward()
    # Units that feed nothing, and outputs without a label, have no error.
    assert net.layers[0].bias.grad[6:].abs().sum() == 0
    assert net.layers[2].bias.grad[2:].abs().sum() == 0
    assert net.layers[2].bias.grad[:2].abs().sum() > 0


def test_state_dict_copy_and_pickle_keep_the_network() -> None:
    net = GaitNet([8, 8, 8], rule="gait", gamma=0.01)
    other = GaitNet([8, 8, 8], rule="gait", gamma=0.01)
    other.load_state_dict(net.state_dict())
    x = normal(3, 8, dtype=torch.float32)
    for again in (other, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(net(x), again(x))
        assert again.layers[0].solver.number != net.layers[0].solver.number
        again(x)[:, :2].square().mean().backward()
    assert set(net.state_dict()) == {
        f"layers.{layer}.{name}" for layer in (0, 1) for name in ("weight", "bias")
    }


@pytest.mark.parametrize("orthogonal_map", ["cayley", "matrix_exp"])
def test_parametrizations_keep_weights_orthogonal_and_gait_is_bp(orthogonal_map: Any) -> None:
    found = []
    for rule in ("gait", "bp"):
        torch.manual_seed(3)
        net = GaitNet([8, 8, 8, 8], rule=rule, gamma=0.0, solver="lu").double()
        for layer in net.layers:
            torch.nn.utils.parametrizations.orthogonal(layer, orthogonal_map=orthogonal_map)
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.9)
        for _ in range(5):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(
                net(normal(6, 8))[:, :3], torch.arange(6) % 3
            ).backward()
            optimizer.step()
            schedule.step()
        found.append(net(normal(6, 8)).detach())
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("solver", ["lu", "stale", "cg", "gram", "auto"])
def test_solvers_stay_within_their_tolerance_while_weights_change(solver: Any) -> None:
    torch.manual_seed(0)
    layer = GaitLinear(64, solver=solver, tolerance=1e-4, gamma=0.0).double()
    exact = Solver("lu", 1e-3)
    optimizer = PublishedAdam(layer.parameters(), lr=1e-3)
    for step in range(12):
        x, g = normal(20, 64, seed=step).requires_grad_(), normal(20, 64, seed=100 + step)
        optimizer.zero_grad()
        y = layer(x)
        (dx,) = torch.autograd.grad(y, x, g, retain_graph=True)
        y.backward(g)
        (want,) = torch.autograd.grad(
            gait_linear(x, layer.weight, layer.bias, gamma=0.0, solver=exact), x, g
        )
        assert (dx - want).norm() < 1e-3 * want.norm()
        optimizer.step()
        if step % 3 == 0:
            # A change that torch does not count.
            layer.weight.data.add_(1e-3 * normal(64, 64, seed=step))


def test_linear_modules_convert_both_ways() -> None:
    linear = torch.nn.Linear(6, 4)
    layer = from_linear(linear, rule="bp", activation="identity")
    x = normal(3, 6, dtype=torch.float32)
    torch.testing.assert_close(layer(x), linear(x))
    torch.testing.assert_close(to_linear(layer)(x), linear(x))


# ---- orthogonality -------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("form", ["published", "identity"])
@pytest.mark.parametrize("side", ["rows", "columns"])
def test_the_penalty_and_its_gradient(form: Any, side: Any, implementation: Any) -> None:
    net = GaitNet([9, 6, 6]).double()
    with torch.no_grad():
        for layer in net.layers:
            layer.weight.add_(0.1 * normal(*layer.weight.shape))
    penalty = orthogonality_penalty(net, 0.3, form=form, side=side, implementation=implementation)
    penalty.backward()
    expected = 0.0
    for layer in net.layers:
        w = layer.weight.detach().requires_grad_()
        v = w.T if layer.in_features > layer.out_features or side == "columns" else w
        gram = v @ v.T
        rest = gram - (
            torch.eye(len(gram), dtype=F64) if form == "identity" else gram.diagonal().diag()
        )
        value = 0.3 * rest.square().sum()
        (grad,) = torch.autograd.grad(value, w)
        torch.testing.assert_close(layer.weight.grad, grad)
        expected += value.item()
    torch.testing.assert_close(penalty.item(), expected)


@pytest.mark.parametrize("side", ["rows", "columns"])
def test_block_steps_take_the_angles_away(side: Any) -> None:
    net = GaitNet([9, 6, 6, 6]).double()
    before = [layer.weight.detach().clone() for layer in net.layers]
    with torch.no_grad():
        for layer in net.layers:
            layer.weight.add_(0.02 * normal(*layer.weight.shape))
    value = orthogonality_penalty(net, 1.0, side=side).item()
    block = BlockStep(net, size=4, side=side)
    versions = [layer.weight._version for layer in net.layers]
    for _ in range(4):
        block.step()
    assert orthogonality_penalty(net, 1.0, side=side).item() < 1e-4 * value
    assert all(
        layer.weight._version > version for layer, version in zip(net.layers, versions, strict=True)
    )
    assert all(
        (layer.weight - old).norm() < 0.5 for layer, old in zip(net.layers, before, strict=True)
    )
    other = BlockStep(net, size=4, side=side)
    other.load_state_dict(block.state_dict())
    assert other.turn == 4


def test_a_block_step_is_its_formula() -> None:
    net = GaitNet([6, 6]).double()
    w = net.layers[0].weight
    with torch.no_grad():
        w.add_(0.2 * normal(6, 6))
    v = w.detach().T.clone()
    expected = v.clone()
    for i in range(2):
        for j in range(6):
            if i != j:
                share = (v[i] @ v[j]) / (v[j] @ v[j]) * (0.5 if j < 2 else 1.0)
                expected[i] -= 0.7 * share * v[j]
    BlockStep(net, size=2, mu=0.7).step()
    torch.testing.assert_close(w.detach(), expected.T)


# ---- optimizer -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_published_adam_is_its_formula_in_bits(dtype: Any) -> None:
    start = normal(7, 5, dtype=dtype)
    native, reference = (start.clone().requires_grad_() for _ in range(2))
    optimizers = [
        PublishedAdam([native], lr=1e-2, implementation="native"),
        PublishedAdam([reference], lr=1e-2, implementation="torch"),
    ]
    numpy = pytest.importorskip("numpy")
    real = numpy.float32 if dtype == torch.float32 else numpy.float64
    theta = start.numpy().copy()
    m, v = numpy.zeros_like(theta), numpy.zeros_like(theta)
    for step in range(5):
        grad = normal(7, 5, seed=step, dtype=dtype)
        version = native._version
        for p, optimizer in zip((native, reference), optimizers, strict=True):
            p.grad = grad.clone()
            optimizer.step()
        assert native._version > version
        g = grad.numpy()
        m = real(0.1) * g + real(0.9) * m
        v = real(0.01) * (g * g) + real(0.99) * v
        theta = theta - real(1e-2) * m / (real(1e-8) + numpy.sqrt(v))
        for p in (native, reference):
            assert (p.detach().numpy() == theta).all()


def test_published_adam_resumes_and_takes_closures_and_schedules() -> None:
    p = normal(4, 4, grad=True)
    optimizer = PublishedAdam([p], lr=1e-2)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = p.square().sum()
        loss.backward()
        return loss

    first = optimizer.step(closure)
    schedule.step()
    q = p.detach().clone().requires_grad_()
    other = PublishedAdam([q], lr=1e-2)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert optimizer.step(closure) < first
    q.square().sum().backward()
    other.step()
    assert torch.equal(p, q)


# ---- invalid input -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.complex64])
def test_other_types_are_refused(dtype: Any) -> None:
    w = orthogonal(4)
    with pytest.raises(TypeError, match="float32 or float64"):
        gait_linear(torch.zeros(2, 4).to(dtype), w)
    with pytest.raises(TypeError, match="float32 or float64"):
        gait_linear(torch.zeros(2, 4), w.to(dtype))
    with pytest.raises(TypeError, match="as the weights are"):
        gait_linear(torch.zeros(2, 4), w)
    with pytest.raises(TypeError, match=r"must be a torch\.Tensor"):
        gait_linear([[1.0]], w)
    if dtype.is_floating_point:
        with pytest.raises(TypeError, match="float32 or float64"):
            GaitLinear(4, dtype=dtype)


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (((2, 3), (4, 4), (4,)), {}, "last dimension"),
        (((2, 4), (4, 4), (3,)), {}, "the bias has shape"),
        (((2, 4), (4,), (4,)), {}, "must have 2"),
        (((2, 4), (4, 3), (3,)), {}, "must be square"),
        (((2, 4), (4, 4), (4,)), {"gamma": 2.0}, "gamma is 2.0"),
        (((2, 4), (4, 4), (4,)), {"gamma": float("nan")}, "gamma is nan"),
        (((2, 4), (4, 4), (4,)), {"above": -1}, "above is -1"),
        (((2, 4), (4, 4), (4,)), {"activation": "relu"}, "unknown activation"),
        (((2, 4), (4, 4), (4,)), {"activation": "leaky-relu:0"}, "slope"),
        (((2, 4), (4, 4), (4,)), {"activation": "leaky-relu:x"}, "not a number"),
        (((2, 4), (4, 4), (4,)), {"implementation": "cuda"}, "implementation is 'cuda'"),
        (((2, 4), (4, 4), (4,)), {"reduction": "none"}, "reduction is 'none'"),
    ],
)
def test_shapes_and_settings_are_refused(arguments: Any, settings: Any, message: Any) -> None:
    x, w, b = (torch.zeros(shape, dtype=F64) for shape in arguments)
    with pytest.raises(Error, match=message):
        gait_linear(x.requires_grad_(), w, b, **settings)


def test_modules_refuse_settings() -> None:
    for make, message in [
        (lambda: GaitNet([4]), "needs the width"),
        (lambda: GaitNet([4, 4, 6]), "only 4 units"),
        (lambda: GaitNet([4, 4], rule="dfa", classes=5), "there are 5 labels"),
        (lambda: GaitNet([4, 4], rule="dfa"), "classes"),
        (lambda: RuleLinear(4, rule="hebb"), "rule is 'hebb'"),
        (lambda: RuleLinear(4, rule="kp"), "rule is 'kp', but must be one of bp"),
        (lambda: GaitLinear(4, solver="learned"), "solver is 'learned', but must be one of"),
        (lambda: GaitLinear(4, solver="damped"), "solver is 'damped', but must be one of"),
        (lambda: GaitLinear(4, solver="magic"), "solver is 'magic'"),
        (lambda: GaitLinear(4, tolerance=1.0), "tolerance is 1.0"),
        (lambda: GaitLinear(0), "empty"),
        (lambda: GaitNet([4, 4])(torch.zeros(2, 5)), "4 inputs"),
        (lambda: orthogonality_penalty(torch.nn.Linear(2, 2), 0.1), "no layer"),
        (lambda: orthogonality_penalty(GaitLinear(2), -1.0), "lambda"),
        (lambda: BlockStep(GaitLinear(2), mu=2.0), "mu is 2.0"),
        (lambda: PublishedAdam([torch.zeros(1, requires_grad=True)], lr=-1.0), "learning rate"),
        (lambda: rule_linear(torch.zeros(1, 2), torch.eye(2), rule="fa"), "needs feedback"),
        (lambda: rule_linear(torch.zeros(1, 2), torch.eye(2), rule="dfa"), "dfa_linear"),
        (lambda: dfa_linear(torch.zeros(1, 2), torch.eye(2), feedback=torch.eye(3)), "labels x 2"),
    ]:
        with pytest.raises(Error, match=message):
            make()


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_singular_weights_are_an_error_and_nothing_has_changed(
    dtype: Any, implementation: Any
) -> None:
    zero_row = orthogonal(5, dtype=dtype)
    zero_row[2] = 0.0
    nan = orthogonal(5, dtype=dtype)
    nan[1, 1] = float("nan")
    close = orthogonal(5, dtype=dtype)
    close[1] = close[0] * (1 + torch.finfo(dtype).eps)
    for w in (zero_row, nan, close, torch.zeros(5, 5, dtype=dtype)):
        x, w = normal(3, 5, dtype=dtype).requires_grad_(), w.requires_grad_()
        y = gait_linear(x, w, implementation=implementation)
        with pytest.raises(SingularMatrixError, match="singular or nearly so"):
            y.sum().backward()
        assert x.grad is None
        assert w.grad is None


@BOTH
def test_targets_outside_tanh_are_an_error(implementation: Any) -> None:
    x, w = normal(3, 5).requires_grad_(), orthogonal(5)
    y = rule_linear(x, w, rule="tp", activation="tanh", implementation=implementation)
    with pytest.raises(Error, match="sample 0, unit 0: the target is outside the range"):
        (1000.0 * y.sum()).backward()


@BOTH
def test_nan_spreads_as_in_torch(implementation: Any) -> None:
    x, w = normal(3, 5).requires_grad_(), orthogonal(5).requires_grad_()
    grad = torch.ones(3, 5, dtype=F64)
    grad[1, 2] = float("nan")
    gait_linear(x, w, implementation=implementation).backward(grad)
    assert torch.isnan(x.grad[1]).all()
    assert torch.isnan(w.grad[:, 2]).all()
    assert torch.isfinite(w.grad[:, 0]).all()


def test_empty_batches() -> None:
    x, w = torch.zeros(0, 5, requires_grad=True), orthogonal(5, dtype=torch.float32)
    for implementation in ("native", "torch"):
        w = w.detach().requires_grad_()
        gait_linear(x, w, implementation=implementation).sum().backward()
        assert w.grad.abs().sum() == 0


def test_native_kernels_refuse_other_devices() -> None:
    x = torch.zeros(2, 3, device="meta")
    y = gait_linear(x, torch.zeros(3, 3, device="meta"))
    assert y.device.type == "meta"
    with pytest.raises(Error, match="is on meta"):
        gait_linear(x, torch.zeros(3, 3))


def _train_in_child(queue: Any) -> None:
    # OpenMP's threads do not survive a fork, so torch's own operations must do without them.
    torch.set_num_threads(1)
    net = GaitNet([16, 16, 16])
    net(torch.ones(4, 16))[:, :3].square().mean().backward()
    norm = float(net.layers[0].weight.grad.norm())
    # The kernels' threads are started anew.
    a, c = torch.ones(300, 300).numpy(), torch.empty(300, 300).numpy()
    _native.layer_product(a, a, c, 2)
    queue.put(norm if (c == 300).all() else -1.0)


@pytest.mark.filterwarnings("ignore")
def test_forked_children_train() -> None:
    a, c = torch.ones(300, 300).numpy(), torch.empty(300, 300).numpy()
    _native.layer_product(a, a, c, 2)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=_train_in_child, args=(queue,)) for _ in range(3)]
    for child in children:
        child.start()
    try:
        assert all(queue.get(timeout=60) > 0 for _ in children)
    finally:
        for child in children:
            child.join(30)
            child.kill()
    assert [child.exitcode for child in children] == [0, 0, 0]
