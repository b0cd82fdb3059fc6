"""What a slice tells of the hand-offs at its ends: who had the GIL, who got it, how long each part took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gilscope.tables.arrays import strings
from gilscope.viztracer.lanes import Lanes
from gilscope.viztracer.rows import NO_TIME, RUN, Handoffs, Int, Intervals
from gilscope.viztracer.text import joined, numbers, pick, where


def match(lane: Int, time: Int, of_lane: Int, of_time: Int) -> Int:
    """Return for each (lane, time) the position of the same pair among others; -1 where there is none."""
    if not len(of_time):
        return np.full(len(time), -1, np.int64)
    times, rank = np.unique(of_time, return_inverse=True)
    mine = np.minimum(np.searchsorted(times, time), len(times) - 1)
    # Ranks instead of times: a pair then fits one number.
    key, of_key = lane * len(times) + mine, of_lane * len(times) + rank
    order = np.argsort(of_key, kind="stable")
    at = order[np.minimum(np.searchsorted(of_key[order], key), len(order) - 1)]
    return np.where((of_key[at] == key) & (times[mine] == time), at, -1)


@dataclass(slots=True)
class Ends:
    """Which hand-off stands at the ends of each interval; -1 where none does."""

    acquired: Int  # that gave the GIL: to the thread that ran, or had waited
    released: Int  # that took it from the thread that ran


def ends_of(rows: Intervals, handoffs: Handoffs, lanes: Lanes) -> Ends:
    """Find the hand-offs at the ends of intervals."""
    lane = lanes.of(rows.gil, rows.thread)
    to = lanes.of(handoffs.gil, handoffs.to_thread)
    by = lanes.of(handoffs.gil, handoffs.from_thread)
    taken = np.where(rows.state == RUN, rows.start, rows.end)
    released = np.where(rows.state == RUN, rows.end, NO_TIME)
    return Ends(match(lane, taken, to, handoffs.acquire), match(lane, released, by, handoffs.release))


def texts_of(rows: Intervals, ends: Ends, handoffs: Handoffs, lanes: Lanes) -> Callable[[Int], pa.Array]:
    """Return what tells of slices, by their positions, what they say of the hand-offs at their ends.

    That is JSON which follows other keys. All of it at once would be most of the memory of a timeline.
    """
    asked = handoffs.drop_request != NO_TIME
    waited = handoffs.request != NO_TIME
    gap = where(handoffs.gap != NO_TIME, ',"gap_ns":', numbers(handoffs.gap))
    response = where(asked, ',"response_ns":', numbers(handoffs.release - handoffs.drop_request))
    patience = where(asked & waited, ',"patience_ns":', numbers(handoffs.drop_request - handoffs.request))
    before = joined(',"from":', lanes.quoted_labels(handoffs.from_thread))
    how = pick(strings([',"release":"voluntary"', ',"release":"forced"']), handoffs.forced)
    wait = joined(before, how, patience, response, gap)
    to = lanes.quoted_labels(handoffs.to_thread)
    after = joined(',"to":', to, response, gap, ',"waiters":', numbers(handoffs.waiters))
    runs = rows.state == RUN
    nothing = np.int64(-1)

    def said(which: Int) -> pa.Array:
        acquired, run = ends.acquired[which], runs[which]
        return joined(
            pick(wait, np.where(run, nothing, acquired)),
            pick(before, np.where(run, acquired, nothing)),
            pick(after, np.where(run, ends.released[which], nothing)),
        )

    return said
