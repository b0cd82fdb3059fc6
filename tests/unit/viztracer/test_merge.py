"""Lanes of a trace are added to a report of VizTracer completely and once, or the report does not change."""

import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from viztracer.report_builder import ReportBuilder

from gilscope.errors import OptionError, TraceFormatError, TraceWriteError
from gilscope.tables.stored import Tables
from gilscope.viztracer import export, merge, merge_into
from gilscope.viztracer.selection import choose
from gilscope.viztracer.timeline import Timeline
from tests.support.drawn import timelines
from tests.support.drawn.marks import marked_traces
from tests.support.drawn.rows import Mark
from tests.support.drawn.timelines import PID, ZERO_NS
from tests.support.drawn.traces import calm, round_robin
from tests.support.oracles.timeline import shown

pytestmark = pytest.mark.extremes

PROGRAM = """
import sys, threading
from viztracer import VizTracer

def f(n):
    return sum(str(i).count("1") for i in range(n))

def work():
    'A source that looks like a report: {"traceEvents": [{"args": {"gilscope": "4301-1"}}]}'
    return [f(n) for n in range(20)]

target, raw = sys.argv[1], sys.argv[2] == "raw"
with VizTracer(output_file=target, dump_raw=raw, verbose=0, file_info=True) as tracer:
    thread = threading.Thread(target=work, name='größer " ] }')
    thread.start(); work(); thread.join()
    tracer.log_instant("] traceEvents [", args={"text": '"]}, "traceEvents": ['})
"""


@pytest.fixture(scope="session")
def reports(tmp_path_factory) -> dict[str, bytes]:
    """Return reports that VizTracer writes, by its C code and by its ReportBuilder."""
    folder = tmp_path_factory.mktemp("reports")
    found = {}
    for name, how in (("raw.json", "raw"), ("built.json", "built"), ("built.json.gz", "built")):
        command = [sys.executable, "-c", PROGRAM, str(folder / name), how]
        subprocess.run(command, check=True, cwd=folder)
        found[name] = (folder / name).read_bytes()
    return found


def a_trace(number: int = 0, names=timelines.HOSTILE_NAMES) -> Tables:
    trace = round_robin(9, 2)
    marks = [Mark(1, "[mark]", 5), Mark(2, 'region "traceEvents":[ (x:1)', 9, 400)]
    threads = [t._replace(name=n) for t, n in zip(trace.threads, names, strict=False)]
    start = {"start_monotonic_ns": ZERO_NS + number, "start_unix_ns": 10**18 + number}
    return trace.but(threads=threads, marks=marks).recording(pid=PID, trace_number=number, **start)


def events(content: bytes) -> list[dict]:
    return json.loads(gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content)["traceEvents"]


def ours(recording: Tables) -> list[dict]:
    """Return the events that a trace adds to a report: its timeline, and the names of threads."""
    timeline = Timeline(recording, choose(recording, None, None))
    data: dict = {"traceEvents": []}
    merge.add_to(data, timeline)
    return data["traceEvents"]


def same(found: list[dict], expected: list[dict]) -> bool:
    return timelines.in_order(found) == timelines.in_order(expected)


@pytest.mark.parametrize("name", ["raw.json", "built.json", "built.json.gz"])
def test_reports_of_viztracer_get_every_event_once(tmp_path, reports, name):
    target = tmp_path / name
    target.write_bytes(reports[name])
    before = json.loads(gzip.decompress(reports[name]) if name.endswith(".gz") else reports[name])
    assert merge_into(a_trace(), target) is None
    after = json.loads(gzip.decompress(target.read_bytes()) if name.endswith(".gz") else target.read_bytes())
    assert same(after["traceEvents"], before["traceEvents"] + ours(a_trace()))
    assert {k: v for k, v in after.items() if k != "traceEvents"} == {
        k: v for k, v in before.items() if k != "traceEvents"
    }
    content = target.read_bytes()
    assert merge_into(a_trace(), target) is None
    assert target.read_bytes() == content, "a second time changes nothing"
    assert merge_into(a_trace(1), target) is None
    both = before["traceEvents"] + ours(a_trace()) + ours(a_trace(1))
    assert same(events(target.read_bytes()), both)
    ids = [e["id"] for e in events(target.read_bytes()) if e["ph"] == "s"]
    assert len(ids) == len(set(ids)) > 0
    assert [file.name for file in tmp_path.iterdir()] == [name]


