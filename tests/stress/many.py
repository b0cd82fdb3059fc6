"""Many starts and stops, many threads at once, many threads one after the other.

Usage: ``python -m tests.stress.many [--cycles N] [--at-once N] [--in-sequence N]``; without numbers 10,000,
1,000 and 100,000. Prints what it did; the exit status is 1 where something was left behind, or not recorded.
"""

from __future__ import annotations

import argparse
import glob
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import gilscope
from gilscope import _core
from tests.support import invariants
from tests.support.processes.programs import run_threads

_PERIOD_NS = 10_000_000
_STACK_BYTES = 256 * 1024


def resident_kb() -> int:
    """Return the resident memory of this process."""
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def left() -> tuple[int, int, list[int]]:
    """Return what a recording could leave behind: descriptors, threads, and what patched slots hold."""
    slots = _core.prove(exact=True)["slots"]
    return len(os.listdir("/proc/self/fd")), threads_at_work(), slots


def threads_at_work() -> int:
    """Return how many threads there are; one that was joined is listed until the kernel is done with it."""
    exiting = 4  # PF_EXITING of the flags in proc(5)
    stats = [Path(task).read_text() for task in glob.glob("/proc/self/task/*/stat")]
    return sum(not int(stat.rsplit(")", 1)[1].split()[6]) & exiting for stat in stats)


def cycles(n: int) -> str:
    """Start and stop a recording ``n`` times beside threads that run on inside the hooks."""
    stop = threading.Event()
    null = os.open(os.devnull, os.O_WRONLY)
    works: list[Callable[[], object]] = [lambda: sum(range(1000)), lambda: os.write(null, b"x")]

    def run_on(work: Callable[[], object]) -> None:
        while not stop.is_set():
            work()

    threads = [threading.Thread(target=run_on, args=(work,)) for work in works]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0001)  # or each start and stop waits for both

    def cycle() -> None:
        _core.start(spool, exact=True, period_ns=_PERIOD_NS)
        assert _core.stop()["error"] == 0
        spool.unlink()

    with tempfile.TemporaryDirectory() as folder:
        spool = Path(folder) / "spool"
        for thread in threads:
            thread.start()
        try:
            cycle()
            before, memory = left(), resident_kb()
            for _ in range(n - 1):
                cycle()
            after, grown = left(), resident_kb() - memory
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            os.close(null)
            sys.setswitchinterval(interval)
    assert after == before, f"left behind: {before} before, {after} after"
    assert grown < 4096, f"{n} starts and stops: resident memory grew by {grown} kB"
    return f"{n} starts and stops: nothing left behind, resident memory {grown:+} kB"


def at_once(n: int) -> str:
    """Trace ``n`` threads that all live, and all want the GIL, at one time."""
    all_there = threading.Barrier(n)
    before = threading.stack_size(_STACK_BYTES)
    try:
        with gilscope.trace(None, quiet=True) as t:
            run_threads(*[all_there.wait] * n, names=tuple(f"crowd-{i}" for i in range(n)))
    finally:
        threading.stack_size(before)
    return check(t, [f"crowd-{i}" for i in range(n)], f"{n} threads at once")


def in_sequence(n: int) -> str:
    """Trace ``n`` threads, each of which ends before the next begins."""
    with gilscope.trace(None, quiet=True) as t:
        for i in range(n):
            run_threads(int, names=(f"short-{i}",))
    return check(t, [f"short-{i}" for i in range(n)], f"{n} threads one after the other")


def check(t: gilscope.Trace, names: list[str], what: str) -> str:
    """Check that all of the threads are in a trace, under their names."""
    if t.threads.num_rows < 20_000:  # the slow way to look takes too long for more
        invariants.check(t)
    found = [name for name in t.threads["name"].to_pylist() if name.startswith(names[0].split("-")[0])]
    assert sorted(found) == sorted(names), f"{what}: {len(names) - len(set(found))} are missing"
    dropped = t.metadata["dropped"]
    return f"{what}: all in the trace, {t.metadata['transitions']} transitions, {dropped} dropped"


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress.many", description=__doc__)
    parser.add_argument("--cycles", type=int, default=10_000, metavar="N")
    parser.add_argument("--at-once", type=int, default=1_000, metavar="N")
    parser.add_argument("--in-sequence", type=int, default=100_000, metavar="N")
    args = parser.parse_args()
    for part, n in ((cycles, args.cycles), (at_once, args.at_once), (in_sequence, args.in_sequence)):
        begin = time.monotonic()
        try:
            print(f"{part(n)} ({time.monotonic() - begin:.1f} s)", flush=True)
        except AssertionError as error:
            print(f"FAILED: {error}", flush=True)
            return 1
        except KeyboardInterrupt:
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
