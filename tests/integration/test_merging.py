"""The GIL's lanes in VizTracer's reports equal the tables and agree with its functions."""

from pathlib import Path

import pytest

import gilscope
from tests.support.viztracer import merged
from tests.support.viztracer import programs as programs_with_viztracer


def rows_of(trace: gilscope.Trace) -> dict[tuple[int, int], list[merged.Slice]]:
    """Return the intervals of a trace as the lanes of a report show them."""
    zero_ns, pid = trace.metadata["start_monotonic_ns"], trace.metadata["pid"]
    native = dict(zip(*(trace.threads[c].to_pylist() for c in ("thread", "native_id")), strict=True))
    lanes: dict[tuple[int, int], list[merged.Slice]] = {(pid, n): [] for n in native.values()}
    for row in trace.intervals.to_pylist():
        start = zero_ns + row["start_ns"]
        lanes[pid, native[row["thread"]]].append((row["state"], start, row["duration_ns"]))
    return lanes


def assert_functions_hold_the_gil(trace: gilscope.Trace, found: merged.Merged) -> None:
    begin = trace.metadata["start_monotonic_ns"]
    end = begin + trace.metadata["duration_ns"]
    # The error of the trace's clock, plus the largest error seen of VizTracer's clock.
    tolerance_ns = 1000 + trace.metadata["clock_error_ns"]
    checked = 0
    for thread, functions in found.functions.items():
        assert (
            merged.edges_without_the_gil(functions, found.gil.get(thread, []), begin, end, tolerance_ns) == []
        )
        checked += len(functions)
    assert checked > 1000
    # On 3.12 and later VizTracer without gilscope calls them Dummy-1.
    workers = {name for thread, name in found.names.items() if thread in found.gil and name != "MainThread"}
    assert workers == {"worker-0", "worker-1"}


@pytest.mark.parametrize("way", ["viztracer outside", "command outside", "merged afterwards", "saved twice"])
def test_a_merged_report_has_lanes_equal_to_the_tables(tmp_path: Path, way: str) -> None:
    found = merged.read(programs_with_viztracer.run(tmp_path, way))
    trace = gilscope.load(tmp_path / "run.gilscope")
    for lane, rows in rows_of(trace).items():
        assert sorted(found.gil[lane]) == sorted(rows)
    assert_functions_hold_the_gil(trace, found)


def test_a_report_saved_during_the_trace_has_the_events_so_far(tmp_path: Path) -> None:
    found = merged.read(programs_with_viztracer.run(tmp_path, "plugin inside"))
    trace = gilscope.load(tmp_path / "run.gilscope")
    until = max(start + ns for rows in found.functions.values() for _name, start, ns in rows)
    for lane, rows in rows_of(trace).items():
        assert {row for row in rows if row[1] + row[2] < until} <= set(found.gil[lane])
    assert_functions_hold_the_gil(trace, found)


def test_the_plugin_reaches_children_each_with_lanes_of_its_own(tmp_path: Path) -> None:
    found = merged.read(programs_with_viztracer.run(tmp_path, "children"))
    assert not list(tmp_path.glob("gilscope-*")), "a recording was left behind"
    pids = {pid for pid, _native in found.functions}
    assert len(pids) == 5
    assert {pid for pid, _native in found.gil} == pids == set(found.held)
    counting = {pid for (pid, _native), name in found.names.items() if name == "counter"}
    assert len(counting) == 4
    for (pid, native), functions in found.functions.items():
        # In a forked child VizTracer still gives the main thread the id of the parent's.
        lane = found.gil.get((pid, native)) or found.gil[pid, pid]
        begin, end = min(row[1] for row in lane), max(row[1] + row[2] for row in lane)
        assert merged.edges_without_the_gil(functions, lane, begin, end) == []
