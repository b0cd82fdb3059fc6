"""The helpers of `gilscope.analysis` on real traces of which the answer is known."""

import json
import threading
import time

import pandas as pd
import pytest

import gilscope
from gilscope import analysis
from gilscope.report import json as json_report
from gilscope.report import text as text_report
from gilscope.report.layout import columns
from tests.support.processes.programs import HOLDING, run_threads, spin, take_turns

pytestmark = [pytest.mark.clock, pytest.mark.per_build, pytest.mark.basics]

INTERVAL_NS = 5_000_000


def kinds(t) -> list[str]:
    return analysis.findings(t)["kind"].tolist()


def check_sums(t) -> None:
    """What adds up in every exact trace."""
    o = analysis.overhead(t).iloc[0]
    assert o.held_ns + o.free_ns == o.wall_ns
    rows = analysis.threads(t).set_index("thread")
    blame = analysis.blame(t)
    assert blame.sum(axis=1).to_dict() == rows.wait_ns[rows.wait_ns > 0].to_dict()
    assert analysis.holds(t)["inflicted_ns"].sum() == blame.drop(columns="free").to_numpy().sum()
    assert (rows.run_ns + rows.wait_ns + rows.off_ns == rows.life_ns).all()


def test_two_busy_threads_take_turns_of_an_interval():
    with gilscope.trace(None, edges="exact", switch_interval=0.005) as t:
        take_turns(("a", "b"), 30)

    check_sums(t)
    h = analysis.handoffs(t)
    asked = h[h["drop_request_ns"].notna()]
    assert asked["forced"].all()
    assert len(asked) >= 10
    # A waiter asks when an interval has run out, or several in which the GIL was handed over.
    assert (asked["patience_ns"] >= INTERVAL_NS - 1000).all()
    assert (asked["patience_ns"] + asked["response_ns"] + asked["gap_ns"] == asked["wait_ns"]).all()
    # That wait is nearly all patience, which is what the switch interval answers for.
    [row] = analysis.switch_interval(t, []).to_dict("records")
    assert row["patience_ns"] + row["response_ns"] + row["gap_ns"] + row["voluntary_ns"] == row["wait_ns"]
    assert row["interval_ns"] == INTERVAL_NS
    assert row["patience_ns"] >= 0.5 * row["wait_ns"]


def test_a_convoy_is_found_with_its_rounds():
    done = threading.Event()

    def busy():
        while not done.is_set():
            pass

    def io():
        for _ in range(40):
            time.sleep(0.0003)
        done.set()

    with gilscope.trace(None, edges="exact", switch_interval=0.005) as t:
        run_threads(busy, io, names=("cpu", "io"))

    check_sums(t)
    rows = analysis.convoys(t)
    rows = rows[(rows.thread_name == "io") & (rows.holder_name == "cpu")]
    # On a busy machine the kernel keeps the io thread from a round now and then, which is no round then.
    assert 10 <= rows.rounds.sum() <= 40
    assert (rows.mean_wait_ns >= INTERVAL_NS / 2).all()
    assert (rows.lost_ns + rows.idle_ns == rows.end_ns - rows.start_ns).all()
    [finding] = [f for f in analysis.findings(t).to_dict("records") if f["kind"] == "convoy"]
    assert "io comes back" in finding["what"]
    assert "for cpu" in finding["what"]
    assert finding["severity"] != "info"


def test_a_hold_that_three_threads_wait_on_inflicts_three_times_its_length():
    begun = threading.Barrier(4)
    holding = threading.Event()

    def hold():
        begun.wait()
        holding.set()
        HOLDING.usleep(200_000)

    def want():
        begun.wait()
        holding.wait()
        sum(range(10))

    with gilscope.trace(None, edges="exact") as t:
        run_threads(hold, want, want, want, names=("holder", "w1", "w2", "w3"))

    check_sums(t)
    longest = analysis.holds(t).iloc[0]
    assert longest.thread_name == "holder"
    assert longest.duration_ns >= 200_000_000
    assert longest.waiters in (3, 4)  # the main thread may have asked, too
    begin, end = longest.start_ns, longest.start_ns + longest.duration_ns
    waits = [r for r in t.intervals.to_pylist() if r["state"] == "wait"]
    shared = [min(r["start_ns"] + r["duration_ns"], end) - max(r["start_ns"], begin) for r in waits]
    assert longest.inflicted_ns == sum(max(ns, 0) for ns in shared)
    # They want it as soon as they get a processor: on a busy machine within half the hold.
    assert longest.inflicted_ns >= 3 * 100_000_000
    assert longest.overrun_ns >= 90_000_000
    [finding] = [f for f in analysis.findings(t).to_dict("records") if f["kind"] == "long_hold"]
    assert finding["what"].startswith("holder kept the GIL for up to 2")
    assert finding["lost_ns"] >= 3 * 100_000_000


def test_the_gil_is_not_the_problem_of_an_idle_program():
    with gilscope.trace(None, edges="exact") as t:
        run_threads(lambda: time.sleep(0.1), lambda: time.sleep(0.1), names=("a", "b"))

    check_sums(t)
    assert kinds(t) == ["not_the_gil"]
    o = analysis.overhead(t).iloc[0]
    assert o.held_share < 0.5


def test_one_thread_gets_no_advice():
    with gilscope.trace(None, edges="exact") as t:
        spin(0.05)
    assert kinds(t) == []
    assert "What costs most" not in t.report()


@pytest.mark.parametrize("edges", ["exact", "sampled"])
def test_the_report_of_any_trace_is_at_most_100_columns_and_all_of_json(edges):
    with gilscope.trace(None, edges=edges) as t:
        run_threads(lambda: spin(0.1), lambda: spin(0.1), names=("a" * 90, "tab\there"))

    assert max(map(columns, t.report().splitlines())) <= 100
    figures = json.loads(t.report(format="json"))
    assert {"overhead", "threads", "findings", "blame", "convoys", "holds", "timeline"} <= set(figures)
    assert figures["overhead"]["held_ns"] == analysis.overhead(t)["held_ns"].iloc[0]
    if edges == "sampled":
        assert figures["overhead"]["steals"] is None
        low, value, high = (figures["overhead"][f"held_share{end}"] for end in ("_low", "", "_high"))
        assert low <= value <= high


def test_a_comparison_of_repeats_has_intervals():
    def traced():
        with gilscope.trace(None, edges="exact") as t:
            run_threads(lambda: spin(0.02), lambda: spin(0.02), names=("a", "b"))
        return t

    rows = analysis.compare([traced(), traced()], [traced(), traced()])
    wall = rows.set_index("figure").loc["wall_ns"]
    assert wall.ratio_low <= wall.ratio <= wall.ratio_high
    assert set(rows[rows.thread_name.notna()].thread_name) == {"MainThread", "a", "b"}
    assert isinstance(rows, pd.DataFrame)


def test_a_trace_of_no_length_has_a_report():
    from gilscope.tables.stored import Tables

    facts = {"gilscope_version": "0", "python_version": "3", "not_measured": [], "switches": 0, "ticks": 0}
    for edges in ("exact", "sampled"):
        t = Tables(None, {**facts, "duration_ns": 0, "edges": edges})
        assert "0 hand-offs" in text_report.render(t)
        assert json.loads(json_report.render(t))["overhead"]["wall_ns"] == 0
