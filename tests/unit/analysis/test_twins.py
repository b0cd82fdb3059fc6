"""Each helper agrees with its slow twin, whatever it is given."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gilscope import analysis
from gilscope.errors import OptionError
from tests.support.analysed import a_window, agree, each_helper, fitting, rows
from tests.support.drawn.rows import Handoff, Interval, Sample, SwitchInterval, Thread, Trace
from tests.support.drawn.traces import (
    MS,
    calm,
    convoy_like,
    fold_with_holes,
    of_gils,
    regions,
    round_robin,
    sampled,
    traces,
)
from tests.support.oracles import analysis as slow
from tests.support.oracles import spans as slowspans
from tests.support.oracles import switchinterval as slowswitch

pytestmark = pytest.mark.extremes


@calm
@given(traces())
def test_threads_agree_with_the_slow_twin(trace):
    agree(analysis.threads(trace.recording()), slow.threads(trace))


@calm
@given(traces().flatmap(regions))
def test_threads_within_regions_agree_with_the_slow_twin(trace):
    t = trace.recording()

    for name in {m.name for m in trace.marks if m.duration_ns is not None}:
        agree(analysis.threads(t, region=name), slow.threads_within(trace, name))


@calm
@given(traces())
def test_overhead_agrees_with_the_slow_twin(trace):
    t = trace.recording()

    agree(analysis.overhead(t), slow.overhead(trace))
    agree(analysis.overhead(t, by="thread"), slow.overhead(trace, "thread"))
    agree(analysis.overhead(t, by="interpreter"), slow.overhead(trace, "interpreter"))


@calm
@given(traces(), a_window)
def test_overhead_by_window_agrees_with_the_slow_twin(trace, window):
    window = fitting(window, trace)

    agree(analysis.overhead(trace.recording(), by=window), slow.overhead(trace, window))


@calm
@given(traces())
def test_handoffs_agree_with_the_slow_twin(trace):
    agree(analysis.handoffs(trace.recording()), slow.handoffs(trace))


@calm
@given(traces(), st.none() | st.sampled_from([0.0, 1e-9, 1e-6, 0.001, 0.005]))
def test_holds_agree_with_the_slow_twin(trace, over):
    agree(analysis.holds(trace.recording(), over=over), slow.holds(trace, over))


@calm
@given(traces())
def test_blame_agrees_with_the_slow_twin(trace):
    frame, expected = analysis.blame(trace.recording()), slow.blame(trace)

    assert frame.index.name == "waiter"
    assert frame.index.tolist() == sorted(expected)
    holders = {whom for row in expected.values() for whom in row if whom != "free"}
    assert frame.columns.tolist() == [*sorted(holders), "free"]
    found = {
        thread: {whom: ns for whom, ns in row.items() if ns} for thread, row in frame.to_dict("index").items()
    }
    assert found == expected


@calm
@given(traces())
def test_convoys_agree_with_the_slow_twin(trace):
    agree(analysis.convoys(trace.recording()), slow.convoys(trace))


@settings(calm, max_examples=200)
@given(
    convoy_like(),
    st.sampled_from([1000, MS, 5 * MS]),
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.1)), max_size=1),
)
def test_convoys_agree_with_the_slow_twin_around_every_threshold(events, interval, lost):
    end = events[-1][2]
    spans = [(round(at * end), min(round((at + length) * end), end)) for at, length in lost]
    trace = of_gils(
        [fold_with_holes(events, end, spans)],
        end,
        switch_intervals=[SwitchInterval(0, interval)],
        samples=[s for a, b in spans for s in (Sample(a), Sample(b, dropped=1))],
    )

    agree(analysis.convoys(trace.recording()), slow.convoys(trace))


@calm
@given(traces(), a_window)
def test_the_timeline_agrees_with_the_slow_twin(trace, window):
    window = fitting(window, trace)

    agree(analysis.timeline(trace.recording(), window), slow.timeline(trace, window))


@calm
@given(traces(), st.none() | a_window)
def test_fairness_agrees_with_the_slow_twin(trace, window):
    window = window and fitting(window, trace)

    agree(analysis.fairness(trace.recording(), window), slow.fairness(trace, window))


@calm
@given(traces(), st.lists(st.sampled_from([1e-6, 5e-5, 5e-4, 5e-3, 0.1]), max_size=3))
def test_switch_intervals_agree_with_the_slow_twin(trace, intervals):
    found = rows(analysis.switch_interval(trace.recording(), intervals))
    expected = slowswitch.switch_interval(trace, intervals)

    assert len(found) == len(expected)
    for mine, twin in zip(found, expected, strict=True):
        assert mine.keys() == twin.keys()
        for column, value in twin.items():
            # Sums of fractions of a nanosecond, added up in another order.
            assert mine[column] == pytest.approx(value, rel=1e-9, abs=1.01), column


@calm
@given(traces())
def test_the_row_of_the_interval_in_force_is_what_was_measured(trace):
    t = trace.recording()
    [row] = rows(analysis.switch_interval(t, []))
    known = sum(w.duration for g in slowspans.gils(trace) for w in slowspans.waits_of(trace, g) if w.whole)

    assert row["wait_ns"] == known
    assert row["saved_ns"] == 0
    assert row["voluntary_ns"] >= 0
    parts = ("patience_ns", "response_ns", "gap_ns", "voluntary_ns")
    assert sum(row[p] for p in parts) == known
    assert row["overhead_ns"] == analysis.overhead(t)["overhead_ns"].iloc[0]


@pytest.mark.parametrize("bad", [0, -1.0, math.nan, math.inf, "1ms", True, None])
def test_what_is_no_switch_interval_is_refused(bad, trace):
    with pytest.raises(OptionError, match="a switch interval is a number of seconds above zero"):
        analysis.switch_interval(trace.recording(), [bad])


def test_sampled_edges_say_nothing_of_switch_intervals(trace):
    frame = analysis.switch_interval(sampled(trace).recording())
    assert len(frame) == 0
    assert "saved_ns" in frame.columns


def test_a_thousand_threads_agree_with_the_slow_twin():
    trace = round_robin(1000, 1, hold=5 * MS)
    t = trace.recording()

    agree(analysis.threads(t), slow.threads(trace))
    agree(analysis.overhead(t), slow.overhead(trace))
    agree(analysis.overhead(t, by=1.0), slow.overhead(trace, 1.0))
    blame, expected = analysis.blame(t), slow.blame(trace)
    assert blame.shape == (1000, 1001)
    assert blame.sum(axis=1).to_dict() == {thread: sum(row.values()) for thread, row in expected.items()}
    found = blame.to_dict("index")  # a look at one cell of a DataFrame takes as long as a million at these
    assert all(found[thread][whom] == ns for thread, row in expected.items() for whom, ns in row.items())
    holds = analysis.holds(t)
    assert holds["inflicted_ns"].sum() == sum(
        ns for r in expected.values() for k, ns in r.items() if k != "free"
    )
    assert holds["waiters"].max() == 999
    assert len(analysis.timeline(t, 1.0).columns) == 6 + 2 * 1000
    assert analysis.fairness(t)["threads"].item() == 1000
    assert "saturated" in set(analysis.findings(t)["kind"])


@each_helper
def test_a_trace_without_threads_gives_empty_answers(helper):
    frame = helper(Trace(10 * MS).recording())

    assert isinstance(frame, pd.DataFrame)


@each_helper
def test_a_trace_of_no_length_can_be_asked_anything(helper):
    trace = Trace(
        0,
        threads=[Thread(0, "main", 0, 0)],
        intervals=[Interval(0, 0, "run", 0, 0, "voluntary"), Interval(1, 0, "run", 0, 0, "open")],
        handoffs=[Handoff(0, 0, 1, None, None, 0, 0, 0, False, 1)],
    )

    frame = helper(trace.recording())

    numbers = frame.select_dtypes("float")
    assert not np.isinf(numbers.to_numpy()).any()
