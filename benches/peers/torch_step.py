"""A training step of GAIT-prop or backpropagation in PyTorch on the CPU, timed.

The peer of `cargo bench --bench step` (see README.md beside this file). The formulas, the optimizer
and the regularizer are those of the crate: leaky ReLU of slope 0.1 on every layer, squared error on
ten label units, the published Adam. GAIT sends scaled differences down by LU with new factors in
each step. The last line of output is JSON with the milliseconds of a step.

    pip install torch
    python3 torch_step.py --alg gait --lam 0.1 --threads 1 --exec compile
    python3 torch_step.py --check
"""

import argparse
import json
import os
import statistics
import time

SLOPE, GAMMA, RATE, LABELS = 0.1, 1e-3, 1e-4, 10


def options():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--alg", choices=["bp", "gait"], default="gait")
    p.add_argument("--lam", type=float, default=0.0, help="λ of the exact regularizer; 0 leaves it out")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--width", type=int, default=784)
    p.add_argument("--batch", type=int, default=60)
    p.add_argument("--exec", choices=["eager", "compile"], default="eager")
    p.add_argument("--steps", type=int, default=20)
    p.add_argument("--check", action="store_true", help="compare the formulas with autograd, and time nothing")
    return p.parse_args()


o = options()
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(o.threads)
import torch  # noqa: E402: it reads the number of threads when it is loaded

torch.set_num_threads(o.threads)


def network(width, layers=5, dtype=torch.float32):
    """Orthogonal weights (in × out) and biases of 0."""
    generator = torch.Generator().manual_seed(1)
    normal = lambda: torch.randn(width, width, dtype=torch.float64, generator=generator)
    weights = [torch.linalg.qr(normal())[0].to(dtype).contiguous() for _ in range(layers)]
    return weights, [torch.zeros(width, dtype=dtype) for _ in range(layers)]


def forward(weights, biases, x):
    """The activities of all layers, the input first."""
    activities = [x]
    for w, b in zip(weights, biases):
        activities.append(torch.nn.functional.leaky_relu(torch.addmm(b, activities[-1], w), SLOPE))
    return activities


def inverse_difference(y, phi, s):
    """(f⁻¹(y + s φ) − f⁻¹(y)) / s for leaky ReLU, without subtracting nearly equal numbers."""
    target = y + s * phi
    crossing = (1.0 / SLOPE - 1.0) * (y / s)
    below = torch.where(target < 0, phi / SLOPE, phi - crossing)
    above = torch.where(target < 0, phi / SLOPE + crossing, phi)
    return torch.where(y < 0, below, above)


def directions(weights, biases, x, labels, alg, lam):
    """Descent directions of the weights and the biases."""
    activities = forward(weights, biases, x)
    errors = torch.nn.functional.pad(labels - activities[-1][:, :LABELS], (0, weights[-1].shape[1] - LABELS))
    of_weights, of_biases, s = [], [], GAMMA
    for l in reversed(range(len(weights))):
        w, y = weights[l], activities[l + 1]
        slope = torch.where(y < 0, y.new_tensor(SLOPE), y.new_tensor(1.0))
        delta = slope * errors
        direction = activities[l].T @ delta / x.shape[0]
        if lam:
            gram = w @ w.T
            gram.fill_diagonal_(0.0)
            direction = torch.addmm(direction, gram, w, alpha=-4.0 * lam)
        of_weights.insert(0, direction)
        of_biases.insert(0, delta.mean(0))
        if l and alg == "bp":
            errors = delta @ w.T
        elif l:
            r = inverse_difference(y, slope * delta, s)
            factors, pivots = torch.linalg.lu_factor(w)
            errors = torch.linalg.lu_solve(factors, pivots, r, left=False)
            s *= GAMMA
    return of_weights + of_biases


def step(parameters, moments, x, labels, alg, lam):
    """One step of the published Adam: no bias correction, ε beside the root."""
    half = len(parameters) // 2
    found = directions(parameters[:half], parameters[half:], x, labels, alg, lam)
    for p, d, (m, v) in zip(parameters, found, moments):
        m.mul_(0.9).add_(d, alpha=0.1)
        v.mul_(0.99).addcmul_(d, d, value=0.01)
        p.addcdiv_(m, v.sqrt().add_(1e-8), value=RATE)


def samples(batch, width, dtype=torch.float32, seed=2):
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(0, LABELS, (batch,), generator=generator)
    x = torch.rand(batch, width, dtype=torch.float64, generator=generator)
    return x.to(dtype), torch.nn.functional.one_hot(classes, LABELS).to(dtype)


def check():
    """BP and the regularizer against autograd; GAIT, at orthogonal weights, against BP."""
    weights, biases = network(24, dtype=torch.float64)
    x, labels = samples(8, 24, torch.float64)
    lam = 0.3
    parameters = [p.clone().requires_grad_() for p in weights + biases]
    y = forward(parameters[:5], parameters[5:], x)[-1]
    loss = 0.5 * ((y[:, :LABELS] - labels) ** 2).sum() / x.shape[0]
    for w in parameters[:5]:
        gram = w @ w.T
        loss = loss + lam * ((gram - torch.diag(gram.diagonal())) ** 2).sum()
    loss.backward()
    far = lambda a, b: max(((p - q).norm() / q.norm()).item() for p, q in zip(a, b))
    bp = directions(weights, biases, x, labels, "bp", lam)
    gait = directions(weights, biases, x, labels, "gait", lam)
    # Away from orthogonal weights the two must differ.
    skewed = [w + 0.1 * torch.ones_like(w) for w in weights]
    apart = far(*(directions(skewed, biases, x, labels, alg, 0.0) for alg in ("gait", "bp")))
    found = far(bp, [-p.grad for p in parameters]), far(gait, bp), apart
    print("BP from autograd %.1e; GAIT from BP: orthogonal %.1e, skewed %.1e" % found)
    assert found[0] < 1e-12 and found[1] < 1e-9 and found[2] > 1e-2


def measure():
    weights, biases = network(o.width)
    parameters = weights + biases
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
    batches = [samples(o.batch, o.width, seed=2 + i) for i in range(4)]
    run = torch.compile(step, dynamic=False) if o.exec == "compile" else step
    times = []
    with torch.no_grad():
        for i in range(5 + o.steps):
            start = time.perf_counter()
            run(parameters, moments, *batches[i % 4], o.alg, o.lam)
            times.append(1e3 * (time.perf_counter() - start))
    quartiles = statistics.quantiles(times[5:], n=4)
    record = {"quartiles": quartiles, "median": quartiles[1], "steps": o.steps}
    print(json.dumps({"torch": torch.__version__, "options": vars(o), "ms": record}))


check() if o.check else measure()
