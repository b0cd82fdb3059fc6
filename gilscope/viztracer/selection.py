"""Chooses the part of a trace that a timeline shows: all, a window, or as much as the viewer can open."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from gilscope.errors import OptionError
from gilscope.tables.rows import WAIT, Int, Intervals
from gilscope.tables.spans import Coverage
from gilscope.tables.stored import Tables
from gilscope.units import duration
from gilscope.viztracer.rows import reach

MOST_SLICES = 2_000_000
"""Default maximum number of intervals in a timeline; the viewer has opened five million."""

_BUCKETS = 4096
_SPLIT = 8
_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a trace, in nanoseconds since its beginning, and a sentence about what was left out."""

    start_ns: int
    end_ns: int
    left_out: str | None = None


def choose(recording: Tables, window: tuple[float, float] | None, max_slices: int | None) -> Part:
    """Return the part of a trace to show.

    Args:
        recording: a finished trace.
        window: seconds since the beginning of the trace, first and last; None for all of it.
        max_slices: the maximum number of intervals; None for `MOST_SLICES`. If there are more, the stretch
            with that number of intervals is chosen in which all threads together waited longest.

    Raises:
        OptionError: if the window is empty or outside the trace, or if the number is below one or below the
            number of intervals that overlap at every moment.
    """
    most = MOST_SLICES if max_slices is None else max_slices
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise OptionError(f"max_slices must be a whole number, at least 1, not {max_slices!r}")
    whole = Part(0, _end(recording))
    part = whole if window is None else _checked(window, whole)
    return part if recording.intervals.num_rows <= most else _most_contended(recording, part, most)


def _end(recording: Tables) -> int:
    """Return the end of the trace; for tables made by hand, the end of the last interval."""
    if "duration_ns" in recording.metadata:
        return int(recording.metadata["duration_ns"])
    ends = [int(Intervals.read(batch).end.max(initial=0)) for batch in recording.batches("intervals")]
    return max(ends, default=0)


def _checked(window: tuple[float, float], whole: Part) -> Part:
    try:
        start, end = (round(t * 1e9) if math.isfinite(t) else -1 for t in window)
    except (TypeError, ValueError, OverflowError):
        start, end = -1, -1
    part = Part(start, min(end, whole.end_ns))
    if start < 0 or part.start_ns >= part.end_ns:
        raise OptionError(
            f"window must be two times in seconds, the first before the second and inside the trace "
            f"(0 to {_seconds(whole.end_ns)}), not {window!r}"
        )
    return part


def _most_contended(recording: Tables, part: Part, most: int) -> Part:
    """Return the stretch with at most ``most`` intervals in which all threads together waited longest.

    More exactly: in no stretch with 98 % of ``most`` intervals did they wait longer. For a trace with over a
    hundred times as many intervals, this holds within the most contended stretch of a hundred times ``most``
    intervals, and so on.
    """
    limits = [most]
    while limits[-1] * _AT_ONCE < recording.intervals.num_rows:
        limits.append(limits[-1] * _AT_ONCE)
    chosen, inside = part, 0
    for limit in reversed(limits):
        chosen, count = _stretch(recording, chosen, limit, most)
        inside = inside or count
    if chosen == part:
        return part
    return replace(chosen, left_out=_sentence(inside, part, chosen, most))


def _stretch(recording: Tables, part: Part, most: int, asked: int) -> tuple[Part, int]:
    """Return the best stretch of a part, and how many intervals the part has; see `_most_contended`."""
    edges, begun, over, waited = _close_edges(recording, part, most)
    inside = int(begun[-1] - over[0])
    if inside <= most:
        return part, inside
    first = np.arange(len(edges))
    last = np.maximum(np.searchsorted(begun, over + most, "right") - 1, first)
    if not (last > first).any():
        least = int((begun[1:] - over[:-1]).min(initial=inside))
        raise OptionError(
            f"max_slices must be at least {least:,}, not {asked:,}: where threads wait longest, that many "
            "intervals overlap at every moment"
        )
    length = edges[last] - edges[first]
    best = int(np.lexsort((length, np.where(length > 0, waited[last] - waited[first], -1)))[-1])
    return Part(int(edges[best]), int(edges[last[best]])), inside


def _close_edges(recording: Tables, part: Part, most: int) -> tuple[Int, Int, Int, Int]:
    """Find instants so close together that extending a stretch to the next ones adds 2 % of ``most`` at most.

    Returns:
        The instants, and the result of `_up_to` for them.
    """
    edges = np.unique(np.linspace(part.start_ns, part.end_ns, _BUCKETS + 1).round().astype(np.int64))
    while True:
        begun, over, waited = _up_to(recording, edges)
        crowded = (np.diff(begun) + np.diff(over) > most / 100) & (np.diff(edges) > 1)
        if begun[-1] - over[0] <= most or not crowded.any():
            return edges, begun, over, waited
        left, right = edges[:-1][crowded], edges[1:][crowded]
        edges = np.unique(np.append(edges, np.linspace(left, right, _SPLIT + 1).round().astype(np.int64)))


def _up_to(recording: Tables, edges: Int) -> tuple[Int, Int, Int]:
    """Count what happened up to each edge.

    Returns:
        For each edge: the number of intervals that begin before it, the number that end at it or before, and
        the nanoseconds that all threads together have waited.
    """
    begun, over = (np.zeros(len(edges) + 1, np.int64) for _ in range(2))
    waited = np.zeros(len(edges), np.int64)
    for batch in recording.batches("intervals"):
        rows = Intervals.read(batch)
        begin, end = reach(rows.start, rows.end)
        begun += np.bincount(np.searchsorted(edges, begin, "right"), minlength=len(begun))
        over += np.bincount(np.searchsorted(edges, end, "left"), minlength=len(over))
        waits = rows[rows.state == WAIT]
        waited += Coverage(waits.start, waits.end).until(edges)
    return np.cumsum(begun)[:-1], np.cumsum(over)[:-1], waited


def _sentence(inside: int, part: Part, chosen: Part, most: int) -> str:
    start, end = chosen.start_ns, chosen.end_ns
    return (
        f"{inside:,} intervals are more than {most:,}, so the timeline shows {_seconds(start)} s to "
        f"{_seconds(end)} s ({duration(end - start)} of {duration(part.end_ns - part.start_ns)}), where "
        "threads waited longest; a window or max_slices shows another part, or more"
    )


def _seconds(ns: int) -> str:
    """Format a time exactly, so that it can be used in a window again."""
    return f"{ns / 1e9:.9f}".rstrip("0").rstrip(".")
