"""Writes timelines as files, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gilscope.progress import progress_bar
from gilscope.tables.files import replacing, write_errors
from gilscope.tables.stored import Tables
from gilscope.viztracer import jsontext
from gilscope.viztracer.merge import merge_into
from gilscope.viztracer.processes import timelines
from gilscope.viztracer.timeline import Flows, Timeline

if TYPE_CHECKING:
    from gilscope.tables.files import Sink

_VIZTRACER_VERSION = "1.1.1"


def write(
    recording: Tables, path: str | os.PathLike[str], *, merge: bool = False, **options: Any
) -> str | None:
    """Write a timeline, or merge it into the report at the path, and show a progress bar on terminals.

    Args:
        recording: a finished trace.
        path: the file.
        merge: add the lanes to a report of VizTracer.
        **options: of `export` or `gilscope.viztracer.merge_into`.

    Returns:
        What was left out, in a sentence, or None.

    Raises:
        GilscopeError: see these functions.
    """
    put = merge_into if merge else export
    rows = sum(one.intervals.num_rows for one in (recording, *recording.children))
    with progress_bar("writing the timeline", rows) as done:
        return put(recording, path, progress=done, **options)


def export(
    recording: Tables,
    path: str | os.PathLike[str],
    *,
    window: tuple[float, float] | None = None,
    max_slices: int | None = None,
    flows: Flows = "auto",
    progress: Callable[[int], None] | None = None,
) -> str | None:
    """Write the timeline of a recording as a file for ``vizviewer``.

    The file appears whole or not at all, and replaces one of the same name. Each thread has a lane with the
    rows of the ``intervals`` table as slices, and each GIL has a lane with its holders. Within a lane slices
    never overlap, not even by 1 ns: the viewer would drop one. Recorded child processes are in the same file,
    each with its own lanes.

    Starts are exact to the nanosecond. So are durations, unless the host has been up for 101 days: from then
    on the viewer rounds times to 2 ns (4 ns after 208 days, and so on), and durations with them.

    Args:
        recording: a finished trace. Each thread's intervals are expected in order of time.
        path: where to write: JSON, packed if the name ends in ``.gz`` (about seven times smaller).
        window: first and last second to show, since the beginning of the trace; None for all of it.
        max_slices: the maximum number of intervals to show; None for two million. A longer trace is cut to
            the stretch in which threads waited longest.
        flows: whether hand-offs are arrows; ``"auto"``: if there are at most 100,000.
        progress: called after each step with the number of intervals read so far.

    Returns:
        What was left out, in a sentence; None if nothing was.

    Raises:
        OptionError: if an argument cannot be used.
        TraceWriteError: if the file cannot be written.
        TraceFormatError: if the recording is damaged.

    Example:
        >>> import json, tempfile
        >>> from pathlib import Path
        >>> from gilscope.tables.stored import Tables
        >>> from gilscope.viztracer import export
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "run.json")
        ...     export(Tables(None, {"pid": 4301, "start_monotonic_ns": 0}), file)
        ...     json.loads(file.read_text())["traceEvents"][0]["args"]
        {'name': 'python'}
    """
    target = Path(path)
    with write_errors(target), replacing(target) as file:
        shown = timelines(recording, window, max_slices, flows, progress)
        _write(shown, file)
    return shown[0].part.left_out


def _write(shown: list[Timeline], file: Sink) -> None:
    file.write(b'{"traceEvents":[\n')
    names = [record for timeline in shown for record in (timeline.process_name(), *timeline.lane_names())]
    file.write(jsontext.utf8(",\n".join(map(jsontext.dumps, names))))
    for piece in chain.from_iterable(timeline.events() for timeline in shown):
        file.write(piece)
    keys = {
        "viztracer_metadata": {"version": _VIZTRACER_VERSION, "overflow": False},
        "file_info": {"files": {}, "functions": {}},
        "gilscope": shown[0].facts(),
    }
    file.write(jsontext.utf8(f"\n],{jsontext.dumps(keys)[1:]}\n"))
