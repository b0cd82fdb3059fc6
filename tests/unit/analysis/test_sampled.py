"""Estimates lie in their intervals; what sampling cannot measure is null."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gilscope import analysis
from tests.support.drawn.rows import Interval, Trace
from tests.support.drawn.traces import (
    MS,
    calm,
    round_robin,
    sampled,
    traces,
)
from tests.support.oracles import analysis as slow

pytestmark = pytest.mark.extremes

TIMES_AND_SHARES = ("held", "free", "overhead")


def inside(frame: pd.DataFrame, column: str) -> None:
    """Assert that a figure lies inside its interval wherever it is known."""
    low, value, high = (
        frame[f"{column}{end}"].to_numpy(float, na_value=math.nan) for end in ("_low", "", "_high")
    )
    known = ~np.isnan(value)
    assert (low[known] <= value[known]).all(), column
    assert (value[known] <= high[known]).all(), column
    assert (low[~np.isnan(low)] >= 0).all(), column


def null(frame: pd.DataFrame, *columns: str) -> None:
    for column in columns:
        assert frame[column].isna().all(), column


@calm
@given(traces(lossy=False), st.sampled_from([100_000, MS]), st.sampled_from([0, None, MS]))
def test_sampled_figures_lie_in_their_intervals_and_what_sampling_cannot_measure_is_null(trace, period, cpu):
    assume(trace.duration)
    period = max(period, trace.duration // 40)
    t = sampled(trace, period, sampler_cpu_ns=cpu).recording()
    gaps = [f"gap_{q}_ns" for q in ("p50", "p90", "p99", "max")]

    for frame in (analysis.overhead(t), analysis.overhead(t, by="interpreter")):
        for word in TIMES_AND_SHARES:
            inside(frame, f"{word}_ns")
            inside(frame, f"{word}_share")
            assert (frame[f"{word}_share_high"] <= 1).all()
        inside(frame, "mean_waiters")
        null(frame, "forced", "steals", *gaps)
    assert analysis.overhead(t)["handoffs"].item() == t.metadata["switches"]

    by_thread = analysis.overhead(t, by="thread")
    null(by_thread, "handoffs", "handoffs_per_s", "forced", "steals", "mean_waiters", *gaps)
    null(by_thread, "free_ns", "free_share", "overhead_ns", "overhead_share")
    inside(by_thread, "held_ns")
    inside(by_thread, "held_share")

    by_window = analysis.overhead(t, by=max(trace.duration / 7e9, 1e-9))
    for word in TIMES_AND_SHARES:
        inside(by_window, f"{word}_ns")
        inside(by_window, f"{word}_share")
    inside(by_window, "mean_waiters")
    null(by_window, "forced", "steals", *gaps)
    assert by_window["handoffs"].sum() == t.samples["switches"].to_numpy().sum()

    threads = analysis.threads(t)
    for word in ("run", "wait", "off"):
        inside(threads, f"{word}_ns")
        inside(threads, f"{word}_share")
    inside(threads, "slowdown")
    null(threads, "acquires", "waits", "forced", "longest_ns")
    null(threads, *(f"wait_{q}_ns" for q in ("p50", "p90", "p99", "max")))
    assert (threads.life_ns == trace.duration).all()
    assert (threads.run_ns + threads.wait_ns + threads.off_ns == threads.life_ns).all()

    blame = analysis.blame(t)
    for holder in [c for c in blame.columns if not str(c).endswith(("_low", "_high"))]:
        low, high = blame[f"{holder}_low"], blame[f"{holder}_high"]
        assert ((low <= blame[holder]) & (blame[holder] <= high)).all()
    assert {w: {k: ns for k, ns in r.items() if ns} for w, r in _exact_part(blame).items()} == slow.blame(
        trace
    )

    timeline = analysis.timeline(t, max(trace.duration / 7e9, 1e-9))
    inside(timeline, "held_share")
    inside(timeline, "overhead_share")
    inside(timeline, "waiters")
    for share in [c for c in timeline if str(c)[-1].isdigit()]:
        inside(timeline, share)

    whole = analysis.fairness(t)
    if whole["fairness"].notna().all():
        inside(whole, "fairness")

    handoffs = analysis.handoffs(t)
    null(
        handoffs, "request_ns", "drop_request_ns", "patience_ns", "response_ns", "wait_ns", "gap_ns", "forced"
    )
    null(analysis.holds(t), "release", "overrun_ns")
    assert not len(analysis.convoys(t))


def _exact_part(blame: pd.DataFrame) -> dict:
    return blame[[c for c in blame.columns if not str(c).endswith(("_low", "_high"))]].to_dict("index")


def test_the_half_width_is_that_of_batch_means_three_ticks_and_the_sampler():
    # Held in every other of 20 windows, 10 ms each.
    runs = [Interval(0, 0, "run", i * 20 * MS, 10 * MS, None) for i in range(10)]
    trace = Trace(200 * MS, intervals=runs, edges="sampled", ticks=200, sampler_cpu_ns=2 * MS)
    deviation = math.sqrt(sum((x - 0.5) ** 2 for x in [0, 1] * 10) / 19)
    half = 2.093 * deviation / math.sqrt(20) + 0.01

    row = analysis.overhead(trace.recording()).iloc[0]
    assert row.held_share_low == pytest.approx(0.5 - half, rel=1e-12)
    assert row.held_share_high == pytest.approx(0.5 + half, rel=1e-12)
    assert row.held_ns_high == pytest.approx((0.5 + half) * 200 * MS, rel=1e-12)
    assert row.overhead_share_high == pytest.approx(3 / 200 + 0.01, rel=1e-12)
    assert row.mean_waiters_high == pytest.approx(3 / 200 + 0.01, rel=1e-12)
    thread = analysis.threads(trace.recording()).iloc[0]
    assert thread.run_share_low == pytest.approx(0.5 - half, rel=1e-12)
    assert thread.wait_share_high == pytest.approx(3 / 200 + 0.01, rel=1e-12)


def test_the_interval_of_a_window_is_that_of_wilson_and_the_sampler():
    trace = sampled(
        Trace(20 * MS, intervals=[Interval(0, 0, "run", 0, 5 * MS, None)]), MS, sampler_cpu_ns=MS // 5
    )
    n, z = 10, 1.96
    middle = (0.5 + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(0.25 / n + z**2 / (4 * n**2)) + 0.01

    for frame in (analysis.overhead(trace.recording(), by=0.01), analysis.timeline(trace.recording(), 0.01)):
        assert frame.held_share_low[0] == pytest.approx(middle - half, rel=1e-12)
        assert frame.held_share_high[0] == pytest.approx(middle + half, rel=1e-12)
        assert (frame.held_share_low[1], frame.held_share[1]) == (0, 0)


def test_a_sampler_that_does_not_say_how_busy_it_was_is_taken_as_busier_than_measured():
    trace = sampled(round_robin(2, 10))

    quiet, unknown = (analysis.overhead(trace.but(sampler_cpu_ns=ns).recording()).iloc[0] for ns in (0, None))

    assert unknown.held_share_low == pytest.approx(quiet.held_share_low - 0.03)


def test_a_thread_seen_waiting_twice_in_one_hold_is_one_waiter():
    trace = Trace(
        10 * MS,
        intervals=[
            Interval(0, 0, "run", 0, 8 * MS, None),
            Interval(1, 0, "wait", 1 * MS, MS, None),
            Interval(1, 0, "wait", 3 * MS, MS, None),
            Interval(2, 0, "wait", 3 * MS, MS, None),
        ],
        edges="sampled",
        ticks=10,
    )

    hold = analysis.holds(trace.recording()).iloc[0]

    assert (hold.waiters, hold.inflicted_ns) == (2, 3 * MS)
