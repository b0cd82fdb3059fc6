"""Merges the lanes of a trace into a report of VizTracer: in its file, or in memory before it is saved."""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from gilscope.errors import OptionError, TraceFormatError
from gilscope.tables.files import replacing, write_errors
from gilscope.tables.stored import Tables
from gilscope.viztracer import jsontext
from gilscope.viztracer.lanes import meta
from gilscope.viztracer.processes import timelines
from gilscope.viztracer.selection import choose
from gilscope.viztracer.timeline import Flows, Timeline

if TYPE_CHECKING:
    from gilscope.tables.files import Sink

_REPORT_SUFFIXES = (".json", ".json.gz")
_PIECE = 1 << 20
_HEAD = re.compile(rb'\s*\{\s*"traceEvents"\s*:\s*\[\s*')

MOST_IN_MEMORY = 200_000
"""Maximum number of intervals added to a report in memory, where each becomes a Python object."""


class _AlreadyThereError(Exception):
    """The file already has the lanes of this trace."""


def merge_into(
    recording: Tables,
    path: str | os.PathLike[str],
    *,
    window: tuple[float, float] | None = None,
    max_slices: int | None = None,
    flows: Flows = "auto",
    progress: Callable[[int], None] | None = None,
) -> str | None:
    """Add the lanes of a trace to a report of VizTracer; a second time changes nothing.

    Args:
        recording: a finished trace.
        path: the report, a name ending in ``.json`` or ``.json.gz``. It is replaced by the merged one, whole
            or not at all.
        window: see `gilscope.viztracer.export`.
        max_slices: see there.
        flows: see there.
        progress: see there.

    Returns:
        What was left out, in a sentence; None if nothing was.

    Raises:
        OptionError: if an argument cannot be used.
        TraceFormatError: if the file does not exist or is not a report.
        TraceWriteError: if the file cannot be written.
    """
    target = Path(path)
    if not target.name.endswith(_REPORT_SUFFIXES):
        raise OptionError(
            f"{target}: expected a report of VizTracer whose name ends in {' or '.join(_REPORT_SUFFIXES)}; "
            "save it as one of those (VizTracer(output_file=...), or viztracer -o)"
        )
    shown = timelines(recording, window, max_slices, flows, progress)
    try:
        with write_errors(target), _opened(target) as report, replacing(target) as merged:
            os.fchmod(merged.fileno(), target.stat().st_mode)
            head = report.read(_PIECE)
            match = _HEAD.match(head)
            if match is None:
                _rewrite(shown, head + report.read(), merged, target)
            else:
                merged.write(b'{"traceEvents":[\n')
                end = _splice(shown, head[match.end() :], report, merged)
                if not end.rstrip().endswith(b"}"):
                    raise _not_a_report(target, "its end is missing")
    except _AlreadyThereError:
        return None
    return shown[0].part.left_out


@contextmanager
def _opened(target: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """Open a report; raise an error that names it if the content cannot be unpacked."""
    if not target.is_file():
        raise TraceFormatError(f"{target}: no such report; save it with VizTracer first")
    try:
        with gzip.open(target) if target.name.endswith(".gz") else target.open("rb") as report:
            yield report
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise _not_a_report(target, str(error)) from error


def _not_a_report(target: Path, why: str) -> TraceFormatError:
    return TraceFormatError(f"{target}: not a whole report of VizTracer: {why}; save it again")


def _mark(timeline: Timeline) -> bytes:
    return jsontext.utf8(f'"gilscope":{jsontext.dumps(timeline.identity)}')


def _splice(shown: list[Timeline], rest: bytes, report: IO[bytes] | gzip.GzipFile, merged: Sink) -> bytes:
    """Write our events, then copy the report's unparsed, piece by piece: it may be larger than memory.

    Returns:
        The last bytes of the report.
    """
    names = chain.from_iterable(map(_names, shown))
    merged.write(jsontext.utf8(",\n".join(map(jsontext.dumps, names))))
    for piece in chain.from_iterable(timeline.events() for timeline in shown):
        merged.write(piece)
    while not rest.strip() and (more := report.read(_PIECE)):
        rest += more
    if not rest.lstrip().startswith(b"]"):
        merged.write(b",\n")
    # VizTracer writes a blank after a colon; this module does not.
    marks = (_mark(shown[0]), _mark(shown[0]).replace(b":", b": ", 1))
    before = b""
    while rest:
        both = before + rest
        if any(mark in both for mark in marks):
            raise _AlreadyThereError
        merged.write(rest)
        before, rest = both[-max(map(len, marks)) :], report.read(_PIECE)
    return before


def _rewrite(shown: list[Timeline], content: bytes, merged: Sink, target: Path) -> None:
    """Parse and write a report that does not begin with its events."""
    try:
        data = json.loads(content)
        _events_of(data)
    except (ValueError, RecursionError, TraceFormatError) as error:
        raise _not_a_report(target, str(error)) from error
    if not add_to(data, shown[0]):
        raise _AlreadyThereError
    for child in shown[1:]:
        add_to(data, child)
    # VizTracer's counters may be NaN, which is not JSON. Write it nevertheless, as VizTracer does.
    merged.write(jsontext.utf8(json.dumps(data, ensure_ascii=False, separators=(",", ":"))))


def add_lanes(recording: Tables, data: Any) -> str | None:
    """Add the lanes of a trace to a report in memory, unless it has them; see `add_to`.

    Returns:
        What was left out, in a sentence, or None.
    """
    timeline = Timeline(recording, choose(recording, None, MOST_IN_MEMORY))
    add_to(data, timeline)
    return timeline.part.left_out


def add_to(data: Any, timeline: Timeline) -> bool:
    """Add the lanes of a trace to a report in memory, unless it has them.

    Args:
        data: the report: a dict whose ``traceEvents`` is a list.
        timeline: the lanes to add.

    Returns:
        Whether anything was added.

    Raises:
        TraceFormatError: if it is not such a report; it has not been changed.
    """
    events = _events_of(data)
    if any(_identity(event) == timeline.identity for event in events):
        return False
    events.extend([*_names(timeline), *_parsed(timeline)])
    return True


def _events_of(data: Any) -> list[Any]:
    events = data.get("traceEvents") if isinstance(data, dict) else None
    if isinstance(events, list):
        return events
    found = f"{type(events).__name__} in its place" if isinstance(data, dict) else type(data).__name__
    raise TraceFormatError(f"expected an object with a list of traceEvents, found {found}")


def _identity(event: Any) -> Any:
    if not isinstance(event, dict) or event.get("ph") != "M" or not isinstance(event.get("args"), dict):
        return None
    return event["args"].get("gilscope")


def _parsed(timeline: Timeline) -> Iterator[dict[str, Any]]:
    for piece in timeline.events():
        yield from json.loads(b"[" + bytes(piece).lstrip(b",\n") + b"]")


def _names(timeline: Timeline) -> Iterator[dict[str, Any]]:
    """Yield the names of our lanes and of threads.

    On CPython 3.12 and later VizTracer reads a thread's name before the thread has one, and calls it
    Dummy-1. The viewer shows the name with the latest time; VizTracer's names have no time.
    """
    yield from timeline.lane_names()
    for native_id, name in timeline.lanes.native_names().items():
        yield {**meta("thread_name", timeline.pid, native_id, name=name), "ts": timeline.end_us}
