"""What adds up in every trace, and what ties and thresholds do."""

from collections import Counter

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gilscope import analysis
from tests.support.analysed import A_HELPER, a_window, each_helper, fitting, rows
from tests.support.drawn.rows import Interval, Sample, SwitchInterval, Trace
from tests.support.drawn.traces import (
    calm,
    fold_with_holes,
    history,
    is_tied,
    of_gils,
    round_robin,
    traces,
)
from tests.support.oracles import spans as slowspans

pytestmark = pytest.mark.extremes


@calm
@given(traces())
def test_held_and_free_make_the_wall_time_of_each_gil(trace):
    t = trace.recording()
    whole, per_gil = analysis.overhead(t).iloc[0], analysis.overhead(t, by="interpreter")

    assert (per_gil.held_ns + per_gil.free_ns == per_gil.wall_ns).all()
    assert (per_gil.wall_ns == trace.duration - whole.lost_ns).all()
    for column in ("wall_ns", "held_ns", "free_ns", "overhead_ns", "handoffs", "forced", "steals"):
        assert per_gil[column].sum() == whole[column], column
    assert (per_gil.overhead_ns <= per_gil.free_ns).all()


@calm
@given(traces())
def test_overhead_of_threads_and_the_free_end_make_the_whole(trace):
    t = trace.recording()
    whole, threads = analysis.overhead(t).iloc[0], analysis.overhead(t, by="thread")
    ends = [([0] + [r.end for r in slowspans.runs_of(trace, g)])[-1] for g in slowspans.gils(trace)]
    tails = [
        s
        for g, end in zip(slowspans.gils(trace), ends, strict=True)
        for s in slowspans.slices(trace, g)
        if s.start >= end
    ]

    assert threads.wall_ns.sum() + sum(s.end - s.start for s in tails) == whole.wall_ns
    assert threads.overhead_ns.sum() + sum(s.end - s.start for s in tails if s.waiters) == whole.overhead_ns
    assert threads.held_ns.sum() == whole.held_ns
    for column in ("handoffs", "steals", "forced"):
        assert threads[column].sum() == whole[column], column


@calm
@given(traces(), a_window)
def test_overhead_of_windows_makes_the_whole(trace, window):
    t = trace.recording()
    whole, windows = analysis.overhead(t).iloc[0], analysis.overhead(t, by=fitting(window, trace))

    for column in ("wall_ns", "held_ns", "free_ns", "overhead_ns", "handoffs", "forced", "steals"):
        assert windows[column].sum() == whole[column], column


@calm
@given(traces())
def test_blame_adds_up_to_what_each_thread_waited_and_each_hold_inflicted(trace):
    t = trace.recording()
    blame, threads, holds = analysis.blame(t), analysis.threads(t), analysis.holds(t)

    waited = threads[threads.wait_ns > 0].set_index("thread").wait_ns
    assert blame.sum(axis=1).to_dict() == waited.to_dict()
    inflicted = holds.groupby("thread").inflicted_ns.sum()
    held = blame.drop(columns="free").sum()
    assert held.to_dict() == inflicted[inflicted > 0].to_dict()


@calm
@given(traces())
def test_run_wait_and_off_make_a_thread_s_life(trace):
    threads = analysis.threads(trace.recording())

    assert (threads.run_ns + threads.wait_ns + threads.off_ns == threads.life_ns).all()
    assert (threads.off_ns >= 0).all()
    shares = threads.run_share + threads.wait_share + threads.off_share
    assert (shares.dropna() - 1).abs().max() < 1e-12 or threads.life_ns.max() == 0 or not len(threads)


@calm
@given(traces())
def test_patience_response_and_gap_make_the_wait(trace):
    handoffs = analysis.handoffs(trace.recording())
    asked = handoffs[handoffs.patience_ns.notna()]

    assert (asked.patience_ns + asked.response_ns + asked.gap_ns == asked.wait_ns).all()
    assert (asked.patience_ns >= 0).all()
    assert handoffs.response_ns.isna().eq(handoffs.drop_request_ns.isna()).all()
    assert handoffs.wait_ns.isna().eq(handoffs.request_ns.isna()).all()


@calm
@given(traces())
def test_no_hold_overruns_by_more_than_its_length(trace):
    holds = analysis.holds(trace.recording())
    asked = holds[holds.overrun_ns.notna()]

    assert (asked.overrun_ns <= asked.duration_ns).all()
    assert (asked.overrun_ns >= 0).all()


@settings(calm, max_examples=40)
@given(traces(), st.randoms(use_true_random=False))
def test_the_order_of_rows_in_a_table_does_not_matter(trace, random):
    if is_tied(trace):
        trace = trace.but(intervals=[i for i in trace.intervals if i.duration_ns])
    if is_tied(trace):
        return
    shuffled = trace.but(intervals=random.sample(trace.intervals, len(trace.intervals)))

    for helper in A_HELPER.values():
        if helper is not A_HELPER["holds"]:  # of equally long ones any may come first
            assert Counter(map(repr, rows(helper(shuffled.recording())))) == Counter(
                map(repr, rows(helper(trace.recording())))
            )


