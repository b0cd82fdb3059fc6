"""One GIL as arrays: runs, waits, gaps, and the hand-off overhead in the gaps."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gilscope.tables.rows import NO_SITE
from gilscope.tables.spans import Coverage, Int, Mask, is_sorted, union

DEFAULT_INTERVAL_NS = 5_000_000
"""CPython's own switch interval, in nanoseconds."""
MOST_CELLS = 25_000_000
"""A helper refuses to make a table with more cells of 8 bytes than this: 200 MB."""

Threads = npt.NDArray[np.integer[Any]]
"""Thread numbers."""


@dataclass(frozen=True)
class Spans:
    """Intervals of one state and one GIL; arrays of one length, times in observed nanoseconds.

    In a trace with holes ``raw_start`` is the start in nanoseconds since the start of the trace, and
    ``whole`` is false where a hole touches the interval, so that its length is not known. ``site`` is a
    row of the table ``sites``, `NO_SITE` where it is not known.
    """

    thread: Threads
    start: Int
    end: Int
    release: npt.NDArray[np.int8]
    raw_start: Int | None = None
    whole: Mask | None = None
    site: npt.NDArray[np.int32] | None = None

    @property
    def duration(self) -> Int:
        """Nanoseconds of observed time."""
        return self.end - self.start

    @property
    def total(self) -> int:
        """Sum of all durations, in nanoseconds."""
        return int(self.end.sum() - self.start.sum())

    @property
    def at(self) -> Int:
        """Start in nanoseconds since the start of the trace."""
        return self.start if self.raw_start is None else self.raw_start

    @property
    def known(self) -> Spans:
        """The spans whose length is known."""
        return self if self.whole is None else self[self.whole]

    def __len__(self) -> int:
        return len(self.thread)

    def __getitem__(self, which: Mask | Int | slice) -> Spans:
        return Spans(
            self.thread[which],
            self.start[which],
            self.end[which],
            self.release[which],
            None if self.raw_start is None else self.raw_start[which],
            None if self.whole is None else self.whole[which],
            None if self.site is None else self.site[which],
        )

    @property
    def sites(self) -> npt.NDArray[np.int32]:
        """The site of each span."""
        return np.full(len(self), NO_SITE, np.int32) if self.site is None else self.site


NO_SPANS = Spans(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int8))


def concatenated(parts: list[Spans]) -> Spans:
    """Return the spans of several arrays in one."""
    holes = any(part.whole is not None for part in parts)
    located = any(part.site is not None for part in parts)
    return Spans(
        np.concatenate([part.thread for part in parts]),
        np.concatenate([part.start for part in parts]),
        np.concatenate([part.end for part in parts]),
        np.concatenate([part.release for part in parts]),
        np.concatenate([part.at for part in parts]) if holes else None,
        np.concatenate([part.whole for part in parts if part.whole is not None]) if holes else None,
        np.concatenate([part.sites for part in parts]) if located else None,
    )


def by_start(spans: Spans) -> Spans:
    """Return disjoint spans sorted by start; of spans that start together the empty ones come first."""
    if is_sorted(spans.start) and is_sorted(spans.end):
        return spans
    return spans[np.lexsort((spans.end, spans.start))]


@dataclass(frozen=True)
class Gaps:
    """The spans in which a GIL is free, in order; arrays of one length, observed nanoseconds.

    ``by`` is the thread that acquires the GIL and ends the gap (-1: the trace ends in the gap), ``steal`` is
    true if that thread also began the gap while another one waited, ``lost`` is its hand-off overhead.
    """

    start: Int
    end: Int
    by: Threads
    steal: Mask
    waited_for: Coverage

    @functools.cached_property
    def lost(self) -> Int:
        """Nanoseconds of each gap in which at least one thread waited."""
        return self.waited_for.within(self.start, self.end)

    def lost_until(self, at: Int) -> Int:
        """Return the hand-off overhead up to each instant, in nanoseconds."""
        before = np.concatenate((np.zeros(1, np.int64), np.cumsum(self.lost)))
        i = np.maximum(np.searchsorted(self.start, at, "right") - 1, 0)
        begun = np.minimum(self.start[i], at)
        return before[i] + self.waited_for.within(begun, np.clip(at, begun, self.end[i]))


@dataclass(frozen=True)
class Gil:
    """One GIL: its runs, disjoint and in order, and its waits, in any order."""

    interpreter: int
    wall: int
    runs: Spans
    waits: Spans

    @functools.cached_property
    def held(self) -> Coverage:
        """How long the GIL was held, up to any instant."""
        return Coverage(self.runs.start, self.runs.end)

    @functools.cached_property
    def waiting(self) -> Coverage:
        """How many threads wait at any instant, and how long all together up to it."""
        lasting = self.waits.end > self.waits.start
        waits = self.waits if lasting.all() else self.waits[lasting]
        return Coverage(waits.start, waits.end)

    @functools.cached_property
    def gaps(self) -> Gaps:
        """When the GIL was free."""
        runs = self.runs
        end = np.concatenate((runs.start, np.array([self.wall])))
        start = np.concatenate((np.zeros(1, np.int64), runs.end))
        steal = np.zeros(len(start), np.bool_)
        again = runs.thread[1:] == runs.thread[:-1]
        if runs.raw_start is not None:
            # Which thread held the GIL inside a hole is not known.
            again &= np.diff(runs.raw_start) == np.diff(runs.start)
        steal[1:-1] = again & (self.waiting.on(runs.end[:-1]) > 0)
        by = np.concatenate((runs.thread, np.array([-1], runs.thread.dtype)))
        return Gaps(start, end, by, steal, Coverage(*union(self.waits.start, self.waits.end)))
