"""Trains the networks of the GAIT-prop paper at their published length, and what follows from it.

Needs Python 3 and the program (`cargo build --release`).

    python3 examples/paper/paper.py MNIST OUT                # everything, in order of priority
    python3 examples/paper/paper.py MNIST OUT --only a,b     # some parts
    python3 examples/paper/paper.py MNIST OUT --plan         # only says how long it will take
    python3 examples/paper/paper.py digits OUT --epochs 2    # small networks on the embedded digits

MNIST is a folder of IDX files (Fashion-MNIST's fit too). Runs go side by side, one thread each, and
may be interrupted at any time: the same command resumes each from its last checkpoint. OUT then has
a folder for each part, `summary.md` with all tables, and a page with curves and alignments for each
part. A training that diverged leaves its message in `seed-N.failed`; remove it to try again.
"""

import argparse
import concurrent.futures
import json
import math
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = {
    "a": "TP over 100 epochs: does it peak and decay?",
    "b": "GAIT beside BP after 100 epochs",
    "c": "deep networks: the published formula in float64, scaled differences in float32, BP",
    "d": "linear networks",
    "e": "all rules, plain and decorrelated, after 10 epochs",
    "f": "learned inverses beside exact ones",
    "g": "learning rate and regularizer",
}
COLUMNS = ("run", "seeds", "peak train %", "final train %", "peak test %", "at epoch")
COLUMNS += ("final test %", "cos(bp) of W0")
# Messages of trainings that cannot go on.
FINAL = ("training diverged", "singular or nearly so", "outside the range of the activation")
# Rules, and the learning rates and decorrelation rates from which part e chooses theirs.
FEEDBACK = "bp,fa,dfa,usf,brsf,kp,drtp", "1e-4,1e-3,3e-3", "1e-3,1e-2"
TARGETS = "gait,tp,itp", "1e-4,1e-3", "1e-4,1e-3"


class Networks:
    """Flags of the networks, by the width of the input."""

    def __init__(self, data):
        small = data == "digits"
        n, deep = (64, 32) if small else (784, 196)
        tower = "64-64-40-20-10" if small else "784-784-500-200-10"
        self.tower = f"--tower {tower}"
        self.square = f"--width {n} --hidden 4"
        self.one = f"--width {n} --hidden 1"
        self.deep = {hidden: f"--width {deep} --hidden {hidden}" for hidden in (8, 16)}


def plan(data):
    """Yields (part, name, number of seeds, epochs, flags) in order of priority."""
    net = Networks(data)
    exact = "--preset paper --dtype f64 --init xavier"
    yield "a", "tower tp xavier f64", 1, 100, f"--rule tp {net.tower} {exact}"
    yield "a", "tower tp orthogonal", 1, 100, f"--rule tp {net.tower} --preset paper"
    damped = "--preset paper --init xavier --inverse damped"
    yield "a", "tower tp xavier damped", 1, 100, f"--rule tp {net.tower} {damped}"
    for shape, flags, seeds in (("tower", net.tower, 3), ("square", net.square, 1)):
        for rule, weight in (("gait", ""), ("bp", ""), ("bp", "--lambda 0.1")):
            name = f"{shape} {rule}{' regularized' if weight else ''}"
            paper = f"--rule {rule} {flags} --preset paper {weight}"
            yield "b", f"{name} orthogonal", seeds, 100, paper
            wide = "--dtype f64" if rule == "gait" else ""
            yield "b", f"{name} xavier", seeds, 100, f"{paper} --init xavier {wide}"
        if shape == "square":
            yield "b", "one hidden gait", 1, 100, f"--rule gait {net.one} --preset paper"
            yield "b", "one hidden bp", 1, 100, f"--rule bp {net.one} --preset paper"
    for hidden, flags in net.deep.items():
        deep = f"{flags} --preset paper"
        yield "c", f"{hidden} hidden gait f32", 1, 100, f"--rule gait {deep}"
        published = "--form absolute --dtype f64"
        yield "c", f"{hidden} hidden gait published f64", 1, 100, f"--rule gait {deep} {published}"
        yield "c", f"{hidden} hidden bp", 1, 100, f"--rule bp {deep}"
    for shape, flags in (("tower", net.tower), ("square", net.square)):
        for rule in ("tp", "gait", "bp"):
            linear = f"--rule {rule} {flags} --preset paper --activation identity"
            yield "d", f"{shape} {rule} linear", 1, 100, linear
    for name, flags in (
        ("exact", "--inverse lu"),
        ("learned 1e-4", "--inverse learned --inverse-lr 1e-4"),
        ("learned 1e-3", "--inverse learned --inverse-lr 1e-3"),
    ):
        yield "f", f"square gait {name}", 3, 10, f"--rule gait {net.square} --preset paper {flags}"
    yield "a", "square tp orthogonal", 1, 100, f"--rule tp {net.square} --preset paper"
    yield "a", "square tp xavier f64", 1, 100, f"--rule tp {net.square} {exact}"


