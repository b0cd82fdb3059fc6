"""Findings: each kind in a trace made for it, and not in one that only comes near."""

import pandas as pd
import pytest

from gilscope import analysis
from tests.support.drawn.rows import Interval, Sample, SwitchInterval, Thread, Trace
from tests.support.drawn.traces import MS, history, of_gils, round_robin, sampled
from tests.support.oracles import transitions as oracle

KINDS = {
    *("saturated", "convoy", "long_hold", "chatty", "steals", "unfair"),
    *("interval_changed", "too_coarse", "not_the_gil"),
}
SEVERITIES = {"high", "medium", "low", "info"}


def findings(trace: Trace) -> pd.DataFrame:
    """Return findings, and assert what is true of all."""
    found = analysis.findings(trace.recording())
    assert list(found.columns) == ["kind", "severity", "lost_ns", "what", "advice", "evidence"]
    assert set(found.kind) <= KINDS
    assert set(found.severity) <= SEVERITIES
    assert found.lost_ns.tolist() == sorted(found.lost_ns, reverse=True)
    for row in found.itertuples():
        assert row.what.endswith(".")
        assert row.advice.endswith(".")
        assert 1 <= len(row.evidence) <= 10
        assert all(isinstance(line, dict) for line in row.evidence)
    return found


def kinds(trace: Trace) -> set[str]:
    return set(findings(trace).kind)


def one(trace: Trace, kind: str) -> pd.Series:
    found = findings(trace)
    mine = found[found.kind == kind]
    assert len(mine) == 1, found.what.tolist()
    return mine.iloc[0]


def trace_of(*steps, end: int, **changes) -> Trace:
    return of_gils([oracle.fold(history(*steps), end)], end, **changes)


