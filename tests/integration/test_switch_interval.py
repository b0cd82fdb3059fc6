"""The switch interval while tracing: calls are recorded, and everything is put back."""

import sys
import threading

import pytest

import gilscope
from gilscope import errors

pytestmark = [pytest.mark.clock, pytest.mark.per_build]

ORIGINAL = sys.setswitchinterval


def rows(t):
    return [(r["interval_ns"], r["previous_ns"], r["source"]) for r in t.switch_intervals.to_pylist()]


@pytest.fixture(autouse=True)
def put_back():
    before = sys.getswitchinterval()
    yield
    assert sys.setswitchinterval is ORIGINAL
    sys.setswitchinterval(before)


@pytest.mark.parametrize("edges", ["exact", "sampled"])
def test_a_call_is_a_row_with_its_place(edges):
    with gilscope.trace(None, edges=edges) as t:
        sys.setswitchinterval(0.002)
        line = sys._getframe().f_lineno - 1

    assert rows(t) == [(5_000_000, None, "start"), (2_000_000, 5_000_000, "call")]
    [_, call] = t.switch_intervals.to_pylist()
    assert (call["file"], call["line"]) == (__file__, line)
    assert t.threads["name"].to_pylist()[call["thread"]] == "MainThread"
    assert "switch interval 5.00 ms, then 2.00 ms" in t.report()


@pytest.mark.parametrize("edges", ["exact", "sampled"])
def test_a_call_in_another_thread_is_recorded_for_that_thread(edges):
    with gilscope.trace(None, edges=edges) as t:
        thread = threading.Thread(target=sys.setswitchinterval, args=(0.001,), name="library")
        thread.start()
        thread.join()

    [_, call] = t.switch_intervals.to_pylist()
    assert t.threads["name"].to_pylist()[call["thread"]] == "library"
    if edges == "exact":  # sampling hardly sees so short a life, and one thread gets no findings
        assert gilscope.analysis.findings(t)["kind"].tolist().count("interval_changed") == 1


def test_a_reference_taken_before_is_observed():
    with gilscope.trace(None) as t:
        ORIGINAL(0.003)  # seen at the next tick, at the latest by the last look at the end

    assert rows(t) == [(5_000_000, None, "start"), (3_000_000, 5_000_000, "observed")]


def test_a_value_that_python_refuses_changes_nothing():
    with gilscope.trace(None) as t:
        for bad, error in ((0, ValueError), (-1.0, ValueError), ("x", TypeError)):
            with pytest.raises(error):
                sys.setswitchinterval(bad)

    assert rows(t) == [(5_000_000, None, "start")]


def test_the_argument_is_the_first_row_and_is_put_back():
    with gilscope.trace(None, switch_interval=0.0005) as t:
        assert sys.getswitchinterval() == pytest.approx(0.0005)
    assert sys.getswitchinterval() == pytest.approx(0.005)
    assert rows(t) == [(500_000, None, "trace argument")]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_puts_back_interval_and_function(error):
    with pytest.raises(error), gilscope.trace(None, switch_interval=0.0005):
        assert sys.setswitchinterval is not ORIGINAL
        raise error
    assert sys.setswitchinterval is ORIGINAL
    assert sys.getswitchinterval() == pytest.approx(0.005)


def test_the_users_own_value_stays_and_the_report_says_so():
    with gilscope.trace(None, switch_interval=0.0005) as t:
        sys.setswitchinterval(0.007)
    assert sys.getswitchinterval() == pytest.approx(0.007)
    assert "of its own" in t.report()


def test_a_trace_within_a_trace_is_refused_and_harms_nothing():
    with gilscope.trace(None) as t:
        mine = sys.setswitchinterval
        with pytest.raises(errors.TraceActiveError), gilscope.trace(None, switch_interval=0.0001):
            pass
        assert sys.setswitchinterval is mine
        assert sys.getswitchinterval() == pytest.approx(0.005)
    assert t.metadata["complete"]


def test_a_thread_that_still_runs_after_the_block_may_call_what_it_kept():
    ready, go, kept = threading.Event(), threading.Event(), []

    def late():
        kept.append(sys.setswitchinterval)
        ready.set()
        go.wait()
        kept[0](0.004)

    with gilscope.trace(None) as t:
        thread = threading.Thread(target=late)
        thread.start()
        ready.wait()
    go.set()
    thread.join()
    assert sys.getswitchinterval() == pytest.approx(0.004)
    assert rows(t) == [(5_000_000, None, "start")]


def test_a_wrapper_of_another_tool_is_left_in_place(monkeypatch):
    with gilscope.trace(None):
        inner = sys.setswitchinterval

        def theirs(interval):
            inner(interval)

        sys.setswitchinterval = theirs
    assert sys.setswitchinterval is theirs
    theirs(0.002)
    assert sys.getswitchinterval() == pytest.approx(0.002)
    sys.setswitchinterval = ORIGINAL