@calm
@given(marked_traces(), st.booleans())
def test_files_and_reports_in_memory_get_the_same_events(tmp_path_factory, trace, first):
    recording = trace.recording(pid=PID, start_monotonic_ns=ZERO_NS)
    report = {"traceEvents": [{"ph": "i", "name": "x", "ts": 1.5}], "viztracer_metadata": {}}
    if not first:
        report = dict(reversed(report.items()))
    target = tmp_path_factory.mktemp("same") / "report.json"
    target.write_text(json.dumps(report))
    merge_into(recording, target)
    timeline = Timeline(recording, choose(recording, None, None))
    assert merge.add_to(report, timeline)
    assert same(events(target.read_bytes()), report["traceEvents"])
    assert not merge.add_to(report, timeline), "a second time adds nothing"
    assert same(events(target.read_bytes()), report["traceEvents"])


def test_it_adds_the_timeline_and_the_names_of_threads(tmp_path):
    recording = a_trace()
    export(recording, tmp_path / "alone.json")
    alone = [e for e in events((tmp_path / "alone.json").read_bytes()) if e["name"] != "process_name"]
    names = [e for e in ours(recording) if e not in alone]
    assert same(ours(recording), alone + names)
    end_us = (ZERO_NS + recording.metadata["duration_ns"]) / 1000
    threads = recording.threads.to_pylist()
    assert names == [
        {
            "ph": "M",
            "name": "thread_name",
            "pid": PID,
            "tid": row["native_id"],
            "args": {"name": shown(row["name"])},
            "ts": end_us,
        }
        for row in threads
        if row["name"]
    ]


