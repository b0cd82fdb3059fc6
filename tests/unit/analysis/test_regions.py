"""Threads within regions of a name: the definitions by hand, other edges, and names there are not."""

import ctypes
import math
import threading
import time

import pandas as pd
import pytest
from hypothesis import given

import gilscope
from gilscope import analysis
from gilscope.errors import OptionError
from tests.support.analysed import rows
from tests.support.drawn.rows import Interval, Mark, Sample, Thread, Trace
from tests.support.drawn.traces import MS, calm, regions, round_robin, sampled, traces

pytestmark = pytest.mark.extremes


@pytest.fixture
def trace() -> Trace:
    """One thread: a hold from 0 to 40, a wait to 60, a hold to 100; and another one."""
    return Trace(
        100,
        threads=[Thread(0, "main", 0, 100, 70), Thread(1, "other", 0, 100)],
        intervals=[
            Interval(0, 0, "run", 0, 40, "forced"),
            Interval(0, 0, "wait", 40, 20, None),
            Interval(1, 0, "run", 45, 15, "voluntary"),
            Interval(0, 0, "run", 60, 40, "open"),
        ],
    )


def within(trace: Trace, *marks: Mark) -> dict:
    [row] = rows(analysis.threads(trace.but(marks=list(marks)).recording(), region="r"))
    return row


def test_time_is_that_of_the_regions_and_counts_are_of_what_begins_inside(trace):
    row = within(trace, Mark(0, "r", 10, 40), Mark(0, "q", 0, 100), Mark(1, "q", 0, 100), Mark(0, "r", 20))

    assert (row["life_ns"], row["run_ns"], row["wait_ns"], row["off_ns"]) == (40, 30, 10, 0)
    assert (row["run_share"], row["wait_share"]) == (0.75, 0.25)
    assert (row["acquires"], row["waits"], row["forced"]) == (0, 1, 0)
    assert row["wait_max_ns"] == 20  # as long as it was
    assert row["longest_ns"] == 30  # as long as it was within
    assert row["slowdown"] == 40 / 30
    assert row["cpu_ns"] is None


def test_nested_and_overlapping_regions_of_a_name_count_once(trace):
    once = within(trace, Mark(0, "r", 10, 80))

    assert within(trace, Mark(0, "r", 10, 50), Mark(0, "r", 20, 10), Mark(0, "r", 50, 40)) == once
    assert within(trace, Mark(0, "r", 10, 80), Mark(0, "r", 10, 80)) == once


def test_a_region_of_no_length_has_a_row_of_nothing(trace):
    row = within(trace, Mark(0, "r", 10, 0))

    assert (row["life_ns"], row["acquires"], row["longest_ns"]) == (0, 0, 0)
    assert row["run_share"] is None


def test_time_that_was_lost_is_not_of_the_region(trace):
    lossy = trace.but(samples=[Sample(10), Sample(30, dropped=1)])
    row = within(lossy, Mark(0, "r", 5, 45))

    assert (row["life_ns"], row["run_ns"], row["wait_ns"]) == (25, 15, 10)
    assert row["longest_ns"] == 0  # how long the hold was is not known


def test_a_thread_that_was_never_seen_active_has_a_row(trace):
    t = trace.but(marks=[Mark(4, "r", 10, 20)]).recording()

    [row] = rows(analysis.threads(t, region="r"))
    assert (row["thread"], row["thread_name"], row["life_ns"], row["off_ns"]) == (4, "thread 4", 20, 20)


@calm
@given(traces())
def test_a_region_of_all_the_trace_says_what_the_trace_says(trace):
    trace = trace.but(threads=[Thread(t.thread, t.name, 0, trace.duration) for t in trace.threads])
    marks = [Mark(t.thread, "all", 0, trace.duration) for t in trace.threads]
    t = trace.but(marks=marks).recording()
    everything = analysis.threads(t)

    if len(everything):
        times = ["thread", "life_ns", "run_ns", "wait_ns", "off_ns", "longest_ns", "slowdown"]
        pd.testing.assert_frame_equal(analysis.threads(t, region="all")[times], everything[times])


