"""From transitions of one GIL to intervals and hand-offs: pure functions on NumPy arrays.

The transitions come in chunks. What a chunk leaves unfinished (the last hold, and waits not yet over) is
carried as transitions again and stands before the next chunk, so that no function keeps state.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gilscope.convert import spool
from gilscope.convert.spool import ACQUIRE, DROP_REQUEST, RELEASE, REQUEST
from gilscope.tables.rows import (
    FORCED,
    NO_RELEASE,
    NO_TIME,
    OPEN,
    RUN,
    VOLUNTARY,
    WAIT,
    Handoffs,
    Intervals,
    by_start,
    concatenated,
)
from gilscope.tables.spans import by_thread

Int = npt.NDArray[np.int64]


@dataclass(slots=True)
class Transitions:
    """Transitions of one GIL in the order in which they happened; arrays of one length.

    Args:
        kind: uint8, a record kind of `gilscope.convert.spool`.
        thread: int32.
        time: int64, nanoseconds, never decreasing.
        site: int32, row of the table ``sites``: of a release where it was, or where the hold began, of a
            request or an acquire where its thread last released; `NO_SITE` where that is not known.
    """

    kind: npt.NDArray[np.uint8]
    thread: npt.NDArray[np.int32]
    time: Int
    site: npt.NDArray[np.int32]

    @classmethod
    def none(cls) -> "Transitions":
        """Return no transitions."""
        return cls(np.empty(0, np.uint8), np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int32))

    def __len__(self) -> int:
        return len(self.kind)

    def __getitem__(self, which: slice | npt.NDArray[np.bool_] | Int) -> "Transitions":
        return Transitions(self.kind[which], self.thread[which], self.time[which], self.site[which])

    def then(self, later: "Transitions") -> "Transitions":
        """Return these transitions and the later ones behind them."""
        if not len(self):
            return later
        return Transitions(
            np.concatenate((self.kind, later.kind)),
            np.concatenate((self.thread, later.thread)),
            np.concatenate((self.time, later.time)),
            np.concatenate((self.site, later.site)),
        )


@dataclass(slots=True)
class Folded:
    """What a chunk gave, what it leaves for the next one, and how many transitions made no sense."""

    intervals: Intervals
    handoffs: Handoffs
    carry: Transitions
    illegal: int


def _before(counted: npt.NDArray[np.bool_]) -> Int:
    """Return, for each position and the end, how many of ``counted`` stand before it."""
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(counted, dtype=np.int64)))


def _by_thread(t: Transitions, which: Int) -> Int:
    """Sort positions by thread, keeping their order within a thread."""
    return which[by_thread(t.thread[which])]


def _pair_waits(t: Transitions) -> tuple[Int, Int]:
    """Return for each position the request that its acquire ended (or -1), and the open requests."""
    ends = np.flatnonzero((t.kind == REQUEST) | (t.kind == ACQUIRE))
    ends = _by_thread(t, ends)
    request_of = np.full(len(t), -1, np.int64)
    if not len(ends):
        return request_of, ends
    kind, thread = t.kind[ends], t.thread[ends]
    follows = np.zeros(len(ends), np.bool_)  # the next one is an acquire by the same thread
    follows[:-1] = (kind[1:] == ACQUIRE) & (thread[1:] == thread[:-1])
    waited = np.flatnonzero((kind == REQUEST) & follows)
    request_of[ends[waited + 1]] = ends[waited]
    newest = np.ones(len(ends), np.bool_)
    newest[:-1] = thread[1:] != thread[:-1]
    return request_of, np.sort(ends[(kind == REQUEST) & newest])


def _first_drop_request(t: Transitions, thread: npt.NDArray[np.int32], after: Int, before: Int) -> Int:
    """Return when ``thread`` first asked for the GIL between two positions, or `NO_TIME`."""
    drops = _by_thread(t, np.flatnonzero(t.kind == DROP_REQUEST))
    time = np.full(len(thread), NO_TIME, np.int64)
    if not len(drops) or not len(thread):
        return time
    width = len(t) + 1
    keys = t.thread[drops].astype(np.int64) * width + drops
    base = thread.astype(np.int64) * width
    first = np.searchsorted(keys, base + after, side="right")
    found = (first < len(keys)) & (keys[np.minimum(first, len(keys) - 1)] < base + before)
    time[found] = t.time[drops[first[found]]]
    return time


@dataclass(slots=True)
class _Holds:
    """Positions of the GIL's own transitions: acquires, releases, and the acquire after each release."""

    acquire: Int
    release: Int  # of the same hold
    next_acquire: Int  # after the release; len(t) if no acquire follows
    illegal: Int  # transitions that cannot follow the one before them


def _holds(t: Transitions) -> _Holds:
    own = np.flatnonzero((t.kind == ACQUIRE) | (t.kind == RELEASE))
    kind, thread = t.kind[own], t.thread[own]
    takes = kind == ACQUIRE
    pairs = takes[:-1] & ~takes[1:] & (thread[:-1] == thread[1:])
    i = np.flatnonzero(pairs)
    behind = np.minimum(i + 2, len(own) - 1)
    has_next = (i + 2 < len(own)) & takes[behind] if len(own) else np.zeros(0, np.bool_)
    next_acquire = np.where(has_next, own[behind], len(t)) if len(i) else i
    # The first may be a release whose acquire was not seen.
    broken = (takes[:-1] == takes[1:]) | (takes[:-1] & (thread[:-1] != thread[1:]))
    return _Holds(own[i], own[i + 1], next_acquire, own[1:][broken])


