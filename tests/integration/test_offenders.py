"""Calls that keep the GIL are named with their lines, and what they inflict is what the tables say."""

import ctypes
import json
import pickle
import re
import threading
import time
from pathlib import Path

import pytest

import gilscope
from gilscope import analysis
from tests.support.stacks import here, stack


def offender_match() -> None:
    re.match(r"(a+)+$", "a" * 22 + "b")  # HERE


def offender_sleep() -> None:
    ctypes.PyDLL(None).usleep(100_000)  # HERE


def offender_sort() -> None:
    NUMBERS.sort()  # HERE


def offender_pickle() -> None:
    pickle.loads(pickle.dumps(TEXTS))  # HERE


def offender_power() -> None:
    pow(7, 1 << 20)  # HERE


def offender_join() -> None:
    len("".join(TEXTS * 10))  # HERE


def offender_sum() -> None:
    sum(range(5_000_000))  # HERE


NUMBERS = [hash(str(i)) for i in range(300_000)]
TEXTS = [str(i) for i in range(300_000)]
OFFENDERS = [
    offender_match,
    offender_sleep,
    offender_sort,
    offender_pickle,
    offender_power,
    offender_join,
    offender_sum,
]


@pytest.mark.parametrize("offender", OFFENDERS)
def test_offenders_are_named_with_their_lines_and_what_they_inflict(offender):
    """A thread that wants the GIL all the time waits as long as the call keeps it."""
    stop = threading.Event()

    def victim():
        while not stop.is_set():
            pass

    with gilscope.trace(None) as t:
        thread = threading.Thread(target=victim)
        thread.start()
        time.sleep(0.01)
        for _ in range(3):
            offender()
        stop.set()
        thread.join()

    found = analysis.sites(t, frame="program")
    rows = found[(found.file == __file__) & (found.line == here(offender))]
    assert len(rows), found[["function", "line", "held_ns"]].to_string()
    (row,) = rows.to_dict("records")
    # What the victim waited during these holds, from the tables.
    expected = inflicted_from_tables(t, offender.__qualname__)
    assert row["inflicted_ns"] == expected > 0


def inflicted_from_tables(t: gilscope.Trace, function: str) -> int:
    rows = t.intervals.to_pylist()
    waits = [(r["start_ns"], r["start_ns"] + r["duration_ns"]) for r in rows if r["state"] == "wait"]
    total = 0
    for r in rows:
        if r["state"] != "run" or r["site"] is None:
            continue
        own = next((f for f in stack(t, r["site"]) if f[1] == __file__), None)
        if own is None or own[0] != function:
            continue
        begin, end = r["start_ns"], r["start_ns"] + r["duration_ns"]
        total += sum(max(0, min(end, b) - max(begin, a)) for a, b in waits)
    return total


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
    (told,) = [row for row in text.splitlines() if row.startswith(line)]
    assert "Thread-" in told, "on whom"
    first = json.loads(t.report(format="json"))["sites"][0]
    assert (first["function"], first["line"]) == ("offender_sleep", here(offender_sleep))
    assert first["inflicted_ns"] > 90_000_000
