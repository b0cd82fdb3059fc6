"""Traces and watches that come and go while threads compete: run by hand or by `.ci/run`, with sanitizers.

Usage: ``LD_PRELOAD=<the sanitizer's library> python tests/native/stress.py KIND [ROUNDS]``, where KIND is the
sanitizer that ``gilscope._core`` must have been built with (``address``, ``thread``), or ``none``.

Nothing but the core and the standard library takes part: each report of the sanitizer is about the core.
"""

import itertools
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from gilscope import _core

MARKS = {"address": "__asan_", "thread": "__tsan_"}
PERIOD_NS = 1_000_000


def check_instrumented(kind: str) -> None:
    symbols = subprocess.run(
        ["nm", "--dynamic", _core.__file__],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": os.defpath},
    ).stdout
    found = [name for name, mark in MARKS.items() if mark in symbols]
    assert found == [name for name in MARKS if name == kind], (
        f"{_core.__file__} is built with {found}, not {kind}"
    )


def run_until(stop: threading.Event, step: Callable[[int], object]) -> None:
    for i in itertools.count():
        if stop.is_set():
            return
        step(i)


def compute(_: int) -> None:
    sum(range(3000))


def let_go(_: int) -> None:
    os.sched_yield()
    os.getloadavg()


def name_itself(i: int) -> None:
    _core.name_thread(threading.get_native_id(), threading.get_ident(), f"stress-{i % 100} ü")


def start_a_thread(_: int) -> None:
    thread = threading.Thread(target=name_itself, args=(0,))
    thread.start()
    thread.join()


def ask(i: int) -> None:
    _core.active()
    try:
        _core.prove(exact=bool(i % 2))
    except RuntimeError as error:
        assert "is active" in str(error), error


def watch(i: int) -> None:
    """Watch for holds of any length, and take some of what there is, all, or nothing."""
    number, nowhere = _core.watch_begin(1, threading.get_ident())
    assert nowhere == "", nowhere
    if i % 3 and seen_soon(number):
        for _, held_ns, _, _, waiters, stack in _core.watch_take(number, 0):
            assert held_ns > 0
            assert waiters
            assert all(code.co_code for code, _ in stack)
    _core.watch_end(number)
    while i % 3 == 2 and _core.watch_take(number, 0):
        pass


def seen_soon(number: int) -> bool:
    """Let others compete for a while; where nothing is seen meanwhile, to take would wait for ever."""
    for _ in range(1000):
        if _core.watch_counts(number)[0]:
            return True
        os.sched_yield()
    return False


def record(spool: Path, exact: bool, work: Callable[[], object]) -> int:
    _core.start(spool, exact=exact, period_ns=PERIOD_NS)
    try:
        work()
    finally:
        stopped = _core.stop()
    assert stopped["error"] == 0
    assert spool.stat().st_size == stopped["spool_bytes"]
    spool.unlink()
    return stopped["spool_bytes"]


def start_when_free(spool: Path, exact: bool) -> int:
    """Record, in spite of the thread that proves again and again: one of the two has to stand back."""
    while True:
        try:
            return record(spool, exact, lambda: sum(range(20_000)))
        except RuntimeError as error:
            assert "is active" in str(error), error


def fork_once(folder: Path) -> None:
    def fork() -> None:
        pid = os.fork()
        if pid == 0:
            ok = not _core.active()
            os.sched_yield()
            os._exit(0 if ok else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    record(folder / "forked", True, fork)


def main() -> None:
    kind = sys.argv[1]
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    check_instrumented(kind)
    sys.setswitchinterval(0.0001)
    folder = Path(tempfile.mkdtemp())
    fork_once(folder)  # while there is no thread but this one and the sampler
    stop = threading.Event()
    steps = (compute, compute, let_go, name_itself, start_a_thread, ask, watch)
    threads = [threading.Thread(target=run_until, args=(stop, step)) for step in steps]
    for thread in threads:
        thread.start()
    try:
        written = [start_when_free(folder / f"spool-{i}", i % 2 == 0) for i in range(rounds)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    folder.rmdir()
    print(f"{kind}: {rounds} traces, {sum(written)} bytes")


if __name__ == "__main__":
    main()
