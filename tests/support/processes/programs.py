"""Running Python programs in processes of their own, and traced workloads with known answers."""

import ctypes
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

HOLDING = ctypes.PyDLL(None)
"""C functions called through it keep the GIL."""

RELEASING = ctypes.CDLL(None)
"""C functions called through it let the GIL go."""


def python(*arguments: str, cwd: Path, **options) -> subprocess.CompletedProcess:
    """Run this interpreter with arguments; capture what it prints."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment | options.pop("env", {}),
        **options,
    )


def spin(seconds: float) -> None:
    """Run Python code for so much time on the clock."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def run_threads(*targets, names: tuple[str, ...] = ()) -> None:
    """Run callables in threads of their own and wait for them."""
    threads = [
        threading.Thread(target=target, name=names[i] if names else None) for i, target in enumerate(targets)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def take_turns(names: tuple[str, ...], n: int) -> list[int]:
    """Let threads of these names compute until they have had ``n`` turns together; return how many each had.

    A turn begins when a thread finds that another one has computed since it did: however busy the machine is,
    and whatever it takes, the GIL has changed hands so many times by then.
    """
    turns, last, everybody = [0] * len(names), [-1], threading.Barrier(len(names))

    def work(me: int) -> None:
        everybody.wait()
        while sum(turns) < n:
            if last[0] != me:
                last[0] = me
                turns[me] += 1
            sum(range(100))

    run_threads(*[lambda me=me: work(me) for me in range(len(names))], names=names)
    return turns
