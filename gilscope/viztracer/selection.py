"""Which part of a trace a timeline shows: all of it, what was asked for, or what the viewer can open."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from gilscope.errors import OptionError
from gilscope.tables.spans import Coverage
from gilscope.tables.stored import Tables
from gilscope.units import duration
from gilscope.viztracer.rows import WAIT, Int, intervals_of, reach

MOST_SLICES = 2_000_000
"""Intervals that a timeline has where nothing else is said; the viewer was seen to open five million."""

_BUCKETS = 4096
_SPLIT = 8
_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a trace, in nanoseconds since its beginning, and in words what was left out."""

    start_ns: int
    end_ns: int
    said: str | None = None


def choose(recording: Tables, window: tuple[float, float] | None, max_slices: int | None) -> Part:
    """Return the part of a trace to show.

    Args:
        recording: a finished trace.
        window: seconds since the beginning of the trace, first and last; None for all of it.
        max_slices: at most as many intervals; None for `MOST_SLICES`. Where there are more, it is the
            stretch with so many in which threads waited longest, all together.

    Raises:
        OptionError: the window is empty or outside of the trace, or the number is below one, or below that
            of intervals that are on at every moment.
    """
    most = MOST_SLICES if max_slices is None else max_slices
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise OptionError(f"max_slices must be a whole number, at least 1, not {max_slices!r}")
    whole = Part(0, _end(recording))
    part = whole if window is None else _checked(window, whole)
    return part if recording.intervals.num_rows <= most else _most_contended(recording, part, most)


def _end(recording: Tables) -> int:
    """Return where the trace ends; of tables made by hand, where the last interval does."""
    if "duration_ns" in recording.metadata:
        return int(recording.metadata["duration_ns"])
    ends = [int(intervals_of(batch).end.max(initial=0)) for batch in recording.batches("intervals")]
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
    """Return the stretch with at most so many intervals in which threads waited longest, all together.

    More exactly: in no stretch with 98 % as many intervals did they wait longer. Of a trace with over a
    hundred times as many intervals, this is true of the most contended hundredfold, and so on.
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
    return replace(chosen, said=_sentence(inside, part, chosen, most))


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
            f"max_slices must be at least {least:,}, not {asked:,}: where threads wait longest, so many "
            "intervals are on at every moment"
        )
    length = edges[last] - edges[first]
    best = int(np.lexsort((length, np.where(length > 0, waited[last] - waited[first], -1)))[-1])
    return Part(int(edges[best]), int(edges[last[best]])), inside


def _close_edges(recording: Tables, part: Part, most: int) -> tuple[Int, Int, Int, Int]:
    """Find instants so close that any stretch, made longer up to the next ones, gets 2 % of ``most`` more.

    Returns:
        The instants, and what `_up_to` says of them.
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
    """Look at what has happened up to each edge.

    Returns:
        How many intervals begin before it, how many end at it or before, and for how long threads have
        waited, added up.
    """
    begun, over = (np.zeros(len(edges) + 1, np.int64) for _ in range(2))
    waited = np.zeros(len(edges), np.int64)
    for batch in recording.batches("intervals"):
        rows = intervals_of(batch)
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
    """Say a time exactly, so that it can be given as a window again."""
    return f"{ns / 1e9:.9f}".rstrip("0").rstrip(".")
