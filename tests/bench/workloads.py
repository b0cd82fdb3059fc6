"""Programs with threads that do a fixed amount of work, or work for a given time."""

from __future__ import annotations

import ctypes
import os
import random
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass

Step = Callable[[], object]
FREE = -1
"""Rounds of a thread that goes on until the others are done."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Threads, each of which repeats a step.

    Args:
        steps: makes the step of each thread; called before the clock runs.
        rounds: how often each thread repeats it at fixed work; `FREE`: until the others are done.
    """

    steps: Callable[[], list[Step]]
    rounds: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """What a workload did: nanoseconds of wall and processor time, and rounds of each thread."""

    wall_ns: int
    cpu_ns: int
    rounds: list[int]


def _count() -> None:
    n = 20_000
    while n:
        n -= 1


def _counting(threads: int) -> list[Step]:
    return [_count] * threads


def _round_trip() -> None:
    time.sleep(0.0003)  # stands for a device or a peer that answers in 0.3 ms


def _convoy() -> list[Step]:
    return [_count, _round_trip]


def _compressing(threads: int) -> list[Step]:
    block = random.Random(1).randbytes(1 << 15) + bytes(1 << 15)
    return [lambda: zlib.compress(block)] * threads


def _writing(threads: int) -> list[Step]:
    file = os.open(os.devnull, os.O_WRONLY)

    def write() -> None:
        put, one = os.write, b"x"
        for _ in range(1000):
            put(file, one)

    return [write] * threads


def _holding() -> list[Step]:
    keep = ctypes.PyDLL(None).usleep

    def hold() -> None:
        keep(8_000)
        time.sleep(0.012)

    return [hold, _count]


def _mixed() -> list[Step]:
    return [*_writing(2), _count, _round_trip]


WORKLOADS: dict[str, Workload] = {
    "two threads counting": Workload(lambda: _counting(2), (350, 350)),
    "convoy": Workload(_convoy, (FREE, 100)),
    "four threads compressing": Workload(lambda: _compressing(4), (600,) * 4),
    "one thread writing": Workload(lambda: _writing(1), (1000,)),
    "two threads writing": Workload(lambda: _writing(2), (500, 500)),
    "four threads writing": Workload(lambda: _writing(4), (250,) * 4),
    "C calls that hold": Workload(_holding, (30, FREE)),
    "mixed": Workload(_mixed, (200, 200, FREE, 50)),
}


def run_fixed(name: str, scale: float = 1.0) -> Done:
    """Run a workload's fixed work, times ``scale``, and wait for its threads."""
    workload = WORKLOADS[name]
    rounds = [r if r == FREE else max(round(r * scale), 1) for r in workload.rounds]
    return _run(workload.steps(), rounds, None)


def run_for(name: str, seconds: float) -> Done:
    """Run a workload for a time, and wait for its threads."""
    steps = WORKLOADS[name].steps()
    return _run(steps, [FREE] * len(steps), seconds)


def _run(steps: list[Step], rounds: list[int], seconds: float | None) -> Done:
    done = [0] * len(steps)
    stop: list[bool] = []

    def work(i: int) -> None:
        step, most, n = steps[i], rounds[i], 0
        while n != most and not stop:
            step()
            n += 1
        done[i] = n

    threads = [threading.Thread(target=work, args=(i,), name=f"worker {i}") for i in range(len(steps))]
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    for thread in threads:
        thread.start()
    if seconds is not None:
        time.sleep(seconds)
        stop.append(True)
    for thread, most in zip(threads, rounds, strict=True):
        if most != FREE:
            thread.join()
    stop.append(True)
    for thread in threads:
        thread.join()
    return Done(time.perf_counter_ns() - wall, time.process_time_ns() - cpu, done)
