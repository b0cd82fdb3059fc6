"""Invariants that the viewer needs, checked on its own times: doubles of microseconds."""

import itertools
import json
import math
import re
import tempfile
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gilscope.viztracer import FIRST_TID
from tests.support.drawn.marks import marked_traces, names
from tests.support.drawn.rows import Mark, Trace
from tests.support.drawn.timelines import PID, written
from tests.support.drawn.traces import MS, calm, round_robin

pytestmark = pytest.mark.extremes

DAY_NS = 86_400 * 10**9
FUNCTION = re.compile(r".*\((.*):([0-9]*)\)")  # the names that VizTracer reads as functions

days_up = st.sampled_from([0, 1, 101, 102, 103, 150, 400, 4000, 40_000])


def viewed(trace: Trace, start_ns: int, **metadata) -> list[dict]:
    """Return a timeline's events with the times that the viewer computes."""
    recording = trace.recording(**{"pid": PID, "start_monotonic_ns": start_ns} | metadata)
    with tempfile.TemporaryDirectory() as folder:
        events = json.loads(written(recording, Path(folder, "run.json")))["traceEvents"]
    for event in events:
        if "ts" in event:
            event["start"] = round(event["ts"] * 1000.0)
            event["end"] = event["start"] + round(event.get("dur", 0) * 1000.0)
    return events


def by_lane(events: list[dict], kind: str) -> dict[tuple[int, int], list[dict]]:
    lanes = defaultdict(list)
    for event in events:
        if event["ph"] == kind:
            lanes[event["pid"], event["tid"]].append(event)
    return lanes


@calm
@given(marked_traces(), days_up, st.integers(0, 10**9))
def test_no_slice_crosses_the_end_of_another(trace, days, ns):
    for lane in by_lane(viewed(trace, days * DAY_NS + ns), "X").values():
        nested = any("complete" in event["args"] for event in lane)
        on: list[int] = []
        for event in sorted(lane, key=lambda e: (e["start"], -e["end"])):
            while on and on[-1] <= event["start"]:
                on.pop()
            # The viewer draws a slice of length zero inside another that begins with it.
            instant = event["start"] == event["end"]
            assert not on or ((nested or instant) and event["end"] <= on[-1])
            on.append(event["end"])


@calm
@given(marked_traces(), st.integers(0, 101 * DAY_NS))
def test_arrows_begin_and_end_inside_of_runs(trace, start_ns):
    assert_arrows(viewed(trace, start_ns))


@pytest.mark.parametrize("days", [0, 101, 102, 103, 150, 400, 4000, 40_000])
def test_arrows_of_the_shortest_runs_that_the_viewer_can_show(days):
    for begin in range(0, 10**6, 99_991):
        start_ns = days * DAY_NS + begin
        # Times are rounded to a double of microseconds, and then to one of nanoseconds.
        step = 1 if days <= 101 else math.ceil(1000 * math.ulp(start_ns / 1000) + math.ulp(float(start_ns)))
        for hold in (step, step + 1, 2 * step - 1, 2 * step, 5 * step + 1):
            events = viewed(round_robin(3, 4, hold=hold, gap=begin % 3), start_ns)
            assert len(assert_arrows(events)) == 12


def assert_arrows(events: list[dict]) -> dict:
    """Assert that arrows go from the end of a run to the beginning of another thread's; return them."""
    runs = by_lane([e for e in events if e.get("cat") == "run"], "X")
    ends = {kind: {e["id"]: e for e in events if e["ph"] == kind} for kind in "sf"}
    assert ends["s"].keys() == ends["f"].keys()
    assert sum(e["ph"] in ("s", "f") for e in events) == 2 * len(ends["s"]), "ids are unique"
    for number, tail in ends["s"].items():
        head = ends["f"][number]
        assert 0 < number < 1 << 63
        assert tail["start"] <= head["start"]
        left, got = (enclosing(runs[e["pid"], e["tid"]], e["start"]) for e in (tail, head))
        assert left["args"]["to"]
        assert got["args"]["from"]
        assert left["end"] <= got["start"]
    return ends["s"]


def enclosing(runs: list[dict], time: int) -> dict:
    """Return the run that contains a time, its end excluded; one that lasts, if there is one."""
    found = [r for r in runs if r["start"] <= time < r["end"] or r["start"] == time == r["end"]]
    lasting = [r for r in found if r["end"] > r["start"]]
    return (lasting or found)[0]


@calm
@given(marked_traces(), st.sampled_from([0, 1, 7, 2999, 3000, 10**9]))
def test_tids_are_those_of_no_thread_and_every_lane_has_a_name(trace, number):
    events = viewed(trace, 0, trace_number=number)
    named = [e["tid"] for e in events if e["name"] == "thread_name"]
    assert len(named) == len(set(named))
    assert named == sorted(named), "the viewer shows lanes in this order"
    assert all(1 << 24 < FIRST_TID <= tid < 1 << 32 for tid in named)
    assert {e["tid"] for e in events if e["ph"] in "Xisf"} <= set(named)


def test_traces_of_a_process_share_no_lane_and_no_arrow():
    trace = round_robin(3, 4).but(marks=[Mark(1, "f", 0, MS), Mark(2, "g", 5)])
    seen = [viewed(trace, 0, trace_number=n) for n in (0, 1, 2, 17, 2998, 2999)]
    for key, kinds in (("tid", "X"), ("id", "s")):
        found = [{e[key] for e in events if e["ph"] in kinds} for events in seen]
        assert all(not a & b for a, b in itertools.combinations(found, 2))


def test_processes_share_no_arrow():
    found = [
        {e["id"] for e in viewed(round_robin(3, 4), 0, pid=pid, trace_number=n) if e["ph"] == "s"}
        for pid in (1, 2, 4301, 4302, (1 << 22) - 1)
        for n in (0, 1, 2999)
    ]
    assert all(not a & b for a, b in itertools.combinations(found, 2))


@calm
@given(names, names)
def test_no_slice_looks_like_a_function_to_viztracer(of_thread, of_region):
    trace = round_robin(2, 1).but(marks=[Mark(0, of_region, 1, 5), Mark(0, of_thread, 9, 5)])
    trace = trace.but(threads=[t._replace(name=of_thread) for t in trace.threads])
    assert not [e for e in viewed(trace, 0) if e["ph"] == "X" and FUNCTION.match(e["name"])]
