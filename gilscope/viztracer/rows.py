"""The rows of a trace that a timeline shows, cut to a stretch of time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gilscope.tables.rows import NO_TIME, Handoffs, Int, Intervals, concatenated
from gilscope.tables.stored import Tables


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

    Raises:
        TraceFormatError: if values are missing, or words are unknown.
    """
    parts = [Intervals.none()]
    done = 0
    for batch in recording.batches("intervals"):
        rows = Intervals.read(batch)
        begin, end = reach(rows.start, rows.end)
        inside = (begin < end_ns) & (end > start_ns)
        parts.append(rows if inside.all() else rows[inside])
        done += batch.num_rows
        if progress is not None:
            progress(done)
    rows = concatenated(parts)
    rows.start, rows.end = np.maximum(rows.start, start_ns), np.minimum(rows.end, end_ns)
    return rows


def load_handoffs(recording: Tables, start_ns: int, end_ns: int) -> Handoffs:
    """Return the hand-offs that overlap a stretch of time, from drop request or release to acquire.

    Raises:
        TraceFormatError: if values are missing.
    """
    parts = [Handoffs.none()]
    for batch in recording.batches("handoffs"):
        rows = Handoffs.read(batch)
        begin = np.where(rows.drop_request == NO_TIME, rows.release, rows.drop_request)
        inside = (begin <= end_ns) & (rows.acquire >= start_ns)
        parts.append(rows if inside.all() else rows[inside])
    return concatenated(parts)
