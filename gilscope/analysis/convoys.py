"""Convoys: threads that wait a switch interval each time they request the GIL."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gilscope.analysis.gils import Gil, Spans, Threads
from gilscope.analysis.inputs import AnyTrace
from gilscope.analysis.observed import ObservedTrace, observe
from gilscope.tables.rows import VOLUNTARY
from gilscope.tables.spans import Int, Mask, by_thread

PAID = (0.5, 2.5)
"""A wait of about one switch interval, in switch intervals: at least, at most."""
SHORT = 2.0
"""Longest time off between hold and wait, in switch intervals."""
LEAST_ROUNDS = 3
"""Fewest rounds of a convoy."""

_COLUMNS = ["thread", "thread_name", "holder", "holder_name", "start_ns", "end_ns", "rounds", "mean_wait_ns"]
_COLUMNS += ["lost_ns", "idle_ns"]


def convoys(t: AnyTrace) -> pd.DataFrame:
    """Return one row per convoy: a thread repeatedly releases the GIL and then waits a switch interval.

    A round is a short hold that ends with a voluntary release, then at most `SHORT` switch intervals off,
    then a wait of `PAID` switch intervals; its holder is the thread that held the GIL last during that wait.
    A convoy is at least `LEAST_ROUNDS` rounds of a thread behind the same holder with no other long wait in
    between (Beazley 2010 describes the effect).

    Args:
        t: a trace, its path, or its tables.

    Returns:
        Columns ``thread``, ``thread_name``, ``holder``, ``holder_name``, ``start_ns``, ``end_ns`` (first
        release, last acquire), ``rounds`` (int64), ``mean_wait_ns`` (float64), ``lost_ns`` (the waits;
        int64), ``idle_ns`` (what the rounds would have taken with an idle GIL; int64); most lost first. Empty
        with sampled edges, which do not record why a hold ended.

    Example:
        >>> import gilscope
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> len(gilscope.analysis.convoys(t))
        0
    """
    trace = observe(t)
    parts = [_convoys(trace, gil) for gil in trace.gils] if trace.exact else []
    rows = pd.concat(parts) if parts else pd.DataFrame(columns=_COLUMNS)
    return rows.sort_values("lost_ns", ascending=False, kind="stable", ignore_index=True)


def _convoys(trace: ObservedTrace, gil: Gil) -> pd.DataFrame:
    waits, holder, released, is_round = _rounds(trace, gil)
    same = np.zeros(len(waits), np.bool_)  # continues the convoy of the long wait before it
    same[1:] = (waits.thread[1:] == waits.thread[:-1]) & (holder[1:] == holder[:-1]) & is_round[:-1]
    waits, holder, released, same = waits[is_round], holder[is_round], released[is_round], same[is_round]
    first = np.flatnonzero(~same)
    rounds = np.diff(first, append=len(same))
    lost = np.add.reduceat(waits.duration, first) if len(first) else first
    start = released[first]
    end = (waits.at + waits.duration)[first + rounds - 1]
    names = np.array(trace.names, object)
    frame = pd.DataFrame(
        {
            "thread": waits.thread[first],
            "thread_name": names[waits.thread[first]],
            "holder": holder[first],
            "holder_name": names[holder[first]],
            "start_ns": start,
            "end_ns": end,
            "rounds": rounds,
            "mean_wait_ns": lost / rounds,
            "lost_ns": lost,
            "idle_ns": trace.observed(end) - trace.observed(start) - lost,
        }
    )
    return frame[rounds >= LEAST_ROUNDS]


def _rounds(trace: ObservedTrace, gil: Gil) -> tuple[Spans, Threads, Int, Mask]:
    """Return the long waits by thread and time, their holders, the releases before, and which are rounds."""
    waits = gil.waits.known
    waits = waits[waits.duration >= np.maximum(PAID[0] * trace.interval_at(waits.at), 1)]
    waits = waits[np.lexsort((waits.start, waits.thread))]
    interval = trace.interval_at(waits.at)
    hold, found = _hold_before(trace, gil.runs, waits)
    behind = np.searchsorted(gil.runs.start, waits.end, "left") - 1
    holder = np.where(behind >= 0, gil.runs.thread[behind], -1) if len(gil.runs) else np.full(len(waits), -1)
    off = waits.start - hold.end
    is_round = found & (hold.release == VOLUNTARY) & (hold.duration < interval)
    is_round &= (off <= SHORT * interval) & (waits.duration <= PAID[1] * interval)
    # What the thread did inside a hole is not known.
    is_round &= waits.at - hold.at == waits.start - hold.start
    is_round &= (holder >= 0) & (holder != waits.thread)
    return waits, holder, waits.at - off, is_round


def _hold_before(trace: ObservedTrace, runs: Spans, waits: Spans) -> tuple[Spans, Mask]:
    """Return the last hold of the same thread that ended before each wait began, and whether there is one."""
    runs = runs.known
    if not len(runs):
        return waits, np.zeros(len(waits), np.bool_)
    order = by_thread(runs.thread)
    width = np.int64(trace.wall + 1)
    key = runs.thread[order].astype(np.int64) * width + runs.end[order]
    at = np.searchsorted(key, waits.thread.astype(np.int64) * width + waits.start, "right") - 1
    hold = runs[order[np.maximum(at, 0)]]
    return hold, (at >= 0) & (hold.thread == waits.thread)
