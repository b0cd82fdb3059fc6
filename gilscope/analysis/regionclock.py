"""A clock for each thread that runs only while the thread is in a region of one name."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gilscope.analysis.estimates import Sampling
from gilscope.analysis.gils import Spans, Threads
from gilscope.analysis.observed import ObservedTrace
from gilscope.errors import OptionError
from gilscope.tables.rows import NO_TIME
from gilscope.tables.spans import Coverage, Int, Mask, by_thread, union

_MOST_NAMES = 20
_MOST_BYTES = 255  # of a name; the core cuts longer ones


def as_stored(name: str) -> str:
    """Return the name of a region as the core stores it."""
    text = name.encode("utf-8", "backslashreplace")[:_MOST_BYTES]
    return text.decode("utf-8", "ignore").replace("\0", " ")


class RegionClock:
    """A clock per thread that runs while the thread is in one of its own regions of a name.

    Overlapping regions of a thread count once.


    Args:
        trace: a trace.
        name: name of regions in it.

    Raises:
        OptionError: if the trace has no region of that name.
    """

    def __init__(self, trace: ObservedTrace, name: str) -> None:
        start, duration = (trace.numbers("marks", column) for column in ("start_ns", "duration_ns"))
        names, is_region = trace.table("marks")["name"], duration != NO_TIME
        if not isinstance(name, str):
            raise OptionError(f"expected the name of a region, got {name!r}; {_known(names, is_region)}")
        of_name = pc.equal(names, as_stored(name)).to_numpy() if len(names) else is_region
        mine = np.flatnonzero(is_region & of_name)
        if not len(mine):
            raise OptionError(f"no region has the name {name!r}; {_known(names, is_region)}")
        thread = trace.numbers("marks", "thread")[mine]
        begin, end = trace.observed(start[mine]), trace.observed((start + duration)[mine])
        self._trace = trace
        self.threads = np.unique(thread)
        self._clocks: dict[int, Coverage] = {}
        self._spent: dict[int, int] = {}
        for number, rows in self._by_thread(thread):
            spans = union(begin[rows], end[rows])
            self._clocks[number] = Coverage(*spans)
            self._spent[number] = int((spans[1] - spans[0]).sum())

    def _by_thread(self, thread: Threads) -> Iterator[tuple[int, Int]]:
        """Yield each thread that has such regions, and the positions of its rows."""
        order = by_thread(thread)
        first, last = (np.searchsorted(thread[order], self.threads, side) for side in ("left", "right"))
        for number, a, b in zip(self.threads.tolist(), first.tolist(), last.tolist(), strict=True):
            yield number, order[a:b]

    def sampling(self, thread: int) -> Sampling:
        """Return how long a thread was in the regions, and the ticks in that time."""
        ticks = int(self._clocks[thread].on(self._ticks).sum())
        return Sampling(self._spent[thread], max(ticks, 1), self._trace.disturbed)

    @functools.cached_property
    def _ticks(self) -> Int:
        return self._trace.observed(self._trace.numbers("samples", "time_ns"))

    def spans(self, spans: Spans) -> tuple[Spans, Mask]:
        """Return spans in the time of their thread's clock, and which of them begin in a region."""
        start, end = np.zeros(len(spans), np.int64), np.zeros(len(spans), np.int64)
        begins = np.zeros(len(spans), np.bool_)
        for number, mine in self._by_thread(spans.thread):
            clock = self._clocks[number]
            start[mine], end[mine] = clock.until(spans.start[mine]), clock.until(spans.end[mine])
            begins[mine] = clock.on(spans.start[mine]) > 0
        return dataclasses.replace(spans, start=start, end=end), begins


def _known(names: pa.ChunkedArray, is_region: Mask) -> str:
    """Return a text that lists the names of regions in the trace."""
    known = [repr(name) for name in names.filter(pa.array(is_region)).unique().to_pylist()]
    if not known:
        return "the trace has no regions (with t.region(name) makes them)"
    more = f", and {len(known) - _MOST_NAMES} more" if len(known) > _MOST_NAMES else ""
    return f"the trace has {', '.join(known[:_MOST_NAMES])}{more}"
