"""What a program could notice of the hooks, while they are in and afterwards: nothing."""

import ctypes
import errno
import os
import re
import signal
import sys
import threading
from pathlib import Path

import pytest

import gilscope
from gilscope import _core
from tests.support.processes.programs import python, run_threads, spin

pytestmark = [pytest.mark.clock, pytest.mark.per_build, pytest.mark.basics]


def test_errno_outlives_every_kind_of_transition():
    libc = ctypes.CDLL(None, use_errno=True)
    wrong = []

    def fail(n):
        for _ in range(n):
            # The call fails and takes the GIL again, in a fight with the others, before errno is looked at.
            assert libc.close(-1) == -1
            if ctypes.get_errno() != errno.EBADF:
                wrong.append(ctypes.get_errno())
            try:
                os.read(-1, 1)
            except OSError as error:
                if error.errno != errno.EBADF:
                    wrong.append(error.errno)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with gilscope.trace(None, quiet=True) as t:
            run_threads(*[lambda: fail(3000)] * 4)
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []
    assert t.handoffs.num_rows > 0


def test_signals_interrupt_what_they_interrupt_and_the_mask_is_as_it_was():
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(threading.current_thread().name))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    try:
        with gilscope.trace(None, quiet=True):
            assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
            main = threading.main_thread().ident
            run_threads(lambda: signal.pthread_kill(main, signal.SIGUSR1), lambda: spin(0.01))
            for _ in range(100):
                os.kill(os.getpid(), signal.SIGUSR1)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(seen) == 101
    assert set(seen) == {"MainThread"}


def test_the_sampler_takes_no_signal():
    with gilscope.trace(None, quiet=True):
        (sampler,) = [
            path for path in Path("/proc/self/task").iterdir() if (path / "comm").read_text() == "gilscope\n"
        ]
        blocked = int(re.search(r"^SigBlk:\s*(\w+)$", (sampler / "status").read_text(), re.MULTILINE)[1], 16)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1, signal.SIGALRM):
        assert blocked >> (number - 1) & 1


def test_who_lets_the_gil_go_by_force_waits_for_another():
    with gilscope.trace(None, switch_interval=0.0005, quiet=True) as t:
        run_threads(*[lambda: spin(0.4)] * 3)
    runs = t.intervals.to_pandas().query("state == 'run'").sort_values("start_ns", kind="stable")
    forced = (runs.release == "forced").to_numpy()[:-1]
    assert forced.sum() > 20
    # CPython's promise to waiters, which its own wait on the hooked condition keeps.
    assert (runs.thread.to_numpy()[:-1] != runs.thread.to_numpy()[1:])[forced].all()


def interpreter_maps() -> list[tuple[str, ...]]:
    """Return address, protection, offset and file of what is mapped of the object with the interpreter."""
    names = re.compile(r"/(libpython[\d.]+\w*\.so[\d.]*|python[\d.]*(-shared)?)$")
    lines = [line.split(None, 5) for line in Path("/proc/self/maps").read_text().splitlines()]
    return [(*line[:3], line[5]) for line in lines if len(line) == 6 and names.search(line[5])]


def read_only(maps: list[tuple[str, ...]]) -> list[bytes]:
    """Return what stands in the pages that are read-only; with full RELRO the slots are among them."""
    found = []
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        for place, protection, *_ in maps:
            if protection.startswith("r-"):
                begin, end = (int(x, 16) for x in place.split("-"))
                memory.seek(begin)
                found.append(memory.read(end - begin))
    return found


def test_slots_bytes_and_protections_are_as_before():
    maps = interpreter_maps()
    assert maps
    slots, pages = _core.prove(exact=True)["slots"], read_only(maps)
    assert any(len(page) for page in pages)
    maps = interpreter_maps()
    with gilscope.trace(None, quiet=True):
        run_threads(lambda: spin(0.01), lambda: spin(0.01))
    assert interpreter_maps() == maps
    assert read_only(maps) == pages
    assert _core.prove(exact=True)["slots"] == slots


def test_threads_that_are_inside_a_hook_go_on_when_the_trace_ends(tmp_path):
    script = """
import os, sys, threading
from gilscope import _core
sys.setswitchinterval(1e-4)
stop = threading.Event()
turns = [0] * 8
def work(i):
    null = os.open(os.devnull, os.O_WRONLY)
    while not stop.is_set():
        os.write(null, b"x") if i % 2 else sum(range(500))
        turns[i] += 1
threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(8)]
[t.start() for t in threads]
for _ in range(50):
    _core.start("spool.bin", exact=True, period_ns=10_000_000)
    assert _core.stop()["error"] == 0
    os.unlink("spool.bin")
    # Seven of eight wait in the hook of a trace that is over, and get their turns all the same.
    before = list(turns)
    while any(a == b for a, b in zip(turns, before)):
        stop.wait(0.0001)
stop.set()
[t.join() for t in threads]
print("all")
"""
    result = python("-c", script, cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "all\n", "")
