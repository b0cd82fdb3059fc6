"""For any trace, a timeline has exactly the events that its tables describe."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gilscope import viztracer
from gilscope.tables.stored import Tables
from gilscope.viztracer import export
from tests.support.drawn import timelines
from tests.support.drawn.marks import marked_traces
from tests.support.drawn.rows import Mark, Trace
from tests.support.drawn.timelines import PID, ZERO_NS
from tests.support.drawn.traces import (
    calm,
    fold_with_holes,
    history,
    of_gils,
    round_robin,
    sampled,
)
from tests.support.oracles.timeline import Twin

pytestmark = pytest.mark.extremes


def placed(trace: Trace, **metadata) -> Tables:
    return trace.recording(pid=PID, start_monotonic_ns=ZERO_NS, **metadata)


def written(recording: Tables, **how) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "run.json")
        export(recording, target, **how)
        return target.read_bytes()


def agree(text: bytes, twin: Twin, *, arrows: bool = True) -> None:
    assert timelines.lane_names(text) == twin.names()
    assert timelines.in_order(timelines.whole_events(text)) == timelines.in_order(twin.events(arrows=arrows))


@calm
@given(marked_traces(), st.integers(0, 5000))
def test_all_events_of_a_whole_trace(trace, number):
    recording = placed(trace, trace_number=number)
    agree(written(recording), Twin(recording, 0, trace.duration))


@calm
@given(marked_traces(), st.data())
def test_all_events_of_a_window(trace, data):
    times = data.draw(st.tuples(*[st.integers(0, trace.duration) | st.sampled_from(edges(trace))] * 2))
    start, end = min(times), max(times)
    if start == end:
        start, end = 0, max(trace.duration, 1)
    recording = placed(trace)
    if trace.duration:
        text = written(recording, window=(start / 1e9, end / 1e9))
        agree(text, Twin(recording, start, min(end, trace.duration)))


def edges(trace: Trace) -> list[int]:
    """Return the times at which an interval or a region begins or ends."""
    rows = [*trace.intervals, *(m for m in trace.marks if m.duration_ns is not None)]
    ends = {row.start_ns + row.duration_ns for row in rows}
    return sorted({0, trace.duration} | {row.start_ns for row in rows} | ends)


@calm
@given(marked_traces(), st.booleans())
def test_events_of_sampled_edges_have_no_unknown_values(trace, flows):
    recording = placed(sampled(trace))
    text = written(recording, flows=flows)
    agree(text, Twin(recording, 0, trace.duration), arrows=flows)
    assert b"gap_ns" not in text
    assert b"release" not in text


def test_all_events_in_small_steps(monkeypatch):
    monkeypatch.setattr(viztracer.jsontext, "ROWS_PER_STEP", 2)
    marks = [Mark(n % 3, "f", n, 10 - n % 4 if n % 2 else None) for n in range(9)]
    recording = placed(round_robin(3, 4).but(marks=marks))
    agree(written(recording), Twin(recording, 0, recording.metadata["duration_ns"]))


def test_a_slice_of_length_zero_comes_before_another_that_begins_with_it():
    steps = [("acquire", 0, 2), ("release", 0, 2), ("request", 0, 2), ("acquire", 0, 5)]
    trace = of_gils([fold_with_holes(history(*steps), 9)], 9)
    assert [(i.state, i.start_ns, i.duration_ns) for i in trace.intervals] == [
        ("wait", 2, 3),
        ("run", 2, 0),
        ("run", 5, 4),
    ]
    recording = placed(trace)
    agree(written(recording), Twin(recording, 0, 9))


def test_a_mark_of_an_unknown_thread_is_on_the_holders_lane():
    recording = placed(round_robin(2, 1).but(marks=[Mark(7, "here", 5)]))
    agree(written(recording), Twin(recording, 0, recording.metadata["duration_ns"]))


@pytest.mark.parametrize("most", [1, 2, 3, 7, 50])
def test_too_many_points_are_reduced_to_the_maximum_of_each_stretch(monkeypatch, most):
    monkeypatch.setattr(viztracer.events, "_MOST_POINTS", most)
    recording = placed(round_robin(4, 9))
    twin = Twin(recording, 0, recording.metadata["duration_ns"])
    exact = [(e["ts"], e["args"]["waiters"]) for e in twin.waiters()]
    found = [
        (e["ts"], e["args"]["waiters"])
        for e in timelines.whole_events(written(recording))
        if e["ph"] == "C" and "waiters" in e["args"]
    ]
    assert len(found) <= most + 1
    assert found[0][0] == exact[0][0]
    assert found[-1] == exact[-1], "the viewer extends the last one"
    ends = [time for time, _ in found[1:]] + [exact[-1][0] + 1]
    for (time, count), end in zip(found, ends, strict=True):
        assert count == max(n for t, n in exact if time <= t < end)
