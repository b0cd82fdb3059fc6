"""Calls that keep the GIL are named with their lines, and what they inflict is what the tables say."""

import ctypes
import json
import pickle
import random
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

import gilscope
from gilscope import analysis
from tests.support.processes.programs import HOLDING
from tests.support.stacks import here, stack

pytestmark = pytest.mark.clock


def offender_match() -> object:
    return re.match(r"(a+)+$", "a" * 23 + "b")  # HERE


def offender_json() -> object:
    return json.dumps(TEXTS)  # HERE


def offender_sort() -> object:
    return sorted(NUMBERS)  # HERE


def offender_sleep() -> object:
    return HOLDING.usleep(200_000)  # HERE


def offender_pickle() -> object:
    return pickle.dumps(NUMBERS * 8)  # HERE


def offender_power() -> object:
    # An operator looks at no drop request: the GIL is let go when this function has returned.
    return 7**POWER  # HERE


def offender_join() -> object:
    return "".join(WORDS)  # HERE


def offender_sum() -> object:
    return sum(range(20_000_000))  # HERE


def offender_extension() -> object:
    return HOLDING.qsort(STRINGS, len(STRINGS) // 8, 8, BY_TEXT)  # HERE


def offender_loop() -> None:
    for i in range(20_000_000, -1, -1): i or time.sleep(0)  # noqa: E701  # HERE  # fmt: skip


RANDOM = random.Random(7)
NUMBERS = [RANDOM.random() for _ in range(1_000_000)]
TEXTS = ["fifty million letters: twenty-five of them, in each"] * 2_000_000
WORDS = [str(i) for i in range(1000)] * 20_000
POWER = 1_000_000
STRINGS = ctypes.create_string_buffer(b"".join(b"%07d\0" % RANDOM.randrange(10**7) for _ in range(1_500_000)))
BY_TEXT = ctypes.cast(ctypes.CDLL(None).strcmp, ctypes.c_void_p)
CALM = 0.02
MOST_ROUNDS = 10
OFFENDERS = [
    offender_match,
    offender_json,
    offender_sort,
    offender_sleep,
    offender_pickle,
    offender_power,
    offender_join,
    offender_sum,
    offender_extension,
    offender_loop,
]


@dataclass
class Seen:
    """What the program's own clock says, beside what was recorded.

    Args:
        trace: a run of all offenders, three rounds or more, beside a thread that wants the GIL all the time.
        calls: of each offender, when it was called and when it returned.
        gaps: from when to when that thread did not run, all that were longer than a millisecond.
        no_processor: nanoseconds in which it could have run and no processor took it up, about each call.
    """

    trace: gilscope.Trace
    calls: dict[str, list[tuple[int, int]]]
    gaps: list[tuple[int, int]]
    no_processor: dict[str, list[int]]

    def truth(self, name: str) -> list[int]:
        """Return how long the thread did not run during each call of an offender, in nanoseconds."""
        return [overlap([call], self.gaps) for call in self.calls[name]]

    def calm(self, name: str) -> list[bool]:
        """Return of each call whether the kernel says that only the GIL kept the thread from running."""
        pairs = zip(self.no_processor[name], self.truth(name), strict=True)
        return [no_processor <= CALM * truth for no_processor, truth in pairs]


def overlap(these: list[tuple[int, int]], those: list[tuple[int, int]]) -> int:
    return sum(max(0, min(a[1], b[1]) - max(a[0], b[0])) for a in these for b in those)


def waited_for_a_processor(thread: threading.Thread) -> int:
    """Nanoseconds of its life, as the kernel counts them (proc(5), schedstat)."""
    return int(Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text().split()[1])


@pytest.fixture(scope="module")
def seen():
    stop = threading.Event()

    def victim(gaps: list[tuple[int, int]]):
        last = time.monotonic_ns()
        while not stop.is_set():
            now = time.monotonic_ns()
            if now - last > 1_000_000:
                gaps.append((last, now))
            last = now

    # Turns so long that the pause between two, in which the GIL is free, is next to nothing. A call shorter
    # than a turn gets no drop request: all offenders take several.
    with gilscope.trace(None, switch_interval=0.02) as t:
        seen = Seen(t, {o.__name__: [] for o in OFFENDERS}, [], {o.__name__: [] for o in OFFENDERS})
        thread = threading.Thread(target=victim, name="victim", args=(seen.gaps,))
        thread.start()
        for finished in range(1, MOST_ROUNDS + 1):
            for offender in OFFENDERS:
                observe(offender, thread, seen)
            if finished >= 3 and all(any(seen.calm(name)) for name in seen.calls):
                break
        stop.set()
        thread.join()
    return seen


def observe(offender, thread: threading.Thread, seen: Seen) -> None:
    before = waited_for_a_processor(thread)
    time.sleep(0.001)  # what came before is another hold
    begin = time.monotonic_ns()
    result = offender()
    seen.calls[offender.__name__].append((begin, time.monotonic_ns()))
    seen.no_processor[offender.__name__].append(waited_for_a_processor(thread) - before)
    del result  # freeing it takes time too


@pytest.mark.parametrize("offender", OFFENDERS)
def test_offenders_are_named_with_their_lines_and_what_they_inflict(seen, offender):
    found = analysis.sites(seen.trace, frame="program")
    rows = found[(found.file == __file__) & (found.line == here(offender))]
    assert len(rows), found[["function", "line", "held_ns"]].to_string()
    (row,) = rows.to_dict("records")
    holds, waits = of_tables(seen.trace, offender.__qualname__)
    assert row["inflicted_ns"] == overlap(holds, waits)

    name = offender.__name__
    inflicted = [overlap(within(holds, call), waits) for call in seen.calls[name]]
    truth, calm = seen.truth(name), seen.calm(name)
    assert min(truth) > 20_000_000
    for recorded, true in zip(inflicted, truth, strict=True):
        assert recorded <= true * 1.02, "a thread that waits does not run"
    assert any(calm), f"the machine was too busy: the kernel calls none of {len(calm)} calls calm"
    # A host takes processors away unseen by the kernel, so not every calm call is.
    errors = [abs(a - b) / b for a, b, c in zip(inflicted, truth, calm, strict=True) if c]
    assert min(errors) <= 0.02, errors


def within(spans: list[tuple[int, int]], window: tuple[int, int]) -> list[tuple[int, int]]:
    return [(max(a, window[0]), min(b, window[1])) for a, b in spans]


def of_tables(t: gilscope.Trace, function: str) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return all holds of a function of this file, and all waits, on the program's clock."""
    start = t.metadata["start_monotonic_ns"]
    holds, waits = [], []
    for r in t.intervals.to_pylist():
        span = start + r["start_ns"], start + r["start_ns"] + r["duration_ns"]
        if r["state"] == "wait":
            waits.append(span)
        elif r["site"] is not None and function in functions(t, r["site"]):
            holds.append(span)
    return holds, waits


def functions(t: gilscope.Trace, site: int) -> list[str]:
    """Return the innermost function of this file, if any."""
    return [f[0] for f in stack(t, site) if f[1] == __file__][:1]


def test_the_report_names_the_line_that_keeps_the_gil(tmp_path: Path):
    stop = threading.Event()

    def victim():
        while not stop.is_set():
            time.sleep(0)

    with gilscope.trace(None) as t:
        thread = threading.Thread(target=victim)
        thread.start()
        offender_sleep()
        stop.set()
        thread.join()

    (row,) = analysis.keeps_gil(t).to_dict("records")
    assert (row["function"], row["file"], row["line"]) == ("offender_sleep", __file__, here(offender_sleep))
    assert row["longest_ns"] > 90_000_000
    text = t.report()
    assert "(in offender_sleep (" in " ".join(text.split())
    line = f"{Path(__file__).name}:{here(offender_sleep)} offender_sleep"
    (line_of_it,) = [row for row in text.splitlines() if row.startswith(line)]
    assert "Thread-" in line_of_it, "on whom"
    first = json.loads(t.report(format="json"))["sites"][0]
    assert (first["function"], first["line"]) == ("offender_sleep", here(offender_sleep))
    assert first["inflicted_ns"] > 90_000_000