@each_helper
def test_what_is_done_to_an_answer_does_not_change_the_next(helper):
    t = round_robin(3, 4).recording()
    first = helper(t)
    before = first.copy(deep=True)
    for column in first:
        if pd.api.types.is_integer_dtype(first[column]):
            first[column] = 0
            first.loc[:, column] *= 2

    pd.testing.assert_frame_equal(helper(t), before)


def test_an_overrun_belongs_to_its_own_hold_where_stamps_are_equal():
    story = history(
        *(("acquire", 0, 0), ("request", 1, 1), ("drop", 1, 4), ("release", 0, 9), ("acquire", 1, 9)),
        *(("release", 1, 9), ("acquire", 0, 9), ("request", 2, 9), ("drop", 2, 9), ("release", 0, 9)),
        *(("acquire", 2, 9), ("release", 2, 20)),
    )
    trace = of_gils([fold_with_holes(story, 30)], 30)

    holds = analysis.holds(trace.recording())

    assert holds.thread.tolist() == [2, 0, 1, 0]
    assert holds.overrun_ns.fillna(-1).tolist() == [-1, 5, -1, 0]


def rounds_of(hold: int, off: int, wait: int, rounds: int) -> Trace:
    """Return a trace in which thread 1 comes back to wait for thread 0; the switch interval is 1 us."""
    runs, waits, time = [Interval(1, 0, "run", 0, hold, "voluntary")], [], hold
    for _ in range(rounds):
        runs.append(Interval(0, 0, "run", time, off + wait, "forced"))
        waits.append(Interval(1, 0, "wait", time + off, wait, None))
        time += off + wait
        runs.append(Interval(1, 0, "run", time, hold, "voluntary"))
        time += hold
    return Trace(time, intervals=runs + waits, switch_intervals=[SwitchInterval(0, 1000)])


def test_a_hole_between_release_and_wait_makes_it_no_round():
    trace = rounds_of(100, 200, 1000, 3)
    lost = trace.but(samples=[Sample(150), Sample(160, dropped=1)])

    assert analysis.convoys(trace.recording())["rounds"].tolist() == [3]
    assert not len(analysis.convoys(lost.recording()))


def test_a_convoy_that_spans_a_hole_was_idle_for_the_time_that_is_known():
    trace = rounds_of(100, 200, 1000, 3)
    # Between the end of the first wait, at 1300, and the next release, at 1400.
    later = [
        i._replace(start_ns=i.start_ns + 500) if i.start_ns >= 1400 else i
        for i in trace.intervals
        if i.start_ns != 1300
    ]
    later.append(Interval(1, 0, "run", 1850, 50, "voluntary"))
    lost = trace.but(
        duration=trace.duration + 500, intervals=later, samples=[Sample(1310), Sample(1810, dropped=1)]
    )

    whole, holed = (analysis.convoys(t.recording()).iloc[0] for t in (trace, lost))

    assert (holed.rounds, holed.lost_ns, holed.idle_ns) == (3, 3000, whole.idle_ns)
    assert holed.end_ns == whole.end_ns + 500


def test_a_switch_interval_is_in_force_from_the_instant_it_is_seen():
    trace = rounds_of(100, 200, 1000, 3)
    first_wait = 300
    late = trace.but(switch_intervals=[SwitchInterval(0, 10**9), SwitchInterval(first_wait, 1000)])
    later = trace.but(switch_intervals=[SwitchInterval(0, 10**9), SwitchInterval(first_wait + 1, 1000)])

    assert len(analysis.convoys(late.recording())) == 1
    assert not len(analysis.convoys(later.recording()))


@pytest.mark.parametrize(
    ("hold", "off", "wait", "rounds", "convoys"),
    [
        (100, 200, 1000, 3, 1),
        (100, 200, 1000, 2, 0),
        (999, 200, 1000, 3, 1),
        (1000, 200, 1000, 3, 0),
        (100, 0, 1000, 3, 1),
        (100, 2000, 1000, 3, 1),
        (100, 2001, 1000, 3, 0),
        (100, 200, 500, 3, 1),
        (100, 200, 499, 3, 0),
        (100, 200, 2500, 3, 1),
        (100, 200, 2501, 3, 0),
    ],
)
def test_a_convoy_is_short_holds_short_releases_and_waits_of_about_an_interval(
    hold, off, wait, rounds, convoys
):
    trace = rounds_of(hold, off, wait, rounds)
    time = trace.duration

    found = analysis.convoys(trace.recording())

    assert len(found) == convoys
    for row in found.itertuples():
        assert (row.thread, row.holder, row.rounds) == (1, 0, rounds)
        assert (row.start_ns, row.end_ns) == (hold, time - hold)
        assert (row.lost_ns, row.mean_wait_ns) == (rounds * wait, wait)
        assert row.idle_ns == time - 2 * hold - rounds * wait
