"""Paths, tables and mappings work like a trace; other values are refused with what was expected."""

import math
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given

from gilscope import analysis
from gilscope.errors import OptionError, TraceFormatError
from gilscope.tables.files import describe_file
from gilscope.tables.folder import METADATA_FILE
from gilscope.tables.metadata import write_metadata
from gilscope.tables.schema import TABLES
from tests.support.analysed import each_helper, rows
from tests.support.drawn.rows import Sample, Thread, Trace
from tests.support.drawn.traces import (
    calm,
    traces,
)

pytestmark = pytest.mark.extremes


def folder_of(trace: Trace, folder) -> str:
    folder.mkdir()
    t = trace.recording()
    for name, table in trace.tables().items():
        with pa.ipc.new_file(folder / f"{name}.arrow", table.schema) as writer:
            writer.write_table(table)
    files = {file.name: describe_file(file) for file in folder.iterdir()}
    facts = {"gilscope_version": "0.1.0", "python_version": "3.11.7", "not_measured": []}
    write_metadata(folder, {**facts, **t.metadata, "files": files})
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
def test_intervals_alone_are_enough_for_runs_and_waits(form, trace):
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
    monkeypatch.setattr(analysis.windows, "MOST_CELLS", 10)
    with pytest.raises(OptionError, match="expected at most"):
        analysis.timeline(trace.recording(), trace.duration / 1e9 / 20)


def test_a_number_of_any_kind_is_a_window(trace):
    t = trace.recording()
    assert len(analysis.timeline(t, np.float32(1.0))) == len(analysis.timeline(t, np.int64(1)))


def test_a_refused_window_names_what_the_helper_takes(trace):
    t = trace.recording()

    with pytest.raises(OptionError, match="'thread', 'interpreter', a number of seconds or None"):
        analysis.overhead(t, by="threads")
    with pytest.raises(OptionError, match="expected a number of seconds, got None"):
        analysis.timeline(t, None)
    with pytest.raises(OptionError, match="at most 1000000 windows"):
        analysis.timeline(t, 1e-9)


@pytest.mark.parametrize("over", [-1, math.nan, math.inf, True, "long", [1]], ids=repr)
def test_an_invalid_length_of_holds_is_refused(over, trace):
    with pytest.raises(OptionError, match="number of seconds of at least 0"):
        analysis.holds(trace.recording(), over=over)


def test_nothing_cannot_be_compared(trace):
    for sides in (([], trace.recording()), (trace.recording(), []), ([], [])):
        with pytest.raises(OptionError, match="expected a trace, or a list of at least one"):
            analysis.compare(*sides)


def test_a_matrix_that_does_not_fit_is_refused(monkeypatch, trace):
    monkeypatch.setattr(sys.modules["gilscope.analysis.holds"], "MOST_CELLS", 5)

    with pytest.raises(OptionError, match="holds"):
        analysis.blame(trace.recording())


def test_an_unknown_table_is_refused_with_the_known_names():
    with pytest.raises(OptionError) as refused:
        analysis.threads({"runs": pd.DataFrame()})

    assert all(name in str(refused.value) for name in TABLES)