@calm
@given(traces().flatmap(regions))
def test_a_path_or_tables_give_the_same_rows(trace):
    tables = {name: table.to_pandas() for name, table in trace.tables().items()}
    tables["samples"] = trace.but(samples=[*trace.samples, Sample(trace.duration)]).tables()["samples"]
    for name in {m.name for m in trace.marks if m.duration_ns is not None}:
        found = analysis.threads(tables, region=name)
        pd.testing.assert_frame_equal(found, analysis.threads(trace.recording(), region=name))


def test_sampled_edges_have_intervals_and_no_counts():
    trace = sampled(round_robin(3, 40))
    half = trace.duration // 2
    t = trace.but(marks=[Mark(0, "half", 0, half), Mark(1, "all", 0, trace.duration)]).recording()

    whole, all_of_it = (rows(f)[i] for f, i in ((analysis.threads(t), 1), (analysis.threads(t, "all"), 0)))
    assert all_of_it == {**whole, "cpu_ns": None}
    [row] = rows(analysis.threads(t, region="half"))
    assert row["life_ns"] == half
    assert row["run_ns_low"] <= row["run_ns"] <= row["run_ns_high"] <= half
    assert row["run_share_low"] <= row["run_share"] <= row["run_share_high"]
    # Half as many looks: what was never seen may be twice as much.
    assert row["off_share_high"] > whole["off_share_high"]
    assert math.isclose(row["run_share"] + row["wait_share"] + row["off_share"], 1)
    assert row["acquires"] is None and row["longest_ns"] is None and row["wait_max_ns"] is None


def test_columns_are_those_of_the_whole_trace(trace):
    for t in (trace, sampled(trace)):
        t = t.but(marks=[Mark(0, "r", 10, 40)]).recording()  # noqa: PLW2901
        one, whole = analysis.threads(t, region="r"), analysis.threads(t)
        assert one.dtypes.to_dict() == whole.dtypes.to_dict()


@pytest.mark.parametrize("name", ["x", "", "R", "mark", 3, b"r"], ids=repr)
def test_a_name_that_no_region_has_is_refused_with_those_there_are(trace, name):
    t = trace.but(marks=[Mark(0, "r", 10, 40), Mark(1, "it's", 0, 5), Mark(0, "mark", 3)]).recording()

    with pytest.raises(OptionError) as refused:
        analysis.threads(t, region=name)
    assert "'r', \"it's\"" in str(refused.value)
    assert "'mark'" not in str(refused.value).replace("name 'mark'", "")


def test_of_many_names_some_are_listed(trace):
    t = trace.but(marks=[Mark(0, f"request {i}", i, 1) for i in range(50)]).recording()

    with pytest.raises(OptionError, match=r"'request 0', .*'request 19', and 30 more$"):
        analysis.threads(t, region="request")


def test_a_trace_without_regions_says_how_to_make_some(trace):
    with pytest.raises(OptionError, match=r"no regions \(with t\.region\(name\) makes them\)"):
        analysis.threads(trace.recording(), region="r")


def test_a_name_is_found_as_it_was_given():
    names = ["x" * 300, "zero\0", "half \ud83d", "😀" * 100]
    with gilscope.trace(None) as t:
        for name in names:
            with t.region(name):
                pass

    for name in names:
        assert len(analysis.threads(t, region=name)) == 1


def test_a_real_trace_knows_what_its_regions_did():
    holding = ctypes.PyDLL(None)

    def work() -> None:
        with t.region("hold"):
            holding.usleep(50_000)
        for _ in range(2):
            with t.region("let go"):
                time.sleep(0.05)

    with gilscope.trace(None, edges="exact") as t:
        thread = threading.Thread(target=work, name="worker")
        thread.start()
        thread.join()

    [hold] = rows(analysis.threads(t, region="hold"))
    [off] = rows(analysis.threads(t, region="let go"))
    assert hold["thread_name"] == off["thread_name"] == "worker"
    assert hold["longest_ns"] >= 50 * MS
    assert off["off_ns"] >= 100 * MS
    for region in hold, off:
        assert region["run_ns"] + region["wait_ns"] + region["off_ns"] == region["life_ns"]
        assert region["run_share"] == region["run_ns"] / region["life_ns"]
    assert hold["run_ns"] >= 50 * MS
    assert off["acquires"] >= 2  # each comes back within its region
    [whole] = [row for row in rows(analysis.threads(t)) if row["thread_name"] == "worker"]
    assert whole["run_ns"] >= hold["run_ns"] + off["run_ns"]
