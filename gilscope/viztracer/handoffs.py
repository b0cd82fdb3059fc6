"""Details that a slice shows of the hand-offs at its ends: both threads, and how long each part took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gilscope.tables.arrays import strings
from gilscope.tables.rows import NO_TIME, RUN, Handoffs, Int, Intervals
from gilscope.viztracer.jsontext import joined, numbers, pick, where
from gilscope.viztracer.lanes import Lanes


def match(lane: Int, time: Int, of_lane: Int, of_time: Int) -> Int:
    """Return the position of each (lane, time) in a second list of such pairs; -1 if it is missing there."""
    if not len(of_time):
        return np.full(len(time), -1, np.int64)
    times, rank = np.unique(of_time, return_inverse=True)
    mine = np.minimum(np.searchsorted(times, time), len(times) - 1)
    # With ranks instead of times, a pair fits into one number.
    key, of_key = lane * len(times) + mine, of_lane * len(times) + rank
    order = np.argsort(of_key, kind="stable")
    at = order[np.minimum(np.searchsorted(of_key[order], key), len(order) - 1)]
    return np.where((of_key[at] == key) & (times[mine] == time), at, -1)


@dataclass(slots=True)
class Ends:
    """The position of the hand-off at each end of each interval; -1 for an end without one."""

    acquired: Int  # the hand-off that gave the GIL to the thread that ran, or had waited
    released: Int  # the hand-off that took it from the thread that ran


def ends_of(rows: Intervals, handoffs: Handoffs, lanes: Lanes) -> Ends:
    """Find the hand-offs at the ends of intervals."""
    lane = lanes.of(rows.interpreter, rows.thread)
    to = lanes.of(handoffs.interpreter, handoffs.to_thread)
    by = lanes.of(handoffs.interpreter, handoffs.from_thread)
    taken = np.where(rows.state == RUN, rows.start, rows.end)
    released = np.where(rows.state == RUN, rows.end, NO_TIME)
    return Ends(match(lane, taken, to, handoffs.acquire), match(lane, released, by, handoffs.release))


def texts_of(rows: Intervals, ends: Ends, handoffs: Handoffs, lanes: Lanes) -> Callable[[Int], pa.Array]:
    """Return a function from positions of slices to the JSON of their hand-offs, which follows other keys.

    It is called for some slices at a time: the JSON of all would be most of the memory of a timeline.
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

    def details(which: Int) -> pa.Array:
        acquired, run = ends.acquired[which], runs[which]
        return joined(
            pick(wait, np.where(run, nothing, acquired)),
            pick(before, np.where(run, acquired, nothing)),
            pick(after, np.where(run, ends.released[which], nothing)),
        )

    return details
