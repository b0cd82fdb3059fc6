"""Places in the program: what they held, inflicted and lost adds up, and agrees with the slow twins."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gilscope import analysis
from gilscope.errors import OptionError
from tests.support.analysed import rows
from tests.support.drawn.rows import Site
from tests.support.drawn.traces import MS, calm, history, of_gils, oracle, round_robin, sampled, traces
from tests.support.oracles import sites as slowsites
from tests.support.oracles.sites import located

pytestmark = pytest.mark.extremes

a_place = st.sampled_from(["line", "function", "file"])
a_frame = st.sampled_from(["innermost", "program"])


def by_place(found):
    return {(row.pop("function"), row.pop("file"), row.pop("line")): row for row in rows(found)}


@calm
@given(traces().flatmap(located), a_place, a_frame)
def test_sites_agree_with_the_slow_twin(trace, by, frame):
    assert by_place(analysis.sites(trace.recording(), by, frame)) == slowsites.sites(trace, by, frame)


@calm
@given(traces().flatmap(located), a_place, a_frame)
def test_sums_over_places_are_those_of_the_trace(trace, by, frame):
    t = trace.recording()

    found, whole, held = analysis.sites(t, by, frame), analysis.overhead(t).iloc[0], analysis.holds(t)

    assert found["held_ns"].sum() == whole.held_ns
    assert found["holds"].sum() == len(held)
    assert found["inflicted_ns"].sum() == held["inflicted_ns"].sum()
    assert found["overhead_ns"].sum() <= whole.overhead_ns  # the rest was lost before the first hold


@calm
@given(traces().flatmap(located), a_place)
def test_blame_by_place_agrees_with_the_slow_twin(trace, by):
    found = analysis.blame(trace.recording(), by)

    expected = slowsites.blame(trace, by)
    texts = {
        (waiter, holder): ns
        for waiter, row in zip(found.index, found.to_numpy().tolist(), strict=True)
        for holder, ns in zip(found.columns, row, strict=True)
        if ns
    }
    assert texts == {
        (slowsites.text(waiter), holder if holder == "free" else slowsites.text(holder)): ns
        for waiter, row in expected.items()
        for holder, ns in row.items()
        if ns
    }


@calm
@given(traces().flatmap(located))
def test_calls_that_keep_the_gil_agree_with_the_slow_twin(trace):
    found = rows(analysis.keeps_gil(trace.recording()))

    def order(row):
        return tuple(map(str, row.values()))

    assert sorted(found, key=order) == sorted(slowsites.keeps_gil(trace), key=order)
    assert [row["inflicted_ns"] for row in found] == sorted((r["inflicted_ns"] for r in found), reverse=True)


@pytest.fixture
def deaf():
    """A call of a library that keeps the GIL for 200 ms, though it is asked after 5; then a short one."""
    events = history(
        ("acquire", 0, 0),
        ("request", 1, 0),
        ("drop", 1, 5 * MS),
        ("release", 0, 200 * MS),
        ("acquire", 1, 200 * MS),
        ("release", 1, 201 * MS),
        ("acquire", 0, 202 * MS),
    )
    trace = of_gils([oracle.fold(events, 210 * MS)], 210 * MS)
    stack = [
        Site(0, None, "(callers not kept)", None, None, None),
        Site(1, 0, "main", "/app/main.py", 7, 1),
        Site(2, 1, "match", "/lib/python/re.py", 166, 160),
        Site(3, None, "worker", "/app/main.py", 20, 18),
    ]
    where = {(0, "run", 0): 2, (1, "run", 200 * MS): 3, (1, "wait", 0): 3}
    intervals = [i._replace(site=where.get((i.thread, i.state, i.start_ns))) for i in trace.intervals]
    return trace.but(sites=stack, intervals=intervals, library_paths=["/lib/python"])


def test_a_call_that_keeps_the_gil_is_named_with_its_line_and_that_of_the_program(deaf):
    (row,) = rows(analysis.keeps_gil(deaf.recording()))

    assert (row["function"], row["file"], row["line"]) == ("match", "/lib/python/re.py", 166)
    assert row["called_from"] == "main (/app/main.py:7)"
    assert (row["calls"], row["inflicted_ns"], row["response_max_ns"]) == (1, 200 * MS, 195 * MS)


def test_a_finding_names_the_line_that_kept_the_gil(deaf):
    found = analysis.findings(deaf.recording())

    sentence = found[found.kind == "long_hold"].what.item()
    assert "in match (python/re.py:166), called from main (app/main.py:7)" in sentence


def test_a_saturated_gil_is_reported_with_the_line_that_holds_it():
    trace = round_robin(2, 40, hold=5 * MS)
    stack = [
        Site(0, None, "(callers not kept)", None, None, None),
        Site(1, None, "spin", "/app/main.py", 3, 1),
    ]
    trace = trace.but(sites=stack, intervals=[i._replace(site=1) for i in trace.intervals])

    found = analysis.findings(trace.recording())

    assert "mostly in spin (app/main.py:3)" in found[found.kind == "saturated"].what.item()


@pytest.mark.parametrize("helper", [analysis.sites, analysis.keeps_gil, lambda t: analysis.blame(t, "line")])
def test_a_trace_without_sites_says_so_in_words(helper):
    for trace in (round_robin(2, 3), sampled(round_robin(2, 3))):
        with pytest.raises(OptionError, match="record it with exact edges and sites=True"):
            helper(trace.recording())


@pytest.mark.parametrize(("by", "frame"), [("row", "innermost"), ("line", "outermost"), (None, "program")])
def test_unknown_places_are_refused(deaf, by, frame):
    with pytest.raises(OptionError, match="must be one of"):
        analysis.sites(deaf.recording(), by, frame)
