"""Time in which records were lost is left out of every figure."""

import pandas as pd
import pytest

from gilscope import analysis
from tests.support.drawn.rows import Handoff, Interval, Sample, Trace
from tests.support.drawn.traces import (
    MS,
    round_robin,
)

pytestmark = pytest.mark.extremes


def test_time_in_which_records_were_lost_is_left_out():
    trace = Trace(
        100,
        intervals=[
            Interval(0, 0, "run", 0, 10, "voluntary"),
            Interval(1, 0, "wait", 5, 25, None),
            Interval(0, 0, "run", 12, 13, "open"),
            Interval(0, 0, "run", 30, 0, "voluntary"),
            Interval(0, 0, "run", 35, 15, "voluntary"),
        ],
        handoffs=[Handoff(0, 0, 1, None, None, 28, 29, 1, False, 1)],
        samples=[Sample(20), Sample(40, dropped=3), Sample(60)],
    )
    t = trace.recording()
    o = analysis.overhead(t).iloc[0]

    assert (o.lost_ns, o.wall_ns, o.held_ns, o.free_ns, o.overhead_ns) == (20, 80, 28, 52, 2)
    assert o.handoffs == 0
    threads = analysis.threads(t).set_index("thread")
    assert threads.loc[0, "run_ns"] == 28
    assert threads.loc[0, "acquires"] == 3
    assert threads.loc[0, "longest_ns"] == 10
    assert threads.loc[1, "wait_ns"] == 15
    assert pd.isna(threads.loc[1, "wait_max_ns"])


def test_a_trace_all_of_which_was_lost_says_nothing():
    trace = round_robin(2, 3)
    trace = trace.but(samples=[Sample(trace.duration, dropped=1)])
    o = analysis.overhead(trace.recording()).iloc[0]

    assert (o.wall_ns, o.lost_ns) == (0, trace.duration)
    assert pd.isna(o.held_share)
    assert pd.isna(o.handoffs_per_s)


def test_windows_of_which_nothing_is_known_are_null():
    trace = round_robin(2, 5)
    trace = trace.but(samples=[Sample(2 * MS), Sample(5 * MS, dropped=1)])

    timeline = analysis.timeline(trace.recording(), 0.001)

    known = timeline.held_share.notna()
    assert known.tolist() == [i not in (2, 3, 4) for i in range(len(timeline))]
    assert timeline.loc[~known, "waiters"].isna().all()
    assert timeline.loc[~known, "run_share_0"].isna().all()