def comparisons(data):
    """Yields (part, name, command): comparisons, which choose from a grid, and sweeps."""
    net = Networks(data)
    common = f"compare {net.tower} --preset paper --epochs 10 --seeds 3 --grid-epochs 3"
    for kind, (rules, rates, decorrelation) in (("feedback", FEEDBACK), ("targets", TARGETS)):
        chosen = f"{common} --rules {rules} --grid lr={rates}"
        yield "e", f"{kind} plain", chosen
        yield "e", f"{kind} decorrelated", f"{chosen} --grid decor-lr={decorrelation}"
    for rule in ("bp", "gait", "tp"):
        grid = "--grid lr=1e-5,1e-4,1e-3,lambda=0,0.1,10,1000"
        common = f"sweep --rule {rule} {net.tower} --preset paper --epochs 10 --seeds 1"
        yield "g", rule, f"{common} {grid}"


class Run:
    """One training in a folder of its own."""

    def __init__(self, out, part, name, seed, epochs, flags):
        self.part, self.name, self.seed, self.epochs = part, name, seed, epochs
        self.flags = [*shlex.split(flags), "--seed", str(seed), "--epochs", str(epochs)]
        self.folder = out / part / name.replace(" ", "-") / f"seed-{seed}"

    def events(self):
        """Returns the lines of the metrics so far. A line that is being written is left out."""
        try:
            text = (self.folder / "metrics.jsonl").read_text()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def left(self):
        """Returns the number of epochs left, and the seconds that one took, if any has."""
        epochs = [e for e in self.events() if e["event"] == "epoch"]
        seconds = [e["seconds"] for e in epochs if e.get("seconds")]
        return max(self.epochs - len(epochs), 0), statistics.fmean(seconds) if seconds else None

    @property
    def failure(self):
        return self.folder.with_name(self.folder.name + ".failed")

    @property
    def over(self):
        ended = any(e["event"] == "end" and e["epochs"] >= self.epochs for e in self.events())
        return ended or self.failure.exists()