def convoy(rounds: int, wait: int, work: int = MS // 2, before: int = MS) -> Trace:
    """Return a thread that runs briefly and then waits this long each time for a CPU-bound one."""
    steps, time = [("acquire", 0, 0)], 0
    for _ in range(rounds):
        time += before
        steps.append(("request", 1, time))
        time += wait
        steps += [("drop", 1, time), ("release", 0, time), ("acquire", 1, time + 1000)]
        steps.append(("request", 0, time + 2000))
        time += work
        steps += [("release", 1, time), ("acquire", 0, time + 1000)]
        time += 1000
    return trace_of(*steps, end=time + MS)


def calls(n: int, gap: int, *, back: bool) -> Trace:
    """Return two threads that release all the time: to each other, or only to come back at once."""
    steps, time, holder = [("acquire", 0, 0), ("request", 1, 10)], 100, 0
    for _ in range(n):
        steps.append(("release", holder, time))
        time += gap
        if not back:
            steps += [("acquire", 1 - holder, time), ("request", holder, time + 10)]
            holder = 1 - holder
        else:
            steps.append(("acquire", holder, time))
        time += 100_000
    return trace_of(*steps, end=time)


def turns(*holds: tuple[int, int], repeat: int = 10) -> Trace:
    """Return threads that always want the GIL and hold it in turn for this long."""
    order = [thread for thread, _ in holds] * repeat
    lengths = [ns for _, ns in holds] * repeat
    steps = [("acquire", order[0], 0)]
    steps += [("request", thread, 0) for thread in sorted(set(order)) if thread != order[0]]
    time = 0
    for i, (thread, ns) in enumerate(zip(order, lengths, strict=True)):
        time += ns
        after = order[(i + 1) % len(order)]
        steps += [("drop", after, time - 100), ("release", thread, time), ("acquire", after, time)]
        steps.append(("request", thread, time))
    return trace_of(*steps, end=time)


def test_threads_that_count_all_the_time_saturate_the_gil():
    trace = round_robin(4, 10, hold=5 * MS)
    found = one(trace, "saturated")

    assert found.severity == "high"
    assert found.lost_ns == analysis.threads(trace.recording()).wait_ns.sum()
    assert "4 CPU-bound threads" in found.what
    assert [row["thread"] for row in found.evidence] == [0, 1, 2, 3]


def test_one_thread_that_counts_does_not_saturate_the_gil():
    assert "saturated" not in kinds(convoy(20, 5 * MS))


def test_threads_that_count_with_a_gil_each_do_not_saturate_one():
    alone = [oracle.fold(history(("acquire", thread, 0)), 200 * MS) for thread in range(3)]
    assert not kinds(of_gils(alone, 200 * MS)) & {"saturated", "unfair"}


def test_of_several_gils_the_saturated_one_is_found():
    crowd = round_robin(4, 10, hold=5 * MS)
    both = [*crowd.intervals, *(i._replace(interpreter=1, thread=9) for i in crowd.intervals[:1])]
    found = one(crowd.but(intervals=both), "saturated")
    assert "4 CPU-bound threads" in found.what
    assert [row["thread"] for row in found.evidence] == [0, 1, 2, 3]


def test_a_gil_that_is_mostly_free_is_not_saturated():
    assert "saturated" not in kinds(round_robin(2, 10, hold=5 * MS, gap=2 * MS))


def test_a_thread_that_pays_the_switch_interval_each_time_is_a_convoy():
    found = one(convoy(20, 5 * MS), "convoy")

    assert found.severity == "high"
    assert found.lost_ns == pytest.approx(20 * 5 * MS, rel=0.06)
    assert "t1 comes back" in found.what
    assert "t0" in found.what
    assert "500 us would save up to" in found.advice


@pytest.mark.parametrize(("rounds", "wait"), [(2, 5 * MS), (20, MS), (20, 13 * MS)])
def test_few_rounds_or_other_waits_are_no_convoy(rounds, wait):
    assert "convoy" not in kinds(convoy(rounds, wait))


def test_a_convoy_that_costs_next_to_nothing_is_not_worth_saying():
    trace = convoy(5, 5 * MS)
    long = trace.but(duration=100 * trace.duration)

    assert "convoy" not in kinds(long)


def long_hold(length: int, *, drop: bool) -> Trace:
    steps = [("acquire", 0, 0), ("request", 1, MS), ("request", 2, MS)]
    steps += [("drop", 1, 6 * MS)] if drop else []
    steps += [("release", 0, length), ("acquire", 1, length + 1000)]
    return trace_of(*steps, end=length + 20 * MS)


@pytest.mark.parametrize("drop", [True, False])
def test_a_hold_that_ignores_drop_requests_is_long(drop):
    found = one(long_hold(100 * MS, drop=drop), "long_hold")

    assert found.severity == "high"
    assert found.lost_ns == 2 * 99 * MS
    assert "100 ms" in found.what
    assert "2 threads" in found.what
    assert found.evidence[0]["duration_ns"] == 100 * MS


@pytest.mark.parametrize("drop", [True, False])
def test_a_hold_of_about_a_switch_interval_is_not_long(drop):
    assert "long_hold" not in kinds(long_hold(7 * MS, drop=drop))


def test_a_long_hold_without_waiters_is_not_a_finding():
    trace = trace_of(
        *(("acquire", 0, 0), ("release", 0, 100 * MS), ("acquire", 1, 101 * MS), ("release", 1, 102 * MS)),
        end=110 * MS,
    )
    assert "long_hold" not in kinds(trace)


def test_handoffs_that_are_many_and_cost_are_chatty():
    found = one(calls(2000, 20_000, back=False), "chatty")

    assert found.lost_ns == 2000 * 20_000
    assert found.severity == "medium"
    assert "times a second" in found.what


@pytest.mark.parametrize(
    "trace",
    [
        calls(2000, 500, back=False),
        calls(2000, 20_000, back=True),
        round_robin(2, 50, hold=2 * MS, gap=MS),
        round_robin(2, 500, hold=100_000, gap=20_000),
    ],
    ids=["cheap", "steals", "few", "forced"],
)
def test_cheap_or_few_or_forced_handoffs_are_not_chatty(trace):
    assert "chatty" not in kinds(trace)


def test_a_thread_that_takes_the_gil_back_before_the_woken_one_steals():
    found = one(calls(1000, 20_000, back=True), "steals")

    assert found.lost_ns == 1000 * 20_000
    assert found.what.startswith("1000 times")
    assert found.evidence[0]["thread"] == 0
    assert found.evidence[0]["steals"] == 1000


def test_coming_back_while_no_thread_waits_is_not_a_steal():
    trace = calls(1000, 20_000, back=True)
    no_waits = trace.but(intervals=[i for i in trace.intervals if i.state == "run"])

    assert "steals" not in kinds(no_waits)
    assert "steals" not in kinds(calls(1000, 20_000, back=False))


def test_unequal_shares_of_threads_that_count_are_unfair():
    found = one(turns((0, 40 * MS), (1, 4 * MS)), "unfair")

    assert "t0 ran 400 ms and t1 40.0 ms" in found.what
    assert found.lost_ns == 180 * MS
    assert found.severity == "high"


def test_equal_shares_are_not_unfair():
    assert "unfair" not in kinds(turns((0, 5 * MS), (1, 5 * MS), (2, 4 * MS)))


def test_a_thread_that_wants_little_is_not_treated_unfairly():
    assert "unfair" not in kinds(convoy(20, 5 * MS))


def test_a_program_that_changes_the_switch_interval_is_reported():
    changed = [SwitchInterval(0, 5 * MS), SwitchInterval(7 * MS, 10_000, None, "observed")]
    found = one(round_robin(2, 10).but(switch_intervals=changed), "interval_changed")

    assert found.severity == "medium"
    assert "from 5.00 ms to 10.0 us at 0.007 s" in found.what
    assert found.lost_ns == 0


def test_a_small_change_of_the_switch_interval_matters_little():
    changed = [SwitchInterval(0, 5 * MS), SwitchInterval(7 * MS, 4 * MS, None, "call")]

    assert one(round_robin(2, 10).but(switch_intervals=changed), "interval_changed").severity == "low"


def test_a_switch_interval_that_was_asked_for_is_no_finding():
    asked = [SwitchInterval(0, 10_000, None, "trace argument")]

    assert "interval_changed" not in kinds(round_robin(2, 10).but(switch_intervals=asked))


def test_more_handoffs_than_looks_are_too_coarse():
    trace = sampled(round_robin(2, 10))
    found = one(trace.but(switches=5 * trace.ticks), "too_coarse")

    assert "5.0 times between two ticks" in found.what
    assert found.severity == "medium"
    assert "too_coarse" not in kinds(trace.but(switches=trace.ticks // 2))
    assert "too_coarse" not in kinds(round_robin(2, 10))


def mostly_off(wait: int) -> Trace:
    return Trace(
        1000 * MS,
        threads=[Thread(0, "main", 0, 1000 * MS), Thread(1, "worker", 0, 1000 * MS)],
        intervals=[
            Interval(0, 0, "run", 0, 100 * MS, "voluntary"),
            Interval(1, 0, "wait", 100 * MS - wait, wait, None),
            Interval(1, 0, "run", 100 * MS, 100 * MS, "voluntary"),
        ],
        samples=[Sample(1000 * MS)],
    )


def test_where_threads_hardly_wait_the_gil_is_not_the_problem():
    found = one(mostly_off(2 * MS), "not_the_gil")

    assert found.severity == "info"
    assert found.lost_ns == 2 * MS
    assert "2 threads waited 2.00 ms" in found.what
    assert "held 20.0 % of the time" in found.what


def test_where_a_thread_waits_the_gil_may_be_the_problem():
    often = [
        row._replace(start_ns=row.start_ns + i * 10 * MS)
        for i in range(100)
        for row in (
            Interval(0, 0, "run", 0, MS, "voluntary"),
            Interval(1, 0, "wait", 100_000, 900_000, None),
            Interval(1, 0, "run", MS, MS, "voluntary"),
        )
    ]
    assert not kinds(mostly_off(0).but(intervals=often))
    assert "not_the_gil" not in kinds(round_robin(3, 10, hold=5 * MS))


@pytest.mark.parametrize("edges", ["exact", "sampled"])
def test_one_thread_gives_no_findings(edges):
    changed = [SwitchInterval(0, 5 * MS), SwitchInterval(7, 10_000, None, "observed")]
    trace = trace_of(
        ("acquire", 0, 0), ("release", 0, 90 * MS), end=100 * MS, switch_intervals=changed, idle=[1]
    )

    assert not len(findings(sampled(trace) if edges == "sampled" else trace))


def test_names_cannot_write_to_the_terminal():
    trace = convoy(20, 5 * MS)
    named = trace.but(threads=[t._replace(name=f"a\x1b[2J\n{t.thread}") for t in trace.threads])

    assert all(what.isprintable() for what in findings(named).what)
