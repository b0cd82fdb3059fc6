"""The slices of a timeline: run and wait of each thread, and who held each GIL."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa

from gilscope.tables.arrays import column, strings
from gilscope.tables.schema import RELEASES, STATES
from gilscope.viztracer import text
from gilscope.viztracer.lanes import Lanes
from gilscope.viztracer.regions import Marks
from gilscope.viztracer.rows import NO_SITE, RUN, Int, Intervals, Numbers
from gilscope.viztracer.sites import Sites

_RELEASE = [*(f',"release":"{word}"' for word in RELEASES), ""]

Details = Callable[[Int], pa.Array]
Said = Callable[[slice], pa.Array]


def threads(
    pid: int, zero_ns: int, rows: Intervals, details: Details, lanes: Lanes, sites: Sites
) -> Iterator[memoryview]:
    """Yield the text of the slices of threads' lanes, each led by a comma.

    A run is named after the function that let the GIL go, where that is known; its state is the category.

    Args:
        pid: the process.
        zero_ns: ``CLOCK_MONOTONIC`` at the beginning of the trace.
        rows: the intervals.
        details: see `gilscope.viztracer.details.texts_of`.
        lanes: where they stand.
        sites: where holds ended, and what waits came after.
    """
    tid = lanes.of(rows.gil, rows.thread)

    def head(state: int, thread: int, site: int) -> str:
        name = sites.name(site) if state == RUN and site != NO_SITE else f'"{STATES[state]}"'
        return f'"{STATES[state]}","name":{name},"args":{{{sites.details(site)}"thread":{thread}'

    heads = _heads(rows, sites.known(rows.site), head)
    yield from _slices(pid, zero_ns, tid, rows.start, rows.end, heads, details)


def holders(pid: int, zero_ns: int, rows: Intervals, lanes: Lanes) -> Iterator[memoryview]:
    """Yield the text of the slices of the holders' lanes: each run once more, named after its thread."""
    names = text.titles(lanes.labels())
    mine = rows[rows.state == RUN]
    tids = np.array([lanes.holders[gil] for gil in lanes.gils], np.int64)
    tid = tids[np.searchsorted(lanes.gils, mine.gil)]

    def head(_state: int, thread: int, _site: int) -> str:
        return f'"gil","name":{names[thread]},"args":{{"thread":{thread}'

    heads = _heads(mine, np.full(len(mine), NO_SITE, np.int32), head)
    yield from _slices(pid, zero_ns, tid, mine.start, mine.end, heads, None)


def _heads(rows: Intervals, sites: Numbers, head: Callable[[int, int, int], str]) -> pa.Array:
    """Return each slice's category, name and first arguments: there are few different ones."""
    width, places = len(_RELEASE), int(sites.max(initial=NO_SITE)) + 2
    code = (rows.thread.astype(np.int64) * len(STATES) + rows.state) * width + rows.release
    few, index = text.distinct(code * places + (sites - NO_SITE))
    texts = []
    for number in few.tolist():
        rest, release = divmod(number // places, width)
        thread, state = divmod(rest, len(STATES))
        texts.append(head(state, thread, number % places + NO_SITE) + _RELEASE[release])
    return strings(texts).take(column(index))


def regions(pid: int, zero_ns: int, rows: Marks, storeys: Int, lanes: Lanes) -> Iterator[memoryview]:
    """Yield the text of the slices of regions."""
    tid = lanes.of_regions(rows.thread, storeys)
    heads = [
        f'"gil","name":{name},"args":{{"complete":{whole}'
        for name in text.titles(rows.names)
        for whole in ("false", "true")
    ]
    head = strings(heads).take(column(rows.name * 2 + rows.complete))
    yield from _text(pid, zero_ns, tid, rows.start, rows.end, head, None)


def _slices(
    pid: int, zero_ns: int, tid: Int, start: Int, end: Int, heads: pa.Array, details: Details | None
) -> Iterator[memoryview]:
    # What has no length comes before what begins with it, or `clip` would move it to the other's end.
    order = np.lexsort((end, start, tid))
    tid, start, end = tid[order], start[order], end[order]
    clip(tid, start, end)
    said = None if details is None else lambda step: details(order[step])
    yield from _text(pid, zero_ns, tid, start, end, heads.take(column(order)), said)


def clip(lane: Int, start: Int, end: Int) -> None:
    """Move starts and ends, in place, so that each slice of a lane begins where the last one ended or later.

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
    pid: int, zero_ns: int, tid: Int, start: Int, end: Int, heads: pa.Array, said: Said | None
) -> Iterator[memoryview]:
    lane = text.repeated(tid, f',"tid":{{}},"pid":{pid},"ph":"X","cat":')
    for offset in range(0, len(start), text.ROWS_PER_STEP):
        step = slice(offset, offset + text.ROWS_PER_STEP)
        first, last = start[step] + zero_ns, end[step] + zero_ns
        yield text.content(
            ',\n{"ts":',
            *text.micros(first, after=',"dur":'),
            *text.micros(text.as_shown(last) - text.as_shown(first)),
            lane[step],
            heads[step],
            *(() if said is None else (said(step),)),
            "}}",
        )
