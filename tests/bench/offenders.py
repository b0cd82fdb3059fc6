"""Ten calls that keep the GIL, beside a thread that wants it all the time and measures what it waits.

A program of its own, of the standard library only: ``python offenders.py OUT.json ROUNDS``. It writes what
its own clock says, whichever tool looks at it meanwhile.
"""

from __future__ import annotations

import ctypes
import json
import pickle
import random
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

Span = tuple[int, int]

_LEAST_GAP_NS = 1_000_000
DATA = SimpleNamespace()
"""What the calls work on; see `prepare`."""


def prepare() -> None:
    """Make what the calls work on."""
    DATA.base = 7
    DATA.few = [123_456_789] * 4_600_000
    DATA.texts = [str(i) for i in range(1_000_000)]
    DATA.shuffled = random.Random(7).sample(range(10_000_000), 1_000_000)
    DATA.numbers = []
    DATA.libc, DATA.zlib = ctypes.PyDLL(None), ctypes.PyDLL("libz.so.1")
    DATA.raw = " ".join(DATA.texts).encode()
    DATA.size = ctypes.c_ulong(2 * len(DATA.raw))
    DATA.packed = ctypes.create_string_buffer(DATA.size.value)


def match() -> None:
    re.match(r"(a+)+$", "a" * 24 + "b")


def dumps() -> None:
    json.dumps(DATA.few)


def sort() -> None:
    DATA.numbers.sort()


def usleep() -> None:
    DATA.libc.usleep(500_000)


def pickled() -> None:
    pickle.dumps(DATA.texts)


def power() -> None:
    DATA.base**1_500_000


def join() -> None:
    "".join(DATA.texts * 15)


def total() -> None:
    sum(range(30_000_000))


def compress() -> None:
    DATA.zlib.compress(DATA.packed, ctypes.byref(DATA.size), DATA.raw, ctypes.c_ulong(len(DATA.raw)))


def loop() -> None:
    for _ in range(20_000_000):
        pass


OFFENDERS: dict[str, Callable[[], None]] = {
    "re.match, catastrophic": match,
    "json.dumps, 50 MB": dumps,
    "list.sort, a million": sort,
    "usleep by PyDLL": usleep,
    "pickle.dumps": pickled,
    "7 ** 1_500_000": power,
    "str.join": join,
    "sum(range())": total,
    "zlib's compress by PyDLL": compress,
    "a loop in Python": loop,
}


def by_line() -> dict[int, str]:
    """Return which offender each line of this file belongs to."""
    lines = {}
    for name, offender in OFFENDERS.items():
        code = offender.__code__
        lines |= {line: name for *_, line in code.co_lines() if line and line != code.co_firstlineno}
    return lines


def within(gaps: Sequence[Span], window: Span) -> int:
    """Return how much of a window gaps cover."""
    return sum(max(0, min(end, window[1]) - max(begin, window[0])) for begin, end in gaps)


def main(rounds: int) -> dict[str, Any]:
    """Call each offender so often.

    Returns:
        How long the victim waited for each, and how long it all took, in nanoseconds. The victim wants the
        GIL all the time: what it waits is what the offender held it.
    """
    now, gaps, done = time.monotonic_ns, list[Span](), threading.Event()
    windows: dict[str, list[Span]] = {name: [] for name in OFFENDERS}

    def victim() -> None:
        last = now()
        while not done.is_set():
            read = now()
            if read - last > _LEAST_GAP_NS:
                gaps.append((last, read))
            last = read

    prepare()
    thread = threading.Thread(target=victim, name="victim")
    thread.start()
    begun = now()
    for _ in range(rounds):
        for name, offender in OFFENDERS.items():
            DATA.numbers[:] = DATA.shuffled
            time.sleep(0.02)  # lets the GIL go: with the next hold begins what is measured
            begin = now()
            offender()
            windows[name].append((begin, now()))
    wall_ns = now() - begun
    done.set()
    thread.join()
    waited = {name: sum(within(gaps, window) for window in spans) for name, spans in windows.items()}
    return {"waited_ns": waited, "wall_ns": wall_ns}


if __name__ == "__main__":
    answer = main(int(sys.argv[2]))
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(answer, file)