SHAPES = {
    "no events": '{"traceEvents":[]}',
    "no events, with blanks": ' {\n"traceEvents" : [ \n ] , "viztracer_metadata" : {} }\n\n',
    "pretty": json.dumps({"traceEvents": [{"ph": "i", "name": "ö", "ts": 1}], "x": [1]}, indent=2),
    "keys in another order": '{"file_info": {"files": {"a": ["]", 1]}}, "traceEvents": [{"ph": "i"}]}',
    "the word inside a string": '{"file_info": "\\"traceEvents\\": [", "traceEvents": [{"ph": "i"}]}',
    "brackets inside strings": '{"traceEvents": [{"ph": "]}"}], "file_info": "],\\"traceEvents\\":["}',
    "surrogates": '{"x": 1, "traceEvents": [{"ph": "i", "name": "\\ud83d\\ude00 \\udcff"}]}',
    "a byte order mark": '\ufeff{"traceEvents": [{"ph": "i"}]}',
    "not a number": '{"x": 1, "traceEvents": [{"ph": "C", "args": {"v": NaN}}]}',
    "events of other types": '{"traceEvents": [1, null, [], {"ph": "M"}, {"ph": "M", "args": []}], "x": 1}',
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("name", ["report.json", "report.json.gz"])
def test_reports_of_every_shape(tmp_path, shape, name):
    target = tmp_path / name
    packed = name.endswith(".gz")
    target.write_bytes(gzip.compress(shape.encode()) if packed else shape.encode())
    merge_into(a_trace(), target)
    content = gzip.decompress(target.read_bytes()) if packed else target.read_bytes()
    before, after = json.loads(shape.lstrip("\ufeff")), json.loads(content)
    seen = [repr(e).replace("\\udcff", "?") for e in before.pop("traceEvents")]
    added = after.pop("traceEvents")
    assert repr(before) == repr(after)
    assert sorted(map(repr, added)) == sorted(seen + list(map(repr, ours(a_trace()))))
    merge_into(a_trace(), target)
    again = gzip.decompress(target.read_bytes()) if packed else target.read_bytes()
    assert again == content


@pytest.mark.parametrize("piece", [1, 5, 16, 17, 18, 40, 97])
@pytest.mark.parametrize("blank", ["", " "])
def test_pieces_of_any_size(tmp_path, monkeypatch, piece, blank):
    monkeypatch.setattr(merge, "_PIECE", piece)
    target = tmp_path / "report.json"
    for before in range(0, 40, 3):
        head = f'{{"traceEvents":[{" " * before}'
        events_there = f'{{"ph":"M","args":{{"name":"{"x" * before}","gilscope":{blank}"4301-7"}}}}'
        target.write_text(f"{head}{events_there}]}}")
        merge_into(a_trace(), target)
        assert len(events(target.read_bytes())) == 1 + len(ours(a_trace()))
        target.write_text(target.read_text().replace('"gilscope":"', f'"gilscope":{blank}"'))
        content = target.read_bytes()
        merge_into(a_trace(), target)
        assert target.read_bytes() == content, "the identity is found wherever pieces end"


def test_a_name_that_looks_like_the_identity_is_ignored(tmp_path):
    identity = Timeline(a_trace(), choose(a_trace(), None, None)).identity
    target = tmp_path / "report.json"
    target.write_text(json.dumps({"traceEvents": [{"ph": "i", "name": f'"gilscope": "{identity}"'}]}))
    merge_into(a_trace(), target)
    assert len(events(target.read_bytes())) == 1 + len(ours(a_trace()))


NOT_REPORTS = {
    "nothing": b"",
    "blanks": b" \n",
    "not JSON": b"<html>",
    "a list": b"[]",
    "a list of events": b'[{"ph": "i", "name": "x"}]',
    "a number": b"7",
    "no traceEvents": b'{"events": []}',
    "traceEvents is not a list": b'{"a": 1, "traceEvents": {}}',
    "not UTF-8": b'{"a": "\xff", "traceEvents": []}',
    "deep": b"[" * 100_000,
    "cut in an event": b'{"traceEvents": [{"ph": "i", "name": ',
    "cut after the events": b'{"traceEvents": [{"ph": "i"}]',
    "cut at once": b'{"traceEvents":[',
    "cut, other order": b'{"a": 1, "traceEvents": [',
    "zeros": bytes(5000),
}


def stays(recording: Tables, target: Path, match: str, error=TraceFormatError, **how) -> None:
    """Assert that a report is refused and nothing in its folder changes."""
    before = {file.name: file.read_bytes() for file in target.parent.iterdir() if file.is_file()}
    with pytest.raises(error, match=match):
        merge_into(recording, target, **how)
    assert {file.name: file.read_bytes() for file in target.parent.iterdir() if file.is_file()} == before


@pytest.mark.parametrize("content", NOT_REPORTS.values(), ids=NOT_REPORTS.keys())
@pytest.mark.parametrize("name", ["report.json", "report.json.gz"])
def test_other_files_are_refused_and_do_not_change(tmp_path, content, name):
    target = tmp_path / name
    target.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    stays(a_trace(), target, rf"{name}: not a whole report of VizTracer: .*; save it again")


def test_packed_reports_that_are_damaged(tmp_path):
    whole = bytearray(gzip.compress(json.dumps({"traceEvents": [random.random()] * 999}).encode()))
    target = tmp_path / "report.json.gz"
    for damaged in (
        whole[:-1],
        whole[: len(whole) // 2],
        b"plain",
        b"",
        whole[:30] + b"\xff" * 20 + whole[50:],
    ):
        target.write_bytes(damaged)
        stays(a_trace(), target, "report.json.gz: not a whole report of VizTracer")


def test_a_missing_report_is_named(tmp_path):
    stays(a_trace(), tmp_path / "report.json", "no such report; save it with VizTracer first")
    (tmp_path / "folder.json").mkdir()
    stays(a_trace(), tmp_path / "folder.json", "no such report")
    with pytest.raises(TraceFormatError, match=r"nowhere/report\.json: no such report"):
        merge_into(a_trace(), tmp_path / "nowhere" / "report.json")


@pytest.mark.parametrize("name", ["report", "report.html", "report.JSON", "report.gz"])
def test_other_suffixes_are_refused(tmp_path, name):
    (tmp_path / name).write_text('{"traceEvents": []}')
    stays(a_trace(), tmp_path / name, r"name ends in \.json or \.json\.gz", OptionError)


@pytest.mark.parametrize("how", [{"max_slices": 0}, {"window": (3, 2)}, {"flows": "all"}])
def test_arguments_that_cannot_be_used(tmp_path, how):
    (tmp_path / "report.json").write_text('{"traceEvents": []}')
    stays(a_trace(), tmp_path / "report.json", "must be", OptionError, **how)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path):
    target = tmp_path / "report.json"
    target.write_text('{"traceEvents": []}')
    tmp_path.chmod(0o555)
    stays(a_trace(), target, "cannot be written: Permission denied", TraceWriteError)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_report_that_cannot_be_read(tmp_path):
    target = tmp_path / "report.json"
    target.touch(mode=0)
    with pytest.raises(TraceWriteError, match="Permission denied"):
        merge_into(a_trace(), target)


def test_a_full_disk_costs_nothing(tmp_path, monkeypatch):
    target = tmp_path / "report.json"
    target.write_text('{"traceEvents": []}')

    def full(*_args, **_how):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(merge, "_splice", full)
    stays(a_trace(), target, "No space left on device; choose a folder", TraceWriteError)


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666])
@pytest.mark.parametrize("name", ["report.json", "report.json.gz"])
def test_the_permissions_of_a_report_do_not_change(tmp_path, mode, name):
    target = tmp_path / name
    target.write_bytes(
        gzip.compress(b'{"traceEvents": []}') if name.endswith("z") else b'{"traceEvents": []}'
    )
    target.chmod(mode)
    merge_into(a_trace(), target)
    assert target.stat().st_mode & 0o777 == mode


