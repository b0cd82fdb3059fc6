"""A whole timeline: all events of a trace in the Chrome-trace JSON that VizTracer's viewer opens."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, Literal

from gilscope.errors import OptionError, TraceFormatError
from gilscope.tables.stored import Tables
from gilscope.viztracer import events, jsontext, slices
from gilscope.viztracer.handoffs import ends_of, texts_of
from gilscope.viztracer.lanes import Lanes, meta
from gilscope.viztracer.regions import load_marks, sublanes
from gilscope.viztracer.rows import load_handoffs, load_intervals
from gilscope.viztracer.selection import Part
from gilscope.viztracer.sites import Sites

Flows = Literal["auto"] | bool

MOST_ARROWS = 100_000
_HEADER_KEYS = (
    "gilscope_version",
    "python_version",
    "platform",
    "edges",
    "start_unix_ns",
    "start_monotonic_ns",
    "duration_ns",
    "dropped",
    "complete",
)


class Timeline:
    """The events of one part of a trace.

    Args:
        recording: a finished trace.
        part: the stretch to show.
        flows: whether hand-offs are arrows; ``"auto"``: if there are at most 100,000.
        progress: called after each step with the number of intervals read so far.

    Raises:
        OptionError: if ``flows`` is something else.
        TraceFormatError: if the recording is damaged.
    """

    def __init__(
        self,
        recording: Tables,
        part: Part,
        flows: Flows = "auto",
        progress: Callable[[int], None] | None = None,
    ) -> None:
        if flows not in ("auto", True, False):
            raise OptionError(f"flows must be 'auto', True or False, not {flows!r}")
        self._recording = recording
        self.part = part
        self.pid = _whole(recording.metadata, "pid")
        self._zero_ns = _whole(recording.metadata, "start_monotonic_ns")
        self._rows = load_intervals(recording, part.start_ns, part.end_ns, progress)
        self._handoffs = load_handoffs(recording, part.start_ns, part.end_ns)
        self._marks, self._regions = load_marks(recording, part.start_ns, part.end_ns)
        self._sublanes = sublanes(self._regions)
        self.lanes = Lanes(recording, self._rows, self._regions, self._sublanes)
        self.handoffs = len(self._handoffs)
        self.arrows = self.handoffs <= MOST_ARROWS if flows == "auto" else bool(flows)

    @property
    def identity(self) -> str:
        """Identifies this trace among all others, also in a merged file."""
        return f"{self.pid}-{self._recording.metadata.get('start_unix_ns', self._zero_ns)}"

    @property
    def end_us(self) -> float:
        """The end of what is shown, in microseconds of ``CLOCK_MONOTONIC``."""
        return (self._zero_ns + self.part.end_ns) / 1000

    def process_name(self) -> dict[str, Any]:
        """Return the record that names the process."""
        return meta("process_name", self.pid, self.pid, name=_program(self._recording.metadata))

    def lane_names(self) -> Iterator[dict[str, Any]]:
        """Yield the records that name each lane; the first one has the identity of the trace."""
        for i, record in enumerate(self.lanes.names(self.pid)):
            if i == 0:
                record["args"]["gilscope"] = self.identity
            yield record

    def events(self) -> Iterator[bytes | memoryview]:
        """Yield the text of all other events, each led by a comma."""
        pid, zero_ns, rows, handoffs, lanes = (
            self.pid,
            self._zero_ns,
            self._rows,
            self._handoffs,
            self.lanes,
        )
        ends = ends_of(rows, handoffs, lanes)
        details = texts_of(rows, ends, handoffs, lanes)
        yield from slices.holders(pid, zero_ns, rows, lanes)
        yield from slices.threads(pid, zero_ns, rows, details, lanes, Sites(self._recording.sites))
        yield from slices.regions(pid, zero_ns, self._regions, self._sublanes, lanes)
        yield from events.waiters(pid, zero_ns, rows, lanes)
        yield from events.held_share(pid, zero_ns, rows, lanes, self.part)
        if self.arrows:
            yield from events.arrows(pid, zero_ns, rows, ends, handoffs, lanes)
        yield from events.drop_requests(pid, zero_ns, handoffs, lanes, self.part)
        yield from events.marks(pid, zero_ns, self._marks, lanes)
        yield from events.switch_intervals(pid, zero_ns, self._recording, lanes, self.part)
        yield from events.lost(pid, zero_ns, self._recording, lanes, self.part)

    def facts(self) -> dict[str, Any]:
        """Return the facts about the trace that a file has beside its events."""
        metadata = self._recording.metadata
        known = {key: metadata[key] for key in _HEADER_KEYS if isinstance(metadata.get(key), str | int)}
        if self.part.left_out is None:
            return known
        return {**known, "window_ns": [self.part.start_ns, self.part.end_ns], "left_out": self.part.left_out}


def _whole(metadata: dict[str, Any], key: str) -> int:
    """Return a metadata value that every event needs."""
    value = metadata.get(key)
    if not isinstance(value, int):
        raise TraceFormatError(
            f"metadata key {key!r}: expected a whole number, found {value!r}; the timeline cannot be placed "
            "without it, so record the trace again or restore its metadata.json"
        )
    return value


def _program(metadata: dict[str, Any]) -> str:
    """Return the name of the process: its script, or ``python`` if it has none."""
    argv = metadata.get("argv")
    script = os.path.basename(str(argv[0])) if isinstance(argv, list) and argv else ""
    return script.translate(jsontext.CONTROLS) if script not in ("", "-c", "-m") else "python"
