"""Lanes: their order, unique tids, and names of any kind."""

from pathlib import Path

import pyarrow as pa
import pytest

from gilscope.errors import TraceFormatError
from gilscope.tables import schema
from gilscope.viztracer import FIRST_TID, export
from tests.support.drawn import timelines
from tests.support.drawn.timelines import PID, ROWS, written

pytestmark = pytest.mark.extremes


def test_lanes_stand_in_order_of_appearance_under_virtual_tids(target: Path) -> None:
    events = timelines.events(written(timelines.recording(ROWS, ["MainThread", "worker-0"]), target))
    named = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    order = {e["tid"]: e["args"]["sort_index"] for e in events if e["name"] == "thread_sort_index"}
    assert named == {
        FIRST_TID: "GIL holder",
        FIRST_TID + 1: f"GIL MainThread ({PID})",
        FIRST_TID + 2: f"GIL worker-0 ({PID + 1})",
    }
    assert order == {FIRST_TID: 0, FIRST_TID + 1: 1, FIRST_TID + 2: 2}
    assert {e["pid"] for e in events} == {PID}
    assert events[0]["name"] == "process_name"
    assert min(named) > 2**22, "a Linux thread could have this tid"


@pytest.mark.parametrize("name", timelines.HOSTILE_NAMES)
def test_hostile_names_arrive_without_escapes(target: Path, name: str) -> None:
    text = written(timelines.recording(ROWS, [name, "worker"]), target)
    names = [e["args"]["name"] for e in timelines.events(text) if e["name"] == "thread_name"]
    shown = names[1].removeprefix("GIL ")
    kept = "".join(c for c in name if c.isprintable())
    assert shown.endswith(f" ({PID})")
    assert "".join(c for c in shown if not 0x2400 <= ord(c) <= 0x2421).startswith(kept or "thread")
    assert b"\\u" not in text
    assert shown.isprintable()


def test_a_thread_without_a_name_is_a_thread(target: Path) -> None:
    events = timelines.events(written(timelines.recording([], [None]), target))
    assert events[3]["args"] == {"name": f"GIL thread ({PID})"}


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["/home/me/app.py", "-v"], "app.py"),
        (["-c"], "python"),
        ([""], "python"),
        ([], "python"),
        (None, "python"),
        (["bad\udcff\n.py"], "bad?␊.py"),
    ],
)
def test_the_process_is_named_after_its_script(target: Path, argv: list[str] | None, name: str) -> None:
    assert timelines.events(written(timelines.recording([], argv=argv), target))[0]["args"] == {"name": name}


def test_a_change_of_the_switch_interval_is_an_instant_on_its_threads_lane(target: Path) -> None:
    recording = timelines.recording(ROWS, ["MainThread", "worker-0"])
    rows = [
        {"time_ns": 0, "interval_ns": 5_000_000, "source": "start"},
        {"time_ns": 17, "interval_ns": 500_000, "previous_ns": 5_000_000, "thread": 1, "source": "call"}
        | {"file": 'a "b".py', "line": 3},
        {"time_ns": 1_000_000, "interval_ns": 7_000_000, "previous_ns": 500_000, "source": "observed"},
    ]
    table = pa.Table.from_pylist(rows, schema=schema.TABLES["switch_intervals"])
    recording._tables["switch_intervals"] = table
    events = timelines.events(written(recording, target))
    marks = [event for event in events if event["ph"] == "i"]

    assert [(m["name"], m["tid"], str(m["ts"])) for m in marks] == [
        ("switch interval 500 us", FIRST_TID + 2, "86400000000.140"),
        ("switch interval 7.00 ms", FIRST_TID, "86400001000.123"),
    ]
    assert marks[0]["args"] == {"source": "call", "before": "5.00 ms", "caller": 'a "b".py:3'}


@pytest.mark.parametrize("thread", [-1, 1 << 20, (1 << 31) - 1])
def test_thread_numbers_out_of_range_are_refused(target: Path, thread: int) -> None:
    recording = timelines.recording([(thread, "run", 0, 5, "open")])
    with pytest.raises(TraceFormatError, match="table 'intervals': thread numbers below 0 or above 1048575"):
        export(recording, target)
    region = [{"thread": thread, "name": "f", "start_ns": 0, "duration_ns": 1, "complete": True}]
    recording = timelines.recording(ROWS)
    recording._tables["marks"] = pa.Table.from_pylist(region, schema=schema.TABLES["marks"])
    with pytest.raises(TraceFormatError, match="table 'marks': thread numbers"):
        export(recording, target)
    assert not target.exists()


def test_the_largest_thread_number_has_a_lane(target: Path) -> None:
    text = written(timelines.recording([((1 << 20) - 1, "run", 0, 5, "open")], trace_number=2999), target)
    tids = {e["tid"] for e in timelines.events(text) if e["ph"] == "X"}
    assert len(tids) == 2
    assert max(tids) < 1 << 32


def test_a_thread_without_a_native_id(target: Path) -> None:
    recording = timelines.recording(ROWS)
    row = [{"thread": 0, "name": "MainThread"}]
    recording._tables["threads"] = pa.Table.from_pylist(row, schema=schema.TABLES["threads"])
    assert "GIL MainThread" in timelines.lane_names(written(recording, target)).values()