def test_a_link_still_points_to_the_report(tmp_path):
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    real.write_text('{"traceEvents": []}')
    link.symlink_to(real)
    merge_into(a_trace(), link)
    assert link.is_symlink()
    assert same(events(real.read_bytes()), ours(a_trace()))


def test_a_window_and_what_was_left_out(tmp_path):
    target = tmp_path / "report.json"
    target.write_text('{"traceEvents": []}')
    left_out = merge_into(a_trace(), target, max_slices=10, flows=False)
    assert left_out.startswith("45 intervals are more than 10, so the timeline shows ")
    found = events(target.read_bytes())
    assert sum(e["name"] in ("run", "wait") for e in found) <= 10
    assert not [e for e in found if e["ph"] in "sf"]


def test_progress_is_reported(tmp_path):
    target = tmp_path / "report.json"
    target.write_text('{"traceEvents": []}')
    seen: list[int] = []
    merge_into(a_trace(), target, progress=seen.append)
    assert seen == [a_trace().intervals.num_rows]


@pytest.mark.parametrize("data", [None, [], 7, {}, {"traceEvents": None}, {"traceEvents": {}}])
def test_other_objects_in_memory_are_refused(data):
    timeline = Timeline(a_trace(), choose(a_trace(), None, None))
    with pytest.raises(TraceFormatError, match="expected an object with a list of traceEvents, found"):
        merge.add_to(data, timeline)


@pytest.mark.parametrize("by", ["library", "command line"])
@pytest.mark.parametrize("order", [1, -1])
def test_viztracer_combines_all_events_in_either_order(tmp_path, reports, by, order):
    export(a_trace(1), tmp_path / "alone.json")
    (tmp_path / "merged.json").write_bytes(reports["raw.json"])
    merge_into(a_trace(2), tmp_path / "merged.json")
    (tmp_path / "plain.json").write_bytes(reports["built.json"])
    inputs = [str(tmp_path / n) for n in ("alone.json", "merged.json", "plain.json")][::order]
    target = tmp_path / "all.json"
    if by == "library":
        ReportBuilder(inputs, verbose=0).save(str(target))
    else:
        command = [sys.executable, "-m", "viztracer", "--combine", *inputs, "-o", target]
        subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    expected = [event for file in inputs for event in events(Path(file).read_bytes())]
    assert same(events(target.read_bytes()), expected)
    merge_into(a_trace(2), target)
    assert same(events(target.read_bytes()), expected), "it is there already"
    merge_into(a_trace(3), target)
    assert same(events(target.read_bytes()), expected + ours(a_trace(3)))
