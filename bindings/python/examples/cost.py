"""Cost model of a training step of one square layer, in float32.

    python cost.py
    python cost.py --batch 512 --rate 2000 --network 25 --machines 8

Prints flops, seconds and memory by width, and what one step moves between machines. `--rate` is
the speed of a machine in GFLOP/s, `--network` that of its network in Gbit/s.
"""

import argparse

WIDTHS = [784, 4096, 16_384, 100_000]


def flops(n: int, batch: int, products: float) -> dict[str, float]:
    """Return flops by part of the step. A solve costs `products` forward products."""
    product = 2.0 * batch * n**2
    return {
        "BP": 3 * product,
        "GAIT, stale inverse": (2 + products) * product,
        # A factorization, then two triangles and one residual.
        "GAIT, LU each step": 2 * product + 2 / 3 * n**3 + 2 * product,
        "exact regularizer": 3.0 * n**3,
        "block of 64 columns": 4.0 * 64 * n**2,
    }


def memory(n: int) -> dict[str, float]:
    """Return bytes by part of the state."""
    return {
        "weights": 4.0 * n**2,
        "Adam's moments": 8.0 * n**2,
        "stale inverse": 4.0 * n**2,
        "gradient (torch)": 4.0 * n**2,
    }


def moved(n: int, machines: int) -> float:
    """Return bytes that each machine sends in a step of data parallelism (ring all-reduce)."""
    return 2 * (machines - 1) / machines * 4.0 * n**2


def size(number: float) -> str:
    """Return bytes with a metric prefix."""
    for power, prefix in [(1e12, "T"), (1e9, "G"), (1e6, "M")]:
        if number >= power:
            return f"{number / power:.3g} {prefix}B"
    return f"{number / 1e3:.3g} kB"


def time(seconds: float) -> str:
    """Return seconds with a unit that suits them."""
    for power, unit in [(3600, "h"), (60, "min"), (1, "s")]:
        if seconds >= power:
            return f"{seconds / power:.3g} {unit}"
    return f"{1e3 * seconds:.3g} ms"


def table(head: str, rows: dict[str, list[str]]) -> None:
    """Print a table of Markdown."""
    print(f"| {head} | " + " | ".join(f"{n:,}" for n in WIDTHS) + " |")
    print("|---|" + "---|" * len(WIDTHS))
    for name, cells in rows.items():
        print(f"| {name} | " + " | ".join(cells) + " |")
    print()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=60, help="samples a machine")
    parser.add_argument("--products", type=float, default=2.4, help="products a solve")
    parser.add_argument("--rate", type=float, default=100, help="GFLOP/s of a machine")
    parser.add_argument("--network", type=float, default=10, help="Gbit/s of a machine's network")
    parser.add_argument("--machines", type=int, default=8)
    options = parser.parse_args()

    work = [flops(n, options.batch, options.products) for n in WIDTHS]
    seconds = {part: [time(step[part] / (options.rate * 1e9)) for step in work] for part in work[0]}
    table(f"time of a step, width n, batch {options.batch}", seconds)
    state = [memory(n) for n in WIDTHS]
    held = {part: [size(layer[part]) for layer in state] for part in state[0]}
    table("memory of a layer, width n", held)
    sent = [moved(n, options.machines) for n in WIDTHS]
    speed = options.network * 1e9 / 8
    table(
        f"data parallelism, {options.machines} machines",
        {
            "each sends in a step": [size(b) for b in sent],
            "takes": [time(b / speed) for b in sent],
        },
    )
    # Seconds of sending over seconds of GAIT's products are a number over the batch.
    balance = moved(1, options.machines) / speed * options.rate * 1e9 / (2 * (2 + options.products))
    print(f"Sending takes as long as computing at {balance:.0f} samples a machine.")


if __name__ == "__main__":
    main()
