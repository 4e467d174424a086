"""Threads, forks, the interpreter's lock, and memory."""

import gc
import hashlib
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gaitprop
from conftest import Array
from gaitprop import linalg

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@pytest.fixture
def default_threads() -> Iterator[None]:
    before = gaitprop.get_num_threads()
    yield
    gaitprop.set_num_threads(before)


def operands(n: int = 300) -> tuple[Array, Array]:
    rng = np.random.default_rng(3)
    return rng.standard_normal((n, n)), rng.standard_normal((n, n))


def digest(threads: int | None = None) -> str:
    a, b = operands()
    result = linalg.solve(linalg.matmul(a, b, threads=threads), b, threads=threads)
    return hashlib.sha256(result.tobytes()).hexdigest()


def python(code: str, **environment: str) -> str:
    """Run code in a new process and return what it prints."""
    env = {
        k: v
        for k, v in os.environ.items()
        if k not in ("GAITPROP_NUM_THREADS", "OMP_NUM_THREADS", "GAITPROP_ISA")
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**env, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.usefixtures("default_threads")
def test_the_default_number_of_threads() -> None:
    gaitprop.set_num_threads(5)
    assert gaitprop.get_num_threads() == 5
    five = digest()
    gaitprop.set_num_threads(1)
    assert digest() == five == digest(threads=2)


def test_the_environment() -> None:
    number = "import gaitprop; print(gaitprop.get_num_threads())"
    assert python(number, GAITPROP_NUM_THREADS="3", OMP_NUM_THREADS="7") == "3"
    assert python(number, OMP_NUM_THREADS="7,2") == "7"
    assert int(python(number)) >= 1
    assert python(number, GAITPROP_NUM_THREADS="0", OMP_NUM_THREADS="none") == python(number)
    failed = "try:\n import gaitprop\nexcept ImportError as e: print(e)"
    assert "GAITPROP_ISA: instruction set `z80` is not available here" in python(
        failed, GAITPROP_ISA="z80"
    )


def test_instruction_sets_change_no_bit() -> None:
    tests = str(Path(__file__).parent)
    code = (
        f"import sys; sys.path.insert(0, {tests!r}); import test_process as t; print(t.digest(2))"
    )
    assert python(code, GAITPROP_ISA="portable") == digest()


@linux
@pytest.mark.usefixtures("default_threads")
def test_small_products_start_no_thread() -> None:
    code = (
        "import numpy as np, os; from gaitprop import linalg\n"
        "count = lambda: len(os.listdir('/proc/self/task'))\n"
        "before = count(); a = np.ones((8, 8)); linalg.matmul(a, a, threads=4)\n"
        "small = count() - before\n"
        "a = np.ones((400, 400)); linalg.matmul(a, a, threads=4); print(small, count() - before)"
    )
    assert python(code) == "0 3"


def test_callers_at_the_same_time() -> None:
    expected = digest(1)
    found: list[str] = []
    callers = [
        threading.Thread(target=lambda: found.extend(digest(2) for _ in range(5))) for _ in range(4)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=120)
    assert found == [expected] * 20


def child(queue: Any) -> None:
    queue.put([digest(2), digest(3), digest(1)])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("running", [False, True])
def test_forked_children_compute_the_same(running: bool) -> None:
    expected = digest(2)
    stop = threading.Event()

    def work() -> None:
        a, b = operands()
        while not stop.is_set():
            linalg.matmul(a, b, threads=2)

    caller = threading.Thread(target=work)
    if running:
        # The children are forked while the team is inside a product.
        caller.start()
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    children = [context.Process(target=child, args=(queue,)) for _ in range(3)]
    try:
        for process in children:
            process.start()
        for process in children:
            process.join(timeout=120)
            assert process.exitcode == 0
        assert [queue.get() for _ in children] == [[expected] * 3] * 3
    finally:
        stop.set()
        for process in children:
            process.kill()
        if running:
            caller.join()
    # The parent's team is as it was.
    assert digest(2) == expected


def test_other_threads_run_during_a_product() -> None:
    a, b = operands(1200)
    counts: list[int] = []
    stop = threading.Event()

    def count() -> None:
        number = 0
        while not stop.is_set():
            number += 1
        counts.append(number)

    counter = threading.Thread(target=count)
    # With this interval the counter would not run before the product ends, if that held the lock.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        counter.start()
        start = time.perf_counter()
        linalg.matmul(a, b, threads=1)
        elapsed = time.perf_counter() - start
        stop.set()
        counter.join()
    finally:
        sys.setswitchinterval(interval)
    # Some 10 million a second; a counter that waits for the lock reaches none.
    assert counts[0] > 100_000 * elapsed


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@linux
def test_no_call_keeps_memory() -> None:
    a, b = operands(64)
    spd = linalg.syrk(a) + 64 * np.eye(64)
    out = np.empty_like(a)
    frozen = out.view()
    frozen.flags.writeable = False
    # Made once: NumPy 2.4.6 itself keeps a reference to the dtype at each call of zeros.
    zeros = np.zeros((64, 64))

    def calls() -> None:
        linalg.matmul(a, b)
        linalg.matmul(a[None, :, None], b, threads=2)
        linalg.matmul(a, b, out)
        linalg.solve(a, b)
        linalg.lu_solve(linalg.lu_factor(a), b, trans=1)
        linalg.cholesky(spd)
        linalg.solve_triangular(a, b, out)
        linalg.syrk(a, out, part="lower")
        for bad in (frozen, a, a[:3]):
            with pytest.raises(gaitprop.Error):
                linalg.matmul(a, b, bad)
        with pytest.raises(np.linalg.LinAlgError):
            linalg.solve(zeros, b)
        with pytest.raises(TypeError):
            linalg.matmul(a.astype(np.float16), b)

    for _ in range(50):
        calls()
    gc.collect()
    objects = [a, b, out, spd, a.dtype, np.dtype(np.intp)]
    references, memory = [sys.getrefcount(x) for x in objects], resident()
    for _ in range(400):
        calls()
    gc.collect()
    assert [sys.getrefcount(x) for x in objects] == references
    # One array of 64x64 kept by each round would be 13 MB.
    assert resident() - memory < 4 << 20
