"""Which part of a trace a timeline shows: all of it, what was asked for, or what the viewer can open."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gilscope.analysis.spans import Coverage
from gilscope.errors import OptionError
from gilscope.recording import Recording
from gilscope.units import duration
from gilscope.viztracer.rows import WAIT, Int, intervals_of

MOST_SLICES = 2_000_000
"""Intervals that a timeline has where nothing else is said; the viewer was seen to open five million."""

_BUCKETS = 4096


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a trace, in nanoseconds since its beginning, and in words what was left out."""

    start_ns: int
    end_ns: int
    said: str | None = None


def choose(recording: Recording, window: tuple[float, float] | None, max_slices: int | None) -> Part:
    """Return the part of a trace to show.

    Args:
        recording: a finished trace.
        window: seconds since the beginning of the trace, first and last; None for all of it.
        max_slices: at most as many intervals; None for `MOST_SLICES`. Where there are more, it is the
            stretch with so many in which threads waited longest, all together.

    Raises:
        OptionError: the window is empty or outside of the trace, or the number is below one.
    """
    most = MOST_SLICES if max_slices is None else max_slices
    if most < 1:
        raise OptionError(f"max_slices must be at least 1, not {max_slices}")
    whole = Part(0, _end(recording))
    part = whole if window is None else _checked(window, whole)
    total = recording.intervals.num_rows
    if total <= most:
        return part
    return _most_contended(recording, part, most)


def _end(recording: Recording) -> int:
    """Return where the trace ends; of tables made by hand, where the last interval does."""
    if "duration_ns" in recording.metadata:
        return int(recording.metadata["duration_ns"])
    ends = [int(intervals_of(batch).end.max(initial=0)) for batch in recording.batches("intervals")]
    return max(ends, default=0)


def _checked(window: tuple[float, float], whole: Part) -> Part:
    start, end = (round(t * 1e9) if math.isfinite(t) else -1 for t in window)
    part = Part(max(start, 0), min(end, whole.end_ns))
    if start < 0 or part.start_ns >= part.end_ns:
        raise OptionError(
            f"window must be two times in seconds, the first before the second and inside the trace "
            f"(0 to {whole.end_ns / 1e9:.6g}), not {window!r}"
        )
    return part


def _most_contended(recording: Recording, part: Part, most: int) -> Part:
    """Return the stretch with at most so many intervals in which most time was spent waiting."""
    start, end = part.start_ns, part.end_ns
    while True:
        edges = np.unique(np.linspace(start, end, _BUCKETS + 1).round().astype(np.int64))
        begun, on, waited = _by_bucket(recording, edges)
        first, last = _best_run(begun, on, waited, most)
        if first == last and len(waited) > 1:
            # Not even one bucket is small enough: look closer at the one that waits longest.
            worst = int(waited.argmax())
            start, end = int(edges[worst]), int(edges[worst + 1])
            continue
        start, end = int(edges[first]), int(edges[max(last, first + 1)])
        break
    if (start, end) == (part.start_ns, part.end_ns):
        return part
    return Part(start, end, _sentence(recording, part, start, end, most))


def _by_bucket(recording: Recording, edges: Int) -> tuple[Int, Int, Int]:
    """Look at the buckets between edges.

    Returns:
        How many intervals begin in each, how many are on at its beginning, and for how long threads wait in
        it, added up.
    """
    begun, on, waited = (np.zeros(len(edges) - 1, np.int64) for _ in range(3))
    for batch in recording.batches("intervals"):
        rows = intervals_of(batch)
        rows = rows[(rows.start < edges[-1]) & (rows.end > edges[0])]
        bucket = np.searchsorted(edges, rows.start, "right") - 1
        begun += np.bincount(bucket[bucket >= 0], minlength=len(begun))
        on += Coverage(rows.start + 1, np.maximum(rows.end, rows.start + 1)).on(edges[:-1])
        waits = rows[rows.state == WAIT]
        waited += np.diff(Coverage(waits.start, waits.end).until(edges))
    return begun, on, waited


def _best_run(begun: Int, on: Int, waited: Int, most: int) -> tuple[int, int]:
    """Return the buckets, first and behind the last, that wait longest of all runs that are small enough."""
    counts, waits = (np.concatenate((np.zeros(1, np.int64), np.cumsum(n))) for n in (begun, waited))
    first = np.arange(len(begun))
    last = np.maximum(np.searchsorted(counts, counts[:-1] + most - on, "right") - 1, first)
    best = int(np.where(last > first, waits[last] - waits[first], -1).argmax())
    return best, int(last[best])


def _sentence(recording: Recording, part: Part, start: int, end: int, most: int) -> str:
    return (
        f"{recording.intervals.num_rows:,} intervals are more than the {most:,} asked for, so the timeline "
        f"shows {start / 1e9:.6g} s to {end / 1e9:.6g} s ({duration(end - start)} of "
        f"{duration(part.end_ns - part.start_ns)}), where threads waited longest; a window or max_slices "
        "shows another part, or more"
    )
