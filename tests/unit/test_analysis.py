"""Each helper of `gilscope.analysis` agrees with its slow twin, whatever it is given."""

import math
import re
import sys
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gilscope import analysis
from gilscope.errors import OptionError, TraceFormatError
from gilscope.recording import METADATA_FILE, Recording, describe_file, write_metadata
from gilscope.schema import TABLES
from tests.support import slow
from tests.support.slow import Handoff, Interval, Sample, SwitchInterval, Thread, Trace
from tests.support.traces import (
    MS,
    calm,
    convoy_like,
    history,
    is_tied,
    of_stories,
    round_robin,
    sampled,
    told,
    traces,
)

a_window = st.sampled_from([1e-9, 3e-9, 1e-6, 1e-3, 0.005, 0.1])
A_HELPER = {
    "threads": analysis.threads,
    "overhead": analysis.overhead,
    "overhead by thread": lambda t: analysis.overhead(t, by="thread"),
    "overhead by interpreter": lambda t: analysis.overhead(t, by="interpreter"),
    "overhead by window": lambda t: analysis.overhead(t, by=0.001),
    "handoffs": analysis.handoffs,
    "holds": analysis.holds,
    "long holds": lambda t: analysis.holds(t, over=0.001),
    "blame": analysis.blame,
    "convoys": analysis.convoys,
    "timeline": lambda t: analysis.timeline(t, 0.001),
    "fairness": analysis.fairness,
    "fairness by window": lambda t: analysis.fairness(t, 0.001),
    "compare": lambda t: analysis.compare(t, t),
    "findings": analysis.findings,
}
each_helper = pytest.mark.parametrize("helper", A_HELPER.values(), ids=A_HELPER.keys())


def plain(value):
    """Return a cell as the slow twin has it."""
    if isinstance(value, list | dict):
        return value
    if pd.isna(value):
        return None
    return value.item() if isinstance(value, np.generic) else value


def rows(frame: pd.DataFrame) -> list[dict]:
    columns = [[plain(v) for v in frame[c]] for c in frame.columns]
    return [dict(zip(frame.columns, cells, strict=True)) for cells in zip(*columns, strict=True)]


def agree(frame: pd.DataFrame, expected: list[dict]) -> None:
    """Assert that rows are the same: whole numbers exactly, others to the last digits."""
    found = rows(frame)
    assert len(found) == len(expected)
    for mine, twin in zip(found, expected, strict=True):
        assert mine.keys() == twin.keys()
        for column, value in twin.items():
            if isinstance(value, float) and mine[column] is not None:
                loose = 1e-9 if any(p in column for p in ("p50", "p90", "p99", "max")) else 1e-12
                assert math.isclose(mine[column], value, rel_tol=loose), column
            else:
                assert mine[column] == value, column


def fitting(window: float, trace: Trace) -> float:
    """Return a window that makes some, but not too many windows of a trace."""
    return max(window, trace.duration / 12e9)


# Agreement with the slow twin


