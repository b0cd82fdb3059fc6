"""The slices of a timeline: runs and waits of each thread, and the holder of each GIL."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa

from gilscope.tables.arrays import column, strings
from gilscope.tables.rows import NO_RELEASE, NO_SITE, RUN, Int, Intervals, Numbers
from gilscope.tables.schema import RELEASES, STATES
from gilscope.viztracer import jsontext
from gilscope.viztracer.lanes import Lanes
from gilscope.viztracer.regions import Marks
from gilscope.viztracer.sites import Sites

_RELEASE = ["", *(f',"release":"{word}"' for word in RELEASES)]
"""By the release of an interval, less `NO_RELEASE`."""

Details = Callable[[Int], pa.Array]
DetailsOfStep = Callable[[slice], pa.Array]


def threads(
    pid: int, zero_ns: int, rows: Intervals, details: Details, lanes: Lanes, sites: Sites
) -> Iterator[memoryview]:
    """Yield the text of the slices of threads' lanes, each led by a comma.

    A run is named after the function that released the GIL, if it is known; its state is the category.

    Args:
        pid: the process.
        zero_ns: ``CLOCK_MONOTONIC`` at the beginning of the trace.
        rows: the intervals.
        details: see `gilscope.viztracer.handoffs.texts_of`.
        lanes: the lanes of all threads.
        sites: the sites of the rows.
    """
    tid = lanes.of(rows.interpreter, rows.thread)

    def head(state: int, thread: int, site: int) -> str:
        name = sites.name(site) if state == RUN and site != NO_SITE else f'"{STATES[state]}"'
        return f'"{STATES[state]}","name":{name},"args":{{{sites.details(site)}"thread":{thread}'

    heads = _heads(rows, sites.known(rows.site), head)
    yield from _slices(pid, zero_ns, tid, rows.start, rows.end, heads, details)


def holders(pid: int, zero_ns: int, rows: Intervals, lanes: Lanes) -> Iterator[memoryview]:
    """Yield the text of the slices of the holders' lanes: each run once more, named after its thread."""
    names = jsontext.titles(lanes.labels())
    mine = rows[rows.state == RUN]
    tids = np.array([lanes.holders[gil] for gil in lanes.gils], np.int64)
    tid = tids[np.searchsorted(lanes.gils, mine.interpreter)]

    def head(_state: int, thread: int, _site: int) -> str:
        return f'"gil","name":{names[thread]},"args":{{"thread":{thread}'

    heads = _heads(mine, np.full(len(mine), NO_SITE, np.int32), head)
    yield from _slices(pid, zero_ns, tid, mine.start, mine.end, heads, None)


def _heads(rows: Intervals, sites: Numbers, head: Callable[[int, int, int], str]) -> pa.Array:
    """Return each slice's category, name and first arguments; few of them differ."""
    width, places = len(_RELEASE), int(sites.max(initial=NO_SITE)) + 2
    code = (rows.thread.astype(np.int64) * len(STATES) + rows.state) * width + rows.release - NO_RELEASE
    few, index = jsontext.distinct(code * places + (sites - NO_SITE))
    texts = []
    for number in few.tolist():
        rest, release = divmod(number // places, width)
        thread, state = divmod(rest, len(STATES))
        texts.append(head(state, thread, number % places + NO_SITE) + _RELEASE[release])
    return strings(texts).take(column(index))


def regions(pid: int, zero_ns: int, rows: Marks, sublanes: Int, lanes: Lanes) -> Iterator[memoryview]:
    """Yield the text of the slices of regions."""
    tid = lanes.of_regions(rows.thread, sublanes)
    heads = [
        f'"gil","name":{name},"args":{{"complete":{whole}'
        for name in jsontext.titles(rows.names)
        for whole in ("false", "true")
    ]
    head = strings(heads).take(column(rows.name * 2 + rows.complete))
    yield from _text(pid, zero_ns, tid, rows.start, rows.end, head, None)


def _slices(
    pid: int, zero_ns: int, tid: Int, start: Int, end: Int, heads: pa.Array, details: Details | None
) -> Iterator[memoryview]:
    # A slice of length zero goes before others that begin with it, or `clip` would move it to their end.
    order = np.lexsort((end, start, tid))
    tid, start, end = tid[order], start[order], end[order]
    clip(tid, start, end)
    of_step = None if details is None else lambda step: details(order[step])
    yield from _text(pid, zero_ns, tid, start, end, heads.take(column(order)), of_step)


def clip(lane: Int, start: Int, end: Int) -> None:
    """Move starts and ends, in place, so that no slice of a lane begins before the end of the last one.

    The viewer drops a slice that overlaps another, even by 1 ns.

    Args:
        lane: in ascending order.
        start: starts, ascending within a lane.
        end: ends.
    """
    if not ((start[1:] < end[:-1]) & (lane[1:] == lane[:-1])).any():
        return
    bounds = np.flatnonzero(np.diff(lane, prepend=-1, append=-1))
    for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        mine = slice(first, last)
        before = np.concatenate((start[first : first + 1], end[first : last - 1]))
        start[mine] = np.maximum(start[mine], np.maximum.accumulate(before))
        end[mine] = np.maximum(start[mine], end[mine])


def _text(
    pid: int, zero_ns: int, tid: Int, start: Int, end: Int, heads: pa.Array, details: DetailsOfStep | None
) -> Iterator[memoryview]:
    lane = jsontext.repeated(tid, f',"tid":{{}},"pid":{pid},"ph":"X","cat":')
    for offset in range(0, len(start), jsontext.ROWS_PER_STEP):
        step = slice(offset, offset + jsontext.ROWS_PER_STEP)
        first, last = start[step] + zero_ns, end[step] + zero_ns
        yield jsontext.content(
            ',\n{"ts":',
            *jsontext.micros(first, after=',"dur":'),
            *jsontext.micros(jsontext.as_shown(last) - jsontext.as_shown(first)),
            lane[step],
            heads[step],
            *(() if details is None else (details(step),)),
            "}}",
        )
