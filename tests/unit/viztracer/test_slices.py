"""Slices are exact to the nanosecond and never overlap, even after the viewer has rounded them."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gilscope import viztracer
from gilscope.viztracer import FIRST_TID, jsontext
from tests.support.drawn import timelines
from tests.support.drawn.timelines import PID, ROWS, ZERO_NS, Row, written

pytestmark = pytest.mark.extremes


def test_every_interval_is_a_slice_exact_to_the_nanosecond(target: Path) -> None:
    text = written(timelines.recording(ROWS, ["MainThread", "worker-0"]), target)
    assert sorted(timelines.slices(text), key=str) == sorted(ROWS, key=str)


def test_all_keys_of_a_slice(target: Path) -> None:
    events = timelines.events(written(timelines.recording([(3, "run", 1, 2_000_030, "forced")]), target))
    event = next(e for e in events if e["ph"] == "X" and e["tid"] != FIRST_TID)
    assert {**event, "ts": str(event["ts"]), "dur": str(event["dur"])} == {
        "ts": "86400000000.124",
        "dur": "2000.030",
        "tid": FIRST_TID + 2,
        "pid": PID,
        "ph": "X",
        "cat": "run",
        "name": "run",
        "args": {"thread": 3, "release": "forced"},
    }


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5),
            st.sampled_from(["run", "wait"]),
            st.integers(0, 10**10),
            st.integers(0, 10**10),
        ),
        max_size=40,
    ),
    st.integers(1, 7),
)
def test_lanes_add_up_to_the_tables(
    tmp_path_factory: pytest.TempPathFactory, steps: list, batch: int
) -> None:
    clock = dict.fromkeys(range(6), 0)
    rows: list[Row] = []
    for thread, state, pause, duration in steps:
        rows.append((thread, state, clock[thread] + pause, duration, "forced" if state == "run" else None))
        clock[thread] += pause + duration
    target = tmp_path_factory.mktemp("lanes") / "run.json"
    found = timelines.slices(written(timelines.recording(rows, batch=batch), target))
    assert timelines.totals(found) == timelines.totals(rows)
    assert sorted(found, key=str) == sorted(rows, key=str)


def as_viewed(text: bytes) -> list[tuple[int, int]]:
    """Return starts and ends in ns as the viewer computes them, from doubles of microseconds."""
    events = [e for e in json.loads(text)["traceEvents"] if e["ph"] == "X" and e["tid"] > FIRST_TID]
    starts = [round(event["ts"] * 1000.0) for event in events]
    return [
        (start, start + round(event["dur"] * 1000.0)) for start, event in zip(starts, events, strict=True)
    ]


@pytest.mark.parametrize("days", [1, 101, 102, 103, 105, 150, 400, 4000, 40_000])
def test_slices_touch_in_the_viewer_however_long_the_host_is_up(target: Path, days: int) -> None:
    zero_ns = days * 86_400 * 10**9 + 1
    lengths = [1 + n * n % 1009 for n in range(5000)]
    starts = list(itertools.accumulate(lengths, initial=0))
    rows: list[Row] = [(0, "run", start, ns, None) for start, ns in zip(starts, lengths, strict=False)]
    text = written(timelines.recording(rows, start_monotonic_ns=zero_ns), target)
    seen = as_viewed(text)
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(seen))
    found = timelines.slices(text)
    assert [start + ZERO_NS - zero_ns for _, _, start, _, _ in found] == starts[:-1], "starts stay exact"
    wrong = [abs(found[n][3] - lengths[n]) for n in range(5000)]
    # Each edge is rounded to a double of microseconds, then of nanoseconds, each time by half a step at most.
    micros_step, step = math.ulp(zero_ns / 1000) * 1000, math.ulp(float(zero_ns))
    assert max(wrong) <= (0 if days <= 101 else micros_step + step)


OVERLAPPING: list[Row] = [
    (0, "run", 0, 100, "forced"),
    (0, "wait", 99, 51, None),
    (0, "run", 120, 10, "voluntary"),
    (0, "wait", 140, 10, None),
    (1, "run", 120, 10, "open"),
    (0, "run", 149, 100, "open"),
]


CLIPPED: list[Row] = [
    (0, "run", 0, 100, "forced"),
    (0, "wait", 100, 50, None),
    (0, "run", 150, 0, "voluntary"),
    (0, "wait", 150, 0, None),
    (1, "run", 120, 10, "open"),
    (0, "run", 150, 99, "open"),
]


@pytest.mark.parametrize("batch", [1, 2, 3, None])
def test_overlaps_are_clipped_within_and_across_batches(target: Path, batch: int | None) -> None:
    text = written(timelines.recording(OVERLAPPING, batch=batch), target)
    assert sorted(timelines.slices(text), key=str) == sorted(CLIPPED, key=str)


def test_overlaps_are_clipped_across_steps_of_one_batch(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viztracer.jsontext, "ROWS_PER_STEP", 2)
    text = written(timelines.recording(OVERLAPPING), target)
    assert sorted(timelines.slices(text), key=str) == sorted(CLIPPED, key=str)


@given(
    st.integers(-(1 << 40), 1 << 40), st.lists(st.integers(0, 3000) | st.integers(0, 1 << 41), max_size=60)
)
def test_distinct_numbers_are_those_of_a_sort(least: int, steps: list[int]) -> None:
    values = np.array([least + step for step in steps], np.int64)
    few, index = jsontext.distinct(values)
    assert few.tolist() == sorted({*values.tolist()})
    assert few[index].tolist() == values.tolist()