@calm
@given(traces())
def test_threads_agree_with_the_slow_twin(trace):
    agree(analysis.threads(trace.recording()), slow.threads(trace))


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
    found = {who: {whom: ns for whom, ns in row.items() if ns} for who, row in frame.to_dict("index").items()}
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
    trace = of_stories(
        [told(events, end, spans)],
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
    expected = slow.switch_interval(trace, intervals)

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
    known = sum(w.duration for g in slow.gils(trace) for w in slow.waits_of(trace, g) if w.whole)

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
    assert blame.sum(axis=1).to_dict() == {who: sum(row.values()) for who, row in expected.items()}
    assert all(blame.loc[who, whom] == ns for who, row in expected.items() for whom, ns in row.items())
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


# Invariants


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
    ends = [([0] + [r.end for r in slow.runs_of(trace, g)])[-1] for g in slow.gils(trace)]
    tails = [
        s
        for g, end in zip(slow.gils(trace), ends, strict=True)
        for s in slow.slices(trace, g)
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
    trace = of_stories([told(story, 30)], 30)

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


# Holes


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


# What may be given


@pytest.fixture
def trace() -> Trace:
    made = round_robin(3, 4)
    threads = [Thread(0, "MainThread", 0, made.duration, 5), *made.threads[1:]]
    return made.but(threads=threads, samples=[Sample(made.duration)])


def folder_of(trace: Trace, folder) -> str:
    folder.mkdir()
    t = trace.recording()
    for name, table in trace.tables().items():
        with pa.ipc.new_file(folder / f"{name}.arrow", table.schema) as writer:
            writer.write_table(table)
    files = {file.name: describe_file(file) for file in folder.iterdir()}
    write_metadata(folder, {**t.metadata, "files": files})
    assert (folder / METADATA_FILE).exists()
    return str(folder)


@each_helper
def test_a_path_gives_the_same_rows_as_the_recording(helper, trace, tmp_path):
    path = folder_of(trace, tmp_path / "run.gilscope")

    pd.testing.assert_frame_equal(helper(path), helper(trace.recording()))
    pd.testing.assert_frame_equal(helper(tmp_path / "run.gilscope"), helper(trace.recording()))


@each_helper
@pytest.mark.parametrize("kind", ["arrow", "pandas"])
def test_a_mapping_of_tables_gives_the_same_rows_as_the_recording(helper, kind, trace):
    tables = trace.tables()
    if kind == "pandas":
        tables = {name: table.to_pandas() for name, table in tables.items()}

    pd.testing.assert_frame_equal(helper(tables), helper(trace.recording()))


@calm
@given(traces())
def test_a_mapping_of_any_trace_s_tables_gives_the_same_rows(trace):
    trace = trace.but(samples=[*trace.samples, Sample(trace.duration)])
    tables = {name: table.to_pandas() for name, table in trace.tables().items()}

    for helper in (analysis.threads, analysis.overhead, analysis.handoffs, analysis.holds):
        assert rows(helper(tables)) == rows(helper(trace.recording()))


@pytest.mark.parametrize("form", [lambda t: t, lambda t: t.to_pandas()], ids=["arrow", "pandas"])
def test_intervals_alone_tell_who_ran_and_who_waited(form, trace):
    intervals = form(trace.recording().intervals)
    whole = trace.but(threads=[], handoffs=[], samples=[]).recording()

    for helper in (analysis.threads, analysis.holds, analysis.blame, analysis.fairness):
        pd.testing.assert_frame_equal(helper(intervals), helper(whole))
    assert analysis.threads(intervals).thread_name.tolist() == ["thread 0", "thread 1", "thread 2"]


@pytest.mark.parametrize("form", [lambda t: t, lambda t: t.to_pandas()], ids=["arrow", "pandas"])
def test_handoffs_alone_can_be_asked_about(form, trace):
    found = analysis.handoffs(form(trace.recording().handoffs))

    pd.testing.assert_frame_equal(found, analysis.handoffs(trace.but(threads=[]).recording()))


@pytest.mark.parametrize("table", ["threads", "samples"])
def test_tables_last_as_long_as_the_longest_of_them(table, trace):
    tables = trace.but(duration=2 * trace.duration).tables()
    end = {
        "threads": Thread(0, "MainThread", 0, 2 * trace.duration),
        "samples": Sample(2 * trace.duration),
    }[table]
    tables[table] = trace.but(**{table: [end]}).tables()[table]

    assert analysis.overhead(tables)["wall_ns"].item() == 2 * trace.duration


def test_words_may_be_strings_and_the_interpreter_may_be_left_out(trace):
    frame = trace.recording().intervals.to_pandas()
    frame = frame.astype({"state": object, "release": object}).drop(columns="interpreter")

    pd.testing.assert_frame_equal(analysis.blame(frame), analysis.blame(trace.recording()))


def test_a_table_in_several_pieces_is_one_table(trace):
    tables = {n: pa.concat_tables([t[:2], t[2:3], t[3:]]) for n, t in trace.tables().items()}

    pd.testing.assert_frame_equal(analysis.holds(tables), analysis.holds(trace.recording()))


@each_helper
@pytest.mark.parametrize("thing", [7, None, [], "table", {"interval": 1}, {"intervals": 3}, {1: 2}], ids=repr)
def test_what_is_no_trace_is_refused_with_what_was_expected(helper, thing, trace):
    if thing == "table":
        thing = trace.recording().samples
    with pytest.raises(OptionError, match="expected"):
        helper(thing)


@pytest.mark.parametrize("table", ["intervals", "handoffs"])
def test_a_table_without_a_column_that_is_needed_is_refused_by_its_name(table, trace):
    frame = trace.recording().table(table).to_pandas()
    needed = {"intervals": ["thread", "start_ns"], "handoffs": ["release_ns", "acquire_ns"]}
    for column in needed[table]:
        with pytest.raises(OptionError, match=f"expected.*{column}"):
            analysis.threads(frame.drop(columns=column))


def test_a_table_with_words_for_numbers_is_refused(trace):
    frame = trace.recording().intervals.to_pandas().astype({"start_ns": str})
    frame.loc[0, "start_ns"] = "noon"

    with pytest.raises(OptionError, match=r"expected.*start_ns"):
        analysis.threads(frame)


def test_a_table_with_a_null_where_a_number_is_needed_is_refused(trace):
    frame = trace.recording().intervals.to_pandas().astype({"duration_ns": "Int64"})
    frame.loc[0, "duration_ns"] = pd.NA

    with pytest.raises(OptionError, match=r"expected.*duration_ns"):
        analysis.threads(frame)


def test_a_path_that_holds_no_trace_is_refused(tmp_path):
    with pytest.raises(TraceFormatError, match="no trace"):
        analysis.threads(tmp_path)


NO_WINDOWS = [0, -1, -0.5, math.nan, math.inf, 1e-12, 1e-9, True, "second", [1], 1 + 2j]


@pytest.mark.parametrize("window", NO_WINDOWS, ids=repr)
@pytest.mark.parametrize(
    "helper",
    [lambda t, w: analysis.overhead(t, by=w), analysis.timeline, analysis.fairness],
    ids=["overhead", "timeline", "fairness"],
)
def test_what_is_no_window_is_refused_with_what_was_expected(helper, window, trace):
    with pytest.raises(OptionError, match="expected"):
        helper(trace.recording(), window)


def test_windows_of_more_threads_than_fit_are_refused(monkeypatch, trace):
    monkeypatch.setattr(analysis.windows, "_MOST_CELLS", 10)
    with pytest.raises(OptionError, match="expected at most"):
        analysis.timeline(trace.recording(), trace.duration / 1e9 / 20)


def test_a_number_of_any_kind_is_a_window(trace):
    t = trace.recording()
    assert len(analysis.timeline(t, np.float32(1.0))) == len(analysis.timeline(t, np.int64(1)))


def test_a_refused_window_is_told_what_that_helper_takes(trace):
    t = trace.recording()

    with pytest.raises(OptionError, match="'thread', 'interpreter', a number of seconds or None"):
        analysis.overhead(t, by="threads")
    with pytest.raises(OptionError, match="expected a number of seconds, got None"):
        analysis.timeline(t, None)
    with pytest.raises(OptionError, match="at most 1000000 windows"):
        analysis.timeline(t, 1e-9)


@pytest.mark.parametrize("over", [-1, math.nan, math.inf, True, "long", [1]], ids=repr)
def test_a_length_of_holds_that_is_none_is_refused(over, trace):
    with pytest.raises(OptionError, match="number of seconds, not negative"):
        analysis.holds(trace.recording(), over=over)


def test_nothing_cannot_be_compared(trace):
    for sides in (([], trace.recording()), (trace.recording(), []), ([], [])):
        with pytest.raises(OptionError, match="expected a trace, or a list of at least one"):
            analysis.compare(*sides)


def test_a_matrix_that_does_not_fit_is_refused(monkeypatch, trace):
    monkeypatch.setattr(sys.modules["gilscope.analysis.holds"], "_MOST_CELLS", 5)

    with pytest.raises(OptionError, match="holds"):
        analysis.blame(trace.recording())


def test_a_table_that_is_no_part_of_a_trace_is_told_which_are():
    with pytest.raises(OptionError) as refused:
        analysis.threads({"runs": pd.DataFrame()})

    assert all(name in str(refused.value) for name in TABLES)


# Sampled edges


TIMES_AND_SHARES = ("held", "free", "overhead")


def inside(frame: pd.DataFrame, column: str) -> None:
    """Assert that a figure lies inside its interval wherever it is known."""
    known = frame[column].notna()
    assert (frame.loc[known, f"{column}_low"] <= frame.loc[known, column]).all(), column
    assert (frame.loc[known, column] <= frame.loc[known, f"{column}_high"]).all(), column
    assert (frame[f"{column}_low"].dropna() >= 0).all(), column


def null(frame: pd.DataFrame, *columns: str) -> None:
    for column in columns:
        assert frame[column].isna().all(), column


@calm
@given(traces(lossy=False), st.sampled_from([100_000, MS]), st.sampled_from([0, None, MS]))
def test_sampled_figures_lie_in_their_intervals_and_what_samples_cannot_tell_is_null(trace, period, cpu):
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
    for whom in [c for c in blame.columns if not str(c).endswith(("_low", "_high"))]:
        low, high = blame[f"{whom}_low"], blame[f"{whom}_high"]
        assert ((low <= blame[whom]) & (blame[whom] <= high)).all()
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


# Columns


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


# Comparing


def slower(trace: Trace, times: float) -> Trace:
    """Return a trace in which everything took so many times as long."""
    return trace.but(
        duration=round(trace.duration * times),
        threads=[
            t._replace(first_ns=round(t.first_ns * times), last_ns=round(t.last_ns * times))
            for t in trace.threads
        ],
        intervals=[
            i._replace(start_ns=round(i.start_ns * times), duration_ns=round(i.duration_ns * times))
            for i in trace.intervals
        ],
        samples=[],
    )


def compared(a: list[Trace], b: list[Trace]) -> pd.DataFrame:
    return analysis.compare([t.recording() for t in a], [t.recording() for t in b])


@calm
@given(traces(), traces())
def test_one_trace_is_compared_with_another_figure_by_figure(before, after):
    found = analysis.compare(before.recording(), after.recording())

    shown = {(row["figure"], row["thread_name"]): row for row in rows(found)}
    expected = {("wall_ns", None): [], ("overhead_ns", None): [], ("gap_p99_ns", None): []}
    expected |= {(name, None): [] for name in ("handoffs", "forced", "steals", "held_share")}
    sides = [slow.threads(before), slow.threads(after)]
    counts = [Counter(row["thread_name"] for row in side) for side in sides]
    both = {n for n in counts[0] if counts[0][n] == 1 == counts[1][n]}
    assert {name for _, name in shown if name is not None} == both
    for trace, side in zip((before, after), sides, strict=True):
        o = slow.overhead(trace)[0]
        by_name = {row["thread_name"]: row for row in side if row["thread_name"] in both}
        for name in both:
            for figure in ("run_ns", "wait_ns", "wait_share", "wait_p99_ns", "longest_ns", "slowdown"):
                expected.setdefault((figure, name), []).append(by_name[name][figure])
        for figure, name in expected:
            if name is None:
                expected[figure, name].append(o[figure])
    for key, (x, y) in expected.items():
        row = shown[key]
        for column, value in (("before", x), ("after", y)):
            assert row[column] == (None if value is None else pytest.approx(value, rel=1e-9))
        known = x is not None and y is not None
        assert row["difference"] == (pytest.approx(y - x, rel=1e-9, abs=1e-3) if known else None)
        assert row["ratio"] == (pytest.approx(y / x, rel=1e-9) if known and x else None)
        assert row["ratio_low"] is None
        assert row["ratio_high"] is None


def test_repeats_give_an_interval_that_holds_the_ratio_of_means():
    trace = round_robin(3, 20)
    a = [slower(trace, x) for x in (1.0, 1.1, 1.2, 1.05)]
    b = [slower(trace, x) for x in (2.0, 2.2, 2.1)]

    found = compared(a, b)

    known = found[found.ratio.notna()]
    assert (known.ratio_low <= known.ratio * (1 + 1e-12)).all()
    assert (known.ratio <= known.ratio_high * (1 + 1e-12)).all()
    wall = found[found.figure == "wall_ns"].iloc[0]
    assert wall.ratio == pytest.approx(2.1 / 1.0875)
    assert 1.5 < wall.ratio_low < wall.ratio < wall.ratio_high < 2.3
    pd.testing.assert_frame_equal(found, compared(a, b))


@pytest.mark.parametrize(("n_before", "n_after"), [(1, 1), (1, 3), (3, 1)])
def test_without_repeats_on_both_sides_there_is_no_interval(n_before, n_after):
    trace = round_robin(2, 3)
    found = compared([trace] * n_before, [slower(trace, 2)] * n_after)

    assert found.ratio.notna().any()
    assert found[["ratio_low", "ratio_high"]].isna().all(axis=None)


def test_a_figure_that_one_side_cannot_tell_is_null():
    trace = round_robin(2, 5)
    found = compared([trace, trace], [sampled(trace), sampled(trace)]).set_index("figure")

    assert pd.isna(found.loc["steals", "after"])
    assert found.loc["steals", "before"] == 0
    assert found.loc["steals", ["difference", "ratio", "ratio_low", "ratio_high"]].isna().all()


def test_threads_that_share_a_name_are_not_compared():
    trace = round_robin(3, 2)
    twins = trace.but(threads=[t._replace(name=n) for t, n in zip(trace.threads, "xxy", strict=True)])
    unique = trace.but(threads=[t._replace(name=n) for t, n in zip(trace.threads, "xzy", strict=True)])

    assert set(compared([unique, twins], [unique]).thread_name.dropna()) == {"y"}
    assert set(compared([unique], [unique]).thread_name.dropna()) == {"x", "y", "z"}


def test_a_recording_given_twice_is_only_read_once(trace):
    class Counting(Recording):
        looked = 0

        def table(self, name):
            Counting.looked += 1
            return super().table(name)

    t = Counting(None, trace.recording().metadata, trace.tables())
    analysis.findings(t)
    analysis.compare(t, t)

    assert Counting.looked == len(TABLES)
