"""The documented columns and types are there, in empty answers, too."""

import re

import numpy as np
import pandas as pd
import pytest

from gilscope import analysis
from tests.support.analysed import each_helper
from tests.support.drawn.rows import Trace
from tests.support.drawn.traces import (
    MS,
    round_robin,
    sampled,
)

pytestmark = pytest.mark.extremes

LOW_HIGH = ("", "_low", "_high")
_OVERHEAD = [f"{w}_{u}" for w in ("held", "free", "overhead") for u in ("ns", "share")]
_COUNTS = ["wall_ns", "handoffs", "forced", "steals", "handoffs_per_s", "mean_waiters"]
_COUNTS += [f"gap_{q}_ns" for q in ("p50", "p90", "p99", "max")]
_THREAD = [f"{w}_{u}" for w in ("run", "wait", "off") for u in ("ns", "share")]
_THREAD_COUNTS = ["thread", "thread_name", "life_ns", "acquires", "waits", "forced", "longest_ns", "cpu_ns"]
_THREAD_COUNTS += [f"wait_{q}_ns" for q in ("p50", "p90", "p99", "max")]


@pytest.mark.parametrize("edges", ["exact", "sampled"])
def test_the_documented_columns_are_there(edges, trace):
    if edges == "sampled":
        trace = sampled(trace)
    t = trace.recording()
    ends = LOW_HIGH if edges == "sampled" else ("",)
    estimated = [f"{c}{end}" for c in _OVERHEAD for end in ends]
    waiters = [f"mean_waiters{end}" for end in ends]

    def columns(frame):
        return sorted(map(str, frame.columns))

    assert columns(analysis.overhead(t)) == sorted({*_COUNTS, *estimated, *waiters, "lost_ns"})
    assert columns(analysis.overhead(t, by="interpreter")) == sorted(
        {*_COUNTS, *estimated, *waiters, "interpreter"}
    )
    held = [f"held_{unit}{end}" for unit in ("ns", "share") for end in ends]
    assert columns(analysis.overhead(t, by="thread")) == sorted(
        {*_COUNTS, *_OVERHEAD, *held, "thread", "thread_name"}
    )
    assert columns(analysis.overhead(t, by=0.01)) == sorted({*_COUNTS, *estimated, *waiters, "start_ns"})
    assert columns(analysis.threads(t)) == sorted(
        [*_THREAD_COUNTS, *(f"{c}{end}" for c in [*_THREAD, "slowdown"] for end in ends)]
    )
    holders = [f"{c}{end}" for c in (0, 1, 2, "free") for end in ends]
    assert columns(analysis.blame(t)) == sorted(holders)
    shares = [f"{w}_share{end}" for w in ("held", "overhead") for end in ends]
    windows = ["start_ns", "wall_ns", "handoffs_per_s", *(f"waiters{end}" for end in ends)]
    per_thread = [f"{w}_share_{i}{end}" for w in ("run", "wait") for i in range(3) for end in ends]
    assert columns(analysis.timeline(t)) == sorted([*shares, *windows, *per_thread])
    assert columns(analysis.fairness(t)) == sorted(
        ["start_ns", "threads", *(f"fairness{end}" for end in ends)]
    )
    assert list(analysis.convoys(t)) == [
        *("thread", "thread_name", "holder", "holder_name", "start_ns", "end_ns"),
        *("rounds", "mean_wait_ns", "lost_ns", "idle_ns"),
    ]
    assert list(analysis.findings(t)) == ["kind", "severity", "lost_ns", "what", "advice", "evidence"]


def test_columns_have_the_documented_types(trace):
    t = trace.recording()
    threads, o, holds = analysis.threads(t), analysis.overhead(t), analysis.holds(t)

    assert all(threads[c].dtype == np.int64 for c in ("thread", "life_ns", "run_ns", "wait_ns", "off_ns"))
    assert all(threads[c].dtype == "Int64" for c in ("acquires", "waits", "forced", "longest_ns", "cpu_ns"))
    assert all(o[c].dtype == np.int64 for c in ("wall_ns", "held_ns", "free_ns", "overhead_ns", "lost_ns"))
    assert all(o[c].dtype == "Int64" for c in ("handoffs", "forced", "steals"))
    assert all(o[c].dtype == np.float64 for c in ("held_share", "handoffs_per_s", "gap_max_ns"))
    assert all(holds[c].dtype == np.int64 for c in ("start_ns", "duration_ns", "waiters", "inflicted_ns"))
    assert holds["overrun_ns"].dtype == "Int64"
    assert all(isinstance(holds[c].dtype, pd.CategoricalDtype) for c in ("thread_name", "release"))
    assert (analysis.blame(t).dtypes == np.int64).all()
    assert all(analysis.handoffs(t)[c].dtype == "Int64" for c in ("patience_ns", "response_ns", "wait_ns"))


@pytest.mark.parametrize("edges", ["exact", "sampled"])
@each_helper
def test_empty_answers_have_the_columns_of_full_ones(helper, edges):
    full, empty = round_robin(3, 4), Trace(10 * MS)
    if edges == "sampled":
        full, empty = sampled(full), sampled(empty)
    of_threads = ("run_share_", "wait_share_")

    def columns(trace):
        names = map(str, helper(trace.recording()).columns)
        numbers = re.compile(r"_share_\d+")
        return [
            c for c in names if not (c.startswith(of_threads) and numbers.search(c)) and not c[0].isdigit()
        ]

    assert columns(empty) == columns(full)