def _forced(t: Transitions, h: _Holds) -> npt.NDArray[np.bool_]:
    """Tell of each hold whether a drop request was out when it ended.

    Usually the releaser then waits for the switch and records that; when another thread was faster it does
    not, but the request itself has been seen.
    """
    asked = _before(t.kind == DROP_REQUEST)
    waited = _before(t.kind == spool.FORCED)
    end = np.minimum(h.next_acquire, len(t))
    return (asked[h.release] > asked[h.acquire]) | (waited[end] > waited[h.release])


def fold(t: Transitions, interpreter: int = 0) -> Folded:
    """Turn a chunk into rows, up to its last acquire; the rest is carried.

    Args:
        t: what the chunk before carried, and the transitions of this one behind it.
        interpreter: id of the interpreter whose GIL it is.
    """
    acquires = np.flatnonzero(t.kind == ACQUIRE)
    cut = int(acquires[-1]) if len(acquires) else 0
    request_of, open_requests = _pair_waits(t)
    h = _holds(t)
    forced = _forced(t, h)
    done = h.release < cut
    runs = Intervals.of(
        interpreter=interpreter,
        state=RUN,
        thread=t.thread[h.acquire[done]],
        start=t.time[h.acquire[done]],
        end=t.time[h.release[done]],
        release=np.where(forced[done], FORCED, VOLUNTARY),
        site=t.site[h.release[done]],
    )
    took = np.flatnonzero(request_of >= 0)
    asked = request_of[took]
    waits = Intervals.of(
        interpreter=interpreter,
        state=WAIT,
        thread=t.thread[took],
        start=t.time[asked],
        end=t.time[took],
        site=t.site[asked],
    )
    earlier = open_requests[open_requests < cut]
    carry = t[earlier].then(t[cut:]) if len(earlier) else t[cut:]
    illegal = int(np.count_nonzero(h.illegal <= cut))
    handoffs = _handoffs(t, h, forced, request_of, interpreter)
    return Folded(by_start(concatenated((runs, waits))), handoffs, carry, illegal)


def _handoffs(
    t: Transitions, h: _Holds, forced: npt.NDArray[np.bool_], request_of: Int, interpreter: int
) -> Handoffs:
    changed = np.flatnonzero(h.next_acquire < len(t))
    changed = changed[t.thread[h.release[changed]] != t.thread[h.next_acquire[changed]]]
    took, released = h.next_acquire[changed], h.release[changed]
    asked = request_of[took]
    waiting = _before(t.kind == REQUEST) - _before(request_of >= 0)
    return Handoffs.of(
        interpreter=interpreter,
        from_thread=t.thread[released],
        to_thread=t.thread[took],
        request=np.where(asked >= 0, t.time[asked], NO_TIME),
        drop_request=_first_drop_request(t, t.thread[took], h.acquire[changed], took),
        release=t.time[released],
        acquire=t.time[took],
        gap=t.time[took] - t.time[released],
        forced=forced[changed],
        waiters=waiting[released],
    )


def finish(t: Transitions, end: int, interpreter: int = 0) -> Folded:
    """Turn what the last chunk carried into rows: holds and waits still open at ``end``.

    Args:
        t: what was carried.
        end: time in nanoseconds at which nothing more is known.
        interpreter: id of the interpreter whose GIL it is.
    """
    if not len(t):
        return fold(t)
    h = _holds(t)
    own = np.flatnonzero((t.kind == ACQUIRE) | (t.kind == RELEASE))
    held = own[-1:][t.kind[own[-1:]] == ACQUIRE]
    _, waiting = _pair_waits(t)
    closed = Intervals.of(
        interpreter=interpreter,
        state=RUN,
        thread=t.thread[h.acquire],
        start=t.time[h.acquire],
        end=t.time[h.release],
        release=np.where(_forced(t, h), FORCED, VOLUNTARY),
        site=t.site[h.release],
    )
    still_open = [
        Intervals.of(
            interpreter=interpreter,
            state=state,
            thread=t.thread[which],
            start=t.time[which],
            end=np.maximum(t.time[which], end),
            release=release,
            site=t.site[which],
        )
        for state, which, release in ((RUN, held, OPEN), (WAIT, waiting, NO_RELEASE))
    ]
    rows = by_start(concatenated([closed, *still_open]))
    return Folded(rows, Handoffs.none(), Transitions.none(), len(h.illegal))


def one_run(thread: int, start: int, end: int, interpreter: int) -> Intervals:
    """Return a hold of which neither the acquire nor the release is known."""
    return Intervals.of(
        interpreter=interpreter, thread=np.array([thread]), state=RUN, start=start, end=end, release=OPEN
    )


def of_all(folded: Sequence[Folded]) -> tuple[Intervals, Handoffs]:
    """Put the rows of several GILs together, each kind in order of time.

    Args:
        folded: rows of one GIL each; at least one.

    Returns:
        The intervals by their start, and the hand-offs by their acquire.
    """
    if len(folded) == 1:
        return folded[0].intervals, folded[0].handoffs
    handoffs = concatenated([f.handoffs for f in folded])
    order = np.argsort(handoffs.acquire, kind="stable")
    return by_start(concatenated([f.intervals for f in folded])), handoffs[order]
