"""Traces side by side, and repeats of them."""

from collections import Counter

import pandas as pd
import pytest
from hypothesis import given

from gilscope import analysis
from gilscope.tables.schema import TABLES
from gilscope.tables.stored import Tables
from tests.support.analysed import rows
from tests.support.drawn.rows import Trace
from tests.support.drawn.traces import (
    calm,
    round_robin,
    sampled,
    traces,
)
from tests.support.oracles import analysis as slow

pytestmark = pytest.mark.extremes


def slower(trace: Trace, times: float) -> Trace:
    """Return a trace in which everything took this many times as long."""
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


def test_a_figure_that_one_side_lacks_is_null():
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
    class Counting(Tables):
        looked = 0

        def table(self, name):
            Counting.looked += 1
            return super().table(name)

    t = Counting(None, trace.recording().metadata, trace.tables())
    analysis.findings(t)
    analysis.compare(t, t)

    assert Counting.looked == len(TABLES)
