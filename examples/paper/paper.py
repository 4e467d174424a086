"""Trains the networks of the GAIT-prop paper at their published length, and what follows from it.

Needs Python 3 and the program (`cargo build --release`).

    python3 examples/paper/paper.py MNIST OUT                # everything, in order of priority
    python3 examples/paper/paper.py MNIST OUT --only a,b     # some parts
    python3 examples/paper/paper.py MNIST OUT --plan         # only says how long it will take
    python3 examples/paper/paper.py digits OUT --epochs 2    # small networks on the embedded digits

MNIST is a folder of IDX files (Fashion-MNIST's fit too). Each OUT is for one data set. Runs go side
by side, one thread each, and may be interrupted at any time: the same command resumes each from its
last checkpoint. Comparisons (parts e and g) keep their finished runs and start the others again. OUT
then has a folder for each part, `summary.md` with all tables, and a page with curves and alignments
for each part. A training that diverged is a result, and no reason for an exit code other than 0. Its
message is in `seed-N.failed`. It would diverge again, unless the program has changed: then remove
the file.
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
    "a": "TP: does it peak and decay?",
    "b": "GAIT beside BP",
    "c": "deep networks: the published formula in float64, scaled differences in float32, BP",
    "d": "linear networks",
    "e": "all rules, plain and decorrelated",
    "f": "learned inverses beside exact ones",
    "g": "learning rate and regularizer",
}
COLUMNS = ("run", "seeds", "epochs", "peak train %", "final train %", "peak test %", "at epoch")
COLUMNS += ("final test %", "cos(bp) of W0")
# Messages of trainings that cannot go on.
FINAL = ("training diverged", "singular or nearly so", "outside the range of the activation")
# Rules, and the learning rates and decorrelation rates from which part e chooses theirs.
FEEDBACK = "bp,fa,dfa,usf,frsf,brsf,kp,drtp", "1e-4,1e-3,3e-3", "1e-3,1e-2"
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


class Comparison:
    """A comparison, which chooses settings from a grid, or a sweep."""

    def __init__(self, out, part, name, rules, points, command):
        self.part, self.name, self.command = part, name, command
        self.rules, self.points = rules.split(","), points
        self.folder = out / part / name.replace(" ", "-")

    def word(self, flag):
        words = shlex.split(self.command)
        return words[words.index(flag) + 1] if flag in words else None

    @property
    def started(self):
        """The file with the command that has been started, so that no other one overwrites it."""
        return self.folder / "command.txt"

    @property
    def over(self):
        return (self.folder / "done").exists()

    def kinds(self):
        """Yields flags of a training of each rule, and the number of epochs of all of them."""
        seeds, epochs = int(self.word("--seeds")), int(self.word("--epochs"))
        trials = self.points * int(self.word("--grid-epochs")) if self.part == "e" else 0
        runs = seeds if self.part == "e" else self.points
        for rule in self.rules:
            decor = "--decor-lr 1e-3" if "decor-lr" in self.command else ""
            flags = f"--rule {rule} --tower {self.word('--tower')} --preset paper {decor}"
            yield flags, runs * epochs + trials


def count(values):
    return values.count(",") + 1


def comparisons(data, out, epochs=None):
    """Yields comparisons and sweeps. Those of another length have folders of their own."""
    net = Networks(data)
    length = epochs or 10
    ending = "" if length == 10 else f" {length} epochs"
    trials = f"--grid-epochs {min(3, length)}"
    common = f"{net.tower} --preset paper --epochs {length}"
    for kind, (rules, rates, decorrelation) in (("feedback", FEEDBACK), ("targets", TARGETS)):
        plain = f"compare {common} --seeds 3 {trials} --rules {rules} --grid lr={rates}"
        points = count(rates)
        yield Comparison(out, "e", f"{kind} plain{ending}", rules, points, plain)
        decorrelated = f"{plain} --grid decor-lr={decorrelation}"
        points *= count(decorrelation)
        yield Comparison(out, "e", f"{kind} decorrelated{ending}", rules, points, decorrelated)
    rates, weights = "1e-5,1e-4,1e-3", "0,0.1,10,1000"
    for rule in ("bp", "gait", "tp"):
        grid = f"--grid lr={rates},lambda={weights}"
        command = f"sweep --rule {rule} {common} --seeds 1 {grid}"
        points = count(rates) * count(weights)
        yield Comparison(out, "g", f"{rule}{ending}", rule, points, command)


class Run:
    """One training in a folder of its own."""

    def __init__(self, out, part, name, seed, epochs, flags):
        self.part, self.name, self.seed, self.epochs = part, name, seed, epochs
        self.flags = [*shlex.split(flags), "--seed", str(seed), "--epochs", str(epochs)]
        self.folder = out / part / name.replace(" ", "-") / f"seed-{seed}"

    def events(self):
        """Returns the lines of the metrics so far. A line that is being written is left out."""
        path = self.folder / "metrics.jsonl"
        try:
            text = path.read_text()
        except FileNotFoundError:
            return []
        try:
            lines = text.splitlines(keepends=True)
            return [json.loads(line) for line in lines if line.endswith("\n")]
        except json.JSONDecodeError as e:
            raise SystemExit(f"{path}: a line is damaged ({e}): remove its folder") from e

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


def duration(seconds):
    return f"{seconds / 3600:5.2f} h" if seconds >= 3600 else f"{math.ceil(seconds / 60):3} min"


def last_line(said, code):
    return said.splitlines()[-1] if said else f"the program ended with exit code {code}"


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
        message = last_line(said, code)
        # A training that fails so fails again. All else, as a full disk, is tried again.
        if any(cause in message for cause in FINAL):
            run.failure.write_text(message + "\n")
        print(f"{run.part}: {run.name}, seed {run.seed}: {message}", flush=True)
    return run.over


class Forecast:
    """Times epochs on a twentieth of the samples, once for each kind of run."""

    def __init__(self, pool, data):
        self.pool, self.data, self.seconds = pool, data, {}

    def of(self, flags):
        """Returns the seconds that an epoch takes, or `None` for a training that fails."""
        share = 1 if self.data == "digits" else 20
        if flags not in self.seconds:
            with tempfile.TemporaryDirectory() as folder:
                probe = Run(Path(folder), "probe", "probe", 1, 1, flags)
                limits = ["--limit-train", str(60_000 // share), "--limit-test", "500"]
                limits = [] if share == 1 else limits
                words = ["--data", self.data, "--out", str(probe.folder), *probe.flags, *limits]
                code, said = self.pool.call("train", "--threads", "1", "--quiet", *words)
                measured = probe.left()[1]
            if code != 0 and not any(cause in said for cause in FINAL):
                raise SystemExit(last_line(said, code))
            self.seconds[flags] = share * measured if code == 0 and measured else None
        return self.seconds[flags]

    def say(self, runs, items):
        """Prints the time that the runs and comparisons will take here."""
        total, longest = 0.0, 0.0
        left = [run for run in runs if not run.over]
        kinds = {}
        for run in left:
            kinds.setdefault((run.part, run.name), []).append(run)
        print(f"{len(left)} of {len(runs)} runs are left. Timing them:", flush=True)
        for (part, name), group in kinds.items():
            each = group[0].left()[1] or self.of(" ".join(group[0].flags[:-4]))
            times = [run.left()[0] * each for run in group] if each else []
            total, longest = total + sum(times), max([longest, *times])
            long = f"{len(group)} x {duration(max(times))}" if times else "fails"
            print(f"  {part}  {name:36} {long}", flush=True)
        for item in (item for item in items if not item.over):
            # A comparison uses all jobs. Rules that fail take no time.
            seconds = sum((self.of(flags) or 0) * epochs for flags, epochs in item.kinds())
            total += seconds
            print(f"  {item.part}  {item.name:36}     {duration(seconds)}", flush=True)
        both = duration(max(total / self.pool.jobs, longest)).strip()
        print(f"about {both} with {self.pool.jobs} at a time", flush=True)


def compare(pool, data, item):
    """Runs one comparison or sweep. Returns whether it is over."""
    began = item.started.read_text() if item.started.exists() else None
    if began not in (None, item.command):
        print(f"{item.part}: {item.name}: {item.folder} has another command's: move it away")
        return False
    if item.over:
        return True
    item.folder.mkdir(parents=True, exist_ok=True)
    item.started.write_text(item.command)
    words = [*shlex.split(item.command), "--data", data, "--out", str(item.folder)]
    unfinished = (item.folder / f"{words[0]}.json").exists()
    resume = ["--resume"] if unfinished else ["--overwrite"]
    code, said = pool.call(*words, *resume, "--threads", str(pool.jobs), "--quiet")
    message = last_line(said, code)
    # All runs of a rule failed, and would fail again. The others are in the table.
    failed = (item.folder / "table.txt").exists() and any(cause in said for cause in FINAL)
    if code == 0 or (failed and not pool.stop.is_set()):
        (item.folder / "done").touch()
    if not pool.stop.is_set():
        print(f"{item.part}: {item.name}: {'done' if code == 0 else message}", flush=True)
    return item.over


def percent(values):
    mean = 100 * statistics.fmean(values)
    return f"{mean:.2f}" + (f" ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else "")


def row(name, runs):
    """Returns a line of a table: one group of seeds."""
    ended = [run for run in runs if run.over and not run.failure.exists()]
    if not ended:
        why = next((run.failure.read_text().strip() for run in runs if run.failure.exists()), None)
        under_way = max(run.epochs - run.left()[0] for run in runs)
        state = (why or f"{under_way} of {runs[0].epochs} epochs").replace("|", "\\|")
        return f"| {name} | {state} |" + " |" * (len(COLUMNS) - 2)
    of = {key: [] for key in ("epochs", "train", "test", "peak train", "peak test", "at", "cosine")}
    for run in ended:
        events = run.events()
        epochs = [e for e in events if e["event"] == "epoch"]
        end = next(e for e in reversed(events) if e["event"] == "end")
        best = max(epochs, key=lambda e: e["test_accuracy"] or 0)
        of["epochs"].append(end["epochs"])
        of["train"].append(end["train_accuracy"])
        of["test"].append(end["test_accuracy"])
        of["peak train"].append(max(end["train_accuracy"], *(e["train_accuracy"] for e in epochs)))
        of["peak test"].append(best["test_accuracy"])
        of["at"].append(best["epoch"])
        of["cosine"].append((end.get("cosine_with_bp") or [math.nan])[0] or math.nan)
    seeds = len(ended) if len(ended) == len(runs) else f"{len(ended)} of {len(runs)}"
    cells = [name, seeds, "/".join(map(str, sorted(set(of["epochs"]))))]
    cells += [percent(of[key]) for key in ("peak train", "train", "peak test")]
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
        folders = [item.folder for item in items if item.part == part]
        tables = [table for table in (f / "table.txt" for f in folders) if table.exists()]
        if not groups and not tables:
            continue
        lines += [f"## {part}. {title}", ""]
        if groups:
            lines += [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
            lines += [*(row(name, group) for name, group in groups.items()), ""]
        for table in tables:
            lines += [f"{table.parent.name}:", "", "```text", table.read_text().rstrip(), "```", ""]
    if lines:
        (out / "summary.md").write_text("\n".join(lines))
    return "\n".join(lines)


def opened(out, data):
    """Makes the folder of results. Returns why it cannot take those of this data set, or None."""
    owner = out / "data.txt"
    try:
        out.mkdir(parents=True, exist_ok=True)
        there = owner.read_text().strip() if owner.exists() else data
    except OSError as e:
        return f"{out}: {e.strerror}"
    moved = f"or correct {owner} if the data has moved"
    return None if there == data else f"{out} has results of {there}: name another folder, {moved}"


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
    only = [part.strip() for part in args.only.split(",")]
    if unknown := [part for part in only if part not in PARTS]:
        parser.error(f"--only: there is no part {unknown[0]}: use {', '.join(PARTS)}")
    if args.jobs < 1 or (args.epochs is not None and args.epochs < 1):
        parser.error("--jobs and --epochs must be at least 1")
    if not (Path(args.program).is_file() and os.access(args.program, os.X_OK)):
        parser.error(f"{args.program} is no program: cargo build --release, or use --program")
    data = args.data if args.data == "digits" else str(Path(args.data).resolve())
    if problem := opened(args.out, data):
        parser.error(problem)
    every_run = [
        Run(args.out, part, name, seed, args.epochs or epochs, flags)
        for part, name, seeds, epochs, flags in plan(args.data)
        for seed in range(1, seeds + 1)
    ]
    every_item = list(comparisons(args.data, args.out, args.epochs))
    runs = [run for run in every_run if run.part in only]
    items = [item for item in every_item if item.part in only]
    pool = Pool(args.program, args.jobs)
    # A service manager, and `kill`, end with SIGTERM, a closed terminal with SIGHUP, which nohup
    # ignores. All of them and Ctrl-C leave checkpoints.
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupted)
    for run in every_run:
        run.events()  # A damaged line ends this now, not after all training.
    try:
        Forecast(pool, data).say(runs, items)
        if args.plan:
            return 0
        (args.out / "data.txt").write_text(data + "\n")
        # Comparisons use all threads themselves, so they go one at a time.
        good = pool.each(lambda run: train(pool, data, run), runs)
        good += [compare(pool, data, item) for item in items]
    except KeyboardInterrupt:
        pool.interrupt()
        print("interrupted: the same command resumes", file=sys.stderr)
        return 130
    finally:
        if not args.plan:
            print(write_summary(args.out, every_run, every_item))
    for part in only:
        if (args.out / part).is_dir():
            pool.call("report", str(args.out / part), "-o", str(args.out / f"{part}.html"))
    if failed := [run.failure for run in runs if run.failure.exists()]:
        print("these trainings failed; to try again, remove the files:")
        print(*(f"  {path}: {path.read_text().strip()}" for path in failed), sep="\n")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
