"""A trace's lanes in a report that VizTracer has made: in its file, or in memory before it is saved."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from gilscope.errors import OptionError, TraceFormatError
from gilscope.recording import Recording
from gilscope.viztracer import text
from gilscope.viztracer.files import SUFFIXES, Sink, replacing, write_errors
from gilscope.viztracer.lanes import meta
from gilscope.viztracer.selection import choose
from gilscope.viztracer.timeline import Flows, Timeline

_PIECE = 1 << 20
_HEAD = re.compile(rb'\s*\{\s*"traceEvents"\s*:\s*\[\s*')

MOST_IN_MEMORY = 200_000
"""Intervals that are added to a report in memory, where each becomes a Python object."""


class _AlreadyThereError(Exception):
    """The file has the lanes of this trace."""


def merge_into(
    recording: Recording,
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
        What was left out, in a sentence; None where all that was asked for is in the file.

    Raises:
        OptionError: an argument cannot be used.
        TraceFormatError: there is no such report, or it is none.
        TraceWriteError: the file cannot be written.
    """
    target = Path(path)
    if not target.name.endswith(SUFFIXES):
        raise OptionError(
            f"{target}: expected a report of VizTracer whose name ends in {' or '.join(SUFFIXES)}; save it "
            "as one of those (VizTracer(output_file=...), or viztracer -o)"
        )
    if not target.is_file():
        raise TraceFormatError(f"{target}: no such report; save it with VizTracer first")
    timeline = Timeline(recording, choose(recording, window, max_slices), flows, progress)
    try:
        with write_errors(target), _opened(target) as report, replacing(target) as merged:
            head = report.read(_PIECE)
            match = _HEAD.match(head)
            if match is None:
                _rewrite(timeline, head + report.read(), merged, target)
            else:
                merged.write(b'{"traceEvents":[\n')
                _splice(timeline, head[match.end() :], report, merged)
    except _AlreadyThereError:
        return None
    return timeline.part.said


def _opened(target: Path) -> IO[bytes] | gzip.GzipFile:
    return gzip.open(target) if target.name.endswith(".gz") else target.open("rb")


def _mark(timeline: Timeline) -> bytes:
    return text.utf8(f'"gilscope":{text.dumps(timeline.identity)}')


def _splice(timeline: Timeline, rest: bytes, report: IO[bytes] | gzip.GzipFile, merged: Sink) -> None:
    """Write our events, and then the report's as they are: it may be larger than memory."""
    merged.write(text.utf8(",\n".join(map(text.dumps, _names(timeline)))))
    for piece in timeline.events():
        merged.write(piece)
    if not rest.startswith(b"]"):
        merged.write(b",\n")
    # As VizTracer writes it and as we do: with and without a blank.
    marks = (_mark(timeline), _mark(timeline).replace(b":", b": ", 1))
    before = b""
    while rest:
        if any(mark in before + rest for mark in marks):
            raise _AlreadyThereError
        merged.write(rest)
        before, rest = rest[-max(map(len, marks)) :], report.read(_PIECE)


def _rewrite(timeline: Timeline, content: bytes, merged: Sink, target: Path) -> None:
    """Write a report whose events do not come first."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise TraceFormatError(f"{target}: not a report of VizTracer: {error}") from error
    if add_to(data, timeline):
        merged.write(text.utf8(text.dumps(data)))
    else:
        raise _AlreadyThereError


def add_lanes(recording: Recording, data: Any) -> str | None:
    """Add the lanes of a trace to a report in memory, unless it has them; see `add_to`.

    Returns:
        What was left out, in a sentence, or None.
    """
    timeline = Timeline(recording, choose(recording, None, MOST_IN_MEMORY))
    add_to(data, timeline)
    return timeline.part.said


def add_to(data: Any, timeline: Timeline) -> bool:
    """Add the lanes of a trace to a report in memory, unless it has them.

    Args:
        data: what VizTracer saves: a dict whose ``traceEvents`` is a list.
        timeline: what to add.

    Returns:
        Whether anything was added.

    Raises:
        TraceFormatError: it is no such report; it has not been changed.
    """
    events = data.get("traceEvents") if isinstance(data, dict) else None
    if not isinstance(events, list):
        raise TraceFormatError(
            "not a report of VizTracer: expected an object with a list of traceEvents, found "
            f"{type(data).__name__}"
        )
    if any(_identity(event) == timeline.identity for event in events):
        return False
    events.extend([*_names(timeline), *_parsed(timeline)])
    return True


def _identity(event: Any) -> Any:
    if not isinstance(event, dict) or event.get("ph") != "M" or not isinstance(event.get("args"), dict):
        return None
    return event["args"].get("gilscope")


def _parsed(timeline: Timeline) -> Iterator[dict[str, Any]]:
    for piece in timeline.events():
        yield from json.loads(b"[" + bytes(piece).lstrip(b",\n") + b"]")


def _names(timeline: Timeline) -> Iterator[dict[str, Any]]:
    """Yield the names of our lanes, and those of threads.

    On CPython 3.12 and later VizTracer asks for a thread's name before the thread has one, and calls it
    Dummy-1. Of several names the viewer takes the one with the greatest time; VizTracer's have none.
    """
    yield from timeline.lane_names()
    for native_id, name in timeline.lanes.native_names().items():
        yield {**meta("thread_name", timeline.pid, native_id, name=name), "ts": timeline.end_us}