class Pool:
    """Runs commands of the program side by side, and stops them together."""

    def __init__(self, program, jobs):
        self.program, self.jobs = program, jobs
        self.stop, self.lock, self.children = threading.Event(), threading.Lock(), set()

    def call(self, *words):
        """Runs one command. Returns its exit code and what it said on standard error."""
        with self.lock:
            if self.stop.is_set():
                return 130, ""
            child = subprocess.Popen(
                [self.program, *words],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            self.children.add(child)
        said = child.communicate()[1]
        with self.lock:
            self.children.discard(child)
        return child.returncode, said.strip()

    def interrupt(self):
        """Sends Ctrl-C to all commands, and waits: each writes a checkpoint and ends."""
        with self.lock:
            self.stop.set()
            children = list(self.children)
            for child in children:
                child.send_signal(signal.SIGINT)
        for child in children:
            child.wait()

    def each(self, work, items):
        """Calls `work` for each item, on as many threads as there are jobs."""
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as threads:
            futures = [threads.submit(work, item) for item in items]
            try:
                return [future.result() for future in futures]
            except KeyboardInterrupt:
                self.interrupt()
                for future in futures:
                    future.cancel()
                raise


def train(pool, data, run):
    """Trains or resumes one run. Returns whether it is over."""
    if run.over:
        return True
    if run.events() or (run.folder / "checkpoints").exists():
        words = ["--resume", str(run.folder), "--epochs", str(run.epochs)]
    else:
        words = ["--data", data, "--out", str(run.folder), "--overwrite", *run.flags]
    code, said = pool.call("train", "--threads", "1", "--quiet", *words)
    if code == 0:
        print(f"{run.part}: {run.name}, seed {run.seed}: done", flush=True)
    elif not pool.stop.is_set():
        message = said.splitlines()[-1] if said else f"exit code {code}"
        # A training that fails so fails again. All else, as a full disk, is tried again.
        if any(cause in message for cause in FINAL):
            run.failure.write_text(message + "\n")
        print(f"{run.part}: {run.name}, seed {run.seed}: {message}", flush=True)
    return run.over


def seconds_per_epoch(pool, data, run, cache):
    """Times a run's epoch on a twentieth of the samples, once for each kind of run."""
    seconds = run.left()[1]
    if seconds is not None:
        return seconds
    share = 1 if data == "digits" else 20
    kind = " ".join(run.flags[:-4])
    if kind not in cache:
        with tempfile.TemporaryDirectory() as folder:
            probe = Run(Path(folder), "probe", "probe", 1, 1, kind)
            limits = ["--limit-train", str(60_000 // share), "--limit-test", "500"]
            limits = [] if share == 1 else limits
            words = ["--data", data, "--out", str(probe.folder), *probe.flags, *limits]
            code, _ = pool.call("train", "--threads", "1", "--quiet", *words)
            measured = probe.left()[1]
            cache[kind] = share * measured if code == 0 and measured else 0.0
    return cache[kind]


def say_how_long(pool, data, runs):
    """Prints the time that the runs will take here. Comparisons are not in it."""
    cache, total, longest = {}, 0.0, 0.0
    left = [run for run in runs if not run.over]
    kinds = {}
    for run in left:
        kinds.setdefault((run.part, run.name), []).append(run)
    print(f"{len(left)} of {len(runs)} runs are left. Timing them:", flush=True)
    for (part, name), group in kinds.items():
        each = seconds_per_epoch(pool, data, group[0], cache)
        times = [run.left()[0] * each for run in group]
        total, longest = total + sum(times), max([longest, *times])
        print(f"  {part}  {name:36} {len(group)} x {max(times) / 3600:5.2f} h", flush=True)
    hours = max(total / pool.jobs, longest) / 3600
    print(f"about {hours:.1f} h with {pool.jobs} at a time", flush=True)


def compare(pool, data, out, item):
    """Runs one comparison or sweep. Returns whether it is over."""
    part, name, command = item
    folder = out / part / name.replace(" ", "-")
    summary = folder / f"{command.split()[0]}.json"
    # Holds the command, so that another number of epochs is another comparison.
    done = folder / "done"
    if done.exists() and done.read_text() == command:
        return True
    words = [*shlex.split(command), "--data", data, "--out", str(folder)]
    unfinished = summary.exists() and not done.exists()
    resume = ["--resume"] if unfinished else ["--overwrite"]
    code, said = pool.call(*words, *resume, "--threads", str(pool.jobs), "--quiet")
    if code == 0:
        done.write_text(command)
        print(f"{part}: {name}: done", flush=True)
    elif not pool.stop.is_set():
        print(f"{part}: {name}: {said.splitlines()[-1] if said else code}", flush=True)
    return code == 0


def shortened(command, epochs):
    """Returns the command with this number of epochs, and 1 for each trial of its grid."""
    shorter = command.replace("--epochs 10", f"--epochs {epochs}")
    return shorter.replace("--grid-epochs 3", "--grid-epochs 1")


def percent(values):
    mean = 100 * statistics.fmean(values)
    return f"{mean:.2f}" + (f" ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else "")


def row(name, runs):
    """Returns a line of a table: one group of seeds."""
    ended = [run for run in runs if run.over and not run.failure.exists()]
    if not ended:
        why = next((run.failure.read_text().strip() for run in runs if run.failure.exists()), None)
        under_way = max(run.epochs - run.left()[0] for run in runs)
        return f"| {name} | {why or f'{under_way} of {runs[0].epochs} epochs'} |" + " |" * 5
    of = {key: [] for key in ("train", "test", "peak train", "peak test", "at", "cosine")}
    for run in ended:
        events = run.events()
        epochs = [e for e in events if e["event"] == "epoch"]
        end = next(e for e in reversed(events) if e["event"] == "end")
        best = max(epochs, key=lambda e: e["test_accuracy"] or 0)
        of["train"].append(end["train_accuracy"])
        of["test"].append(end["test_accuracy"])
        of["peak train"].append(max(end["train_accuracy"], *(e["train_accuracy"] for e in epochs)))
        of["peak test"].append(best["test_accuracy"])
        of["at"].append(best["epoch"])
        of["cosine"].append((end.get("cosine_with_bp") or [math.nan])[0] or math.nan)
    cells = [name, len(ended), *(percent(of[key]) for key in ("peak train", "train", "peak test"))]
    cells += [f"{statistics.fmean(of['at']):.0f}", percent(of["test"])]
    cells.append(f"{statistics.fmean(of['cosine']):.3f}")
    return "| " + " | ".join(map(str, cells)) + " |"


def write_summary(out, runs, items):
    """Writes the tables of all parts that have begun."""
    lines = []
    for part, title in PARTS.items():
        groups = {}
        for run in (run for run in runs if run.part == part and (run.events() or run.over)):
            groups.setdefault(run.name, []).append(run)
        folders = [out / part / name.replace(" ", "-") for p, name, _ in items if p == part]
        tables = [table for table in (f / "table.txt" for f in folders) if table.exists()]
        if not groups and not tables:
            continue
        lines += [f"## {part}. {title}", ""]
        if groups:
            lines += [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
            lines += [*(row(name, group) for name, group in groups.items()), ""]
        for table in tables:
            lines += [f"{table.parent.name}:", "", "```text", table.read_text().rstrip(), "```", ""]
    (out / "summary.md").write_text("\n".join(lines))
    return "\n".join(lines)


def interrupted(*_):
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="folder of IDX files, or digits")
    parser.add_argument("out", type=Path, help="folder for all results")
    titles = "; ".join(f"{part}: {title}" for part, title in PARTS.items())
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, as a,b: {titles}")
    cores = os.cpu_count() or 1
    parser.add_argument("--jobs", type=int, default=cores, help="runs at a time, one thread each")
    parser.add_argument("--epochs", type=int, help="of every run, instead of those published")
    parser.add_argument("--plan", action="store_true", help="say how long it will take, and end")
    program = str(ROOT / "target/release/gaitprop")
    parser.add_argument("--program", default=program, help="path of gaitprop")
    args = parser.parse_args()
    only = args.only.split(",")
    if unknown := [part for part in only if part not in PARTS]:
        parser.error(f"--only: there is no part {unknown[0]}: use {', '.join(PARTS)}")
    if args.jobs < 1 or (args.epochs is not None and args.epochs < 1):
        parser.error("--jobs and --epochs must be at least 1")
    if not Path(args.program).is_file():
        parser.error(f"{args.program} is missing: cargo build --release, or name it with --program")
    data = args.data if args.data == "digits" else str(Path(args.data).resolve())
    args.out.mkdir(parents=True, exist_ok=True)
    runs = [
        Run(args.out, part, name, seed, args.epochs or epochs, flags)
        for part, name, seeds, epochs, flags in plan(args.data)
        if part in only
        for seed in range(1, seeds + 1)
    ]
    items = [item for item in comparisons(args.data) if item[0] in only]
    if args.epochs:
        items = [(part, name, shortened(command, args.epochs)) for part, name, command in items]
    pool = Pool(args.program, args.jobs)
    # A service manager, and `kill`, end with SIGTERM. Both it and Ctrl-C leave checkpoints.
    signal.signal(signal.SIGTERM, interrupted)
    try:
        say_how_long(pool, data, runs)
        if args.plan:
            return 0
        # Comparisons use all threads themselves, so they go one at a time.
        good = pool.each(lambda run: train(pool, data, run), runs)
        good += [compare(pool, data, args.out, item) for item in items]
    except KeyboardInterrupt:
        pool.interrupt()
        print("interrupted: the same command resumes", file=sys.stderr)
        return 130
    finally:
        if not args.plan:
            print(write_summary(args.out, runs, items))
    for part in only:
        if (args.out / part).is_dir():
            pool.call("report", str(args.out / part), "-o", str(args.out / f"{part}.html"))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
