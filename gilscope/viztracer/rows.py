"""The rows of a trace that a timeline shows: checked arrays, cut to a stretch of time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gilscope.errors import TraceFormatError
from gilscope.tables.arrays import filled, numpy_of, strings
from gilscope.tables.schema import RELEASES, STATES
from gilscope.tables.stored import Tables

Int = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int8]
Numbers = npt.NDArray[np.int32]

RUN, WAIT = 0, 1
NO_TIME = -1
NO_SITE = -1

_NEEDED = ("thread", "interpreter", "state", "start_ns", "duration_ns")
_TIMES = ("request_ns", "drop_request_ns", "release_ns", "acquire_ns", "gap_ns")


@dataclass(slots=True)
class Intervals:
    """Rows of ``intervals``; ``end`` instead of the duration, codes instead of words.

    ``release`` is the position in `gilscope.tables.schema.RELEASES`, its length for null. ``site`` is a row
    of the table ``sites``, or `NO_SITE`.
    """

    gil: Numbers
    thread: Numbers
    state: Codes
    start: Int
    end: Int
    release: Codes
    site: Numbers

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, which: slice | npt.NDArray[np.bool_] | Int) -> Intervals:
        return Intervals(*(getattr(self, f.name)[which] for f in fields(self)))


@dataclass(slots=True)
class Handoffs:
    """Rows of ``handoffs``; `NO_TIME` stands for null, also in columns that sampled edges leave empty."""

    gil: Numbers
    from_thread: Numbers
    to_thread: Numbers
    request: Int
    drop_request: Int
    release: Int
    acquire: Int
    gap: Int
    forced: Codes  # -1 for null
    waiters: Numbers

    def __len__(self) -> int:
        return len(self.release)


def damaged(table: str, what: str) -> TraceFormatError:
    """Return the error for a table that gilscope did not write like this."""
    return TraceFormatError(
        f"table {table!r}: {what}; the trace is damaged or was made by another program, record it again"
    )


def intervals_of(batch: pa.RecordBatch) -> Intervals:
    """Return the intervals of one batch.

    Raises:
        TraceFormatError: if values are missing, or states are unknown.
    """
    if any(batch[name].null_count for name in _NEEDED):
        raise damaged("intervals", f"missing values in one of the columns {', '.join(_NEEDED)}")
    state = pc.index_in(batch["state"].dictionary_decode(), value_set=strings(STATES))
    if state.null_count:
        raise damaged("intervals", f"states other than {' and '.join(STATES)}")
    release = pc.index_in(batch["release"].dictionary_decode(), value_set=strings(RELEASES))
    start = numpy_of(batch["start_ns"])
    return Intervals(
        numpy_of(batch["interpreter"]),
        numpy_of(batch["thread"]),
        numpy_of(state).astype(np.int8),
        start,
        start + numpy_of(batch["duration_ns"]),
        numpy_of(filled(release, len(RELEASES))).astype(np.int8),
        numpy_of(filled(batch["site"], NO_SITE)),
    )


def _concatenated(parts: list[list[npt.NDArray[np.generic]]], types: tuple[type, ...]) -> list[np.ndarray]:
    """Return the columns of all parts, concatenated; parts may be empty."""
    return [
        np.concatenate([part[i] for part in parts]) if parts else np.zeros(0, kind)
        for i, kind in enumerate(types)
    ]


def reach(start: Int, end: Int) -> tuple[Int, Int]:
    """Return spans, with those of length zero extended by 1 ns at both ends.

    Then a span is inside a stretch of time if it begins before the end and ends after the beginning. Spans of
    length zero at the edges of the stretch are inside, too.
    """
    instant = start == end
    return start - instant, end + instant


def load_intervals(
    recording: Tables, start_ns: int, end_ns: int, progress: Callable[[int], None] | None
) -> Intervals:
    """Return the intervals inside a stretch of time, in the order of the table, cut at its edges.

    Args:
        recording: the trace.
        start_ns: beginning of the stretch, in nanoseconds since the beginning of the trace.
        end_ns: its end.
        progress: called after each batch with the number of rows read so far.
    """
    parts = []
    done = 0
    for batch in recording.batches("intervals"):
        rows = intervals_of(batch)
        begin, end = reach(rows.start, rows.end)
        inside = (begin < end_ns) & (end > start_ns)
        rows = rows if inside.all() else rows[inside]
        parts.append([getattr(rows, f.name) for f in fields(rows)])
        done += batch.num_rows
        if progress is not None:
            progress(done)
    types = (np.int32, np.int32, np.int8, np.int64, np.int64, np.int8, np.int32)
    rows = Intervals(*_concatenated(parts, types))
    rows.start, rows.end = np.maximum(rows.start, start_ns), np.minimum(rows.end, end_ns)
    return rows


def load_handoffs(recording: Tables, start_ns: int, end_ns: int) -> Handoffs:
    """Return the hand-offs that overlap a stretch of time, from drop request or release to acquire."""
    names = ("interpreter", "from_thread", "to_thread", *_TIMES, "waiters")
    parts = []
    for batch in recording.batches("handoffs"):
        columns = [numpy_of(filled(batch[name], NO_TIME)) for name in names]
        columns.insert(-1, numpy_of(filled(batch["forced"].cast(pa.int8()), -1)))
        drop_request, release, acquire = columns[4:7]
        begin = np.where(drop_request == NO_TIME, release, drop_request)
        inside = (begin <= end_ns) & (acquire >= start_ns)
        parts.append(columns if inside.all() else [c[inside] for c in columns])
    types = (np.int32,) * 3 + (np.int64,) * 5 + (np.int8, np.int32)
    return Handoffs(*_concatenated(parts, types))
