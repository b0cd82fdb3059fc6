"""From transitions of one GIL to intervals and hand-offs: pure functions on NumPy arrays.

The transitions come in chunks. What a chunk leaves unfinished (the last hold, and waits not yet over) is
carried as transitions again and stands before the next chunk, so that no function keeps state.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from gilscope.convert.spool import ACQUIRE, DROP_REQUEST, FORCED, RELEASE, REQUEST

Int = npt.NDArray[np.int64]

RUN, WAIT = 0, 1
RELEASE_FORCED, RELEASE_VOLUNTARY, RELEASE_OPEN, NO_RELEASE = 0, 1, 2, -1
NO_TIME = -1
"""Stands for null in the time columns of `Handoffs`."""
NO_SITE = -1
"""Stands for null in the column ``site``."""


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
class Intervals:
    """Rows of the table ``intervals``; ``state`` and ``release`` are codes of this module."""

    thread: npt.NDArray[np.int32]
    state: npt.NDArray[np.int8]
    start: Int
    duration: Int
    release: npt.NDArray[np.int8]
    site: npt.NDArray[np.int32]


@dataclass(slots=True)
class Handoffs:
    """Rows of the table ``handoffs``; `NO_TIME` stands for null."""

    from_thread: npt.NDArray[np.int32]
    to_thread: npt.NDArray[np.int32]
    request: Int
    drop_request: Int
    release: Int
    acquire: Int
    forced: npt.NDArray[np.bool_]
    waiters: npt.NDArray[np.int32]


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
    threads = t.thread[which]
    if len(threads) and threads.max() < 1 << 16:
        threads = threads.astype(np.uint16)  # NumPy sorts 16 bits by radix: five times faster
    return which[np.argsort(threads, kind="stable")]


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
    """Positions of the GIL's own transitions: who took it, who let it go, who came next."""

    acquire: Int
    release: Int  # of the same hold
    next_acquire: Int  # behind the release; len(t) where there is none
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

    Usually the releaser then waits for the switch and says so; when another thread was faster it does
    not, but the request itself has been seen.
    """
    asked = _before(t.kind == DROP_REQUEST)
    waited = _before(t.kind == FORCED)
    end = np.minimum(h.next_acquire, len(t))
    return (asked[h.release] > asked[h.acquire]) | (waited[end] > waited[h.release])


def fold(t: Transitions) -> Folded:
    """Turn a chunk into rows, up to its last acquire; the rest is carried.

    Args:
        t: what the chunk before carried, and the transitions of this one behind it.
    """
    acquires = np.flatnonzero(t.kind == ACQUIRE)
    cut = int(acquires[-1]) if len(acquires) else 0
    request_of, open_requests = _pair_waits(t)
    h = _holds(t)
    forced = _forced(t, h)
    done = h.release < cut
    runs = Intervals(
        thread=t.thread[h.acquire[done]],
        state=np.full(int(done.sum()), RUN, np.int8),
        start=t.time[h.acquire[done]],
        duration=t.time[h.release[done]] - t.time[h.acquire[done]],
        release=np.where(forced[done], RELEASE_FORCED, RELEASE_VOLUNTARY).astype(np.int8),
        site=t.site[h.release[done]],
    )
    took = np.flatnonzero(request_of >= 0)
    asked = request_of[took]
    waits = Intervals(
        thread=t.thread[took],
        state=np.full(len(took), WAIT, np.int8),
        start=t.time[asked],
        duration=t.time[took] - t.time[asked],
        release=np.full(len(took), NO_RELEASE, np.int8),
        site=t.site[asked],
    )
    earlier = open_requests[open_requests < cut]
    carry = t[earlier].then(t[cut:]) if len(earlier) else t[cut:]
    illegal = int(np.count_nonzero(h.illegal <= cut))
    return Folded(_merge(runs, waits), _handoffs(t, h, forced, request_of), carry, illegal)


def _handoffs(t: Transitions, h: _Holds, forced: npt.NDArray[np.bool_], request_of: Int) -> Handoffs:
    changed = np.flatnonzero(h.next_acquire < len(t))
    changed = changed[t.thread[h.release[changed]] != t.thread[h.next_acquire[changed]]]
    took, let_go = h.next_acquire[changed], h.release[changed]
    asked = request_of[took]
    waiting = _before(t.kind == REQUEST) - _before(request_of >= 0)
    return Handoffs(
        from_thread=t.thread[let_go],
        to_thread=t.thread[took],
        request=np.where(asked >= 0, t.time[asked], NO_TIME),
        drop_request=_first_drop_request(t, t.thread[took], h.acquire[changed], took),
        release=t.time[let_go],
        acquire=t.time[took],
        forced=forced[changed],
        waiters=waiting[let_go].astype(np.int32),
    )


def finish(t: Transitions, end: int) -> Folded:
    """Turn what the last chunk carried into rows: holds and waits still open at ``end``.

    Args:
        t: what was carried.
        end: time in nanoseconds at which nothing more is known.
    """
    if not len(t):
        return fold(t)
    h = _holds(t)
    forced = _forced(t, h)
    own = np.flatnonzero((t.kind == ACQUIRE) | (t.kind == RELEASE))
    held = own[-1:][t.kind[own[-1:]] == ACQUIRE]
    _, waiting = _pair_waits(t)
    start = np.concatenate((t.time[h.acquire], t.time[held], t.time[waiting]))
    stop = np.concatenate((t.time[h.release], np.full(len(held) + len(waiting), end, np.int64)))
    n = (len(h.acquire), len(held), len(waiting))
    rows = Intervals(
        thread=np.concatenate((t.thread[h.acquire], t.thread[held], t.thread[waiting])),
        state=np.repeat(np.array([RUN, RUN, WAIT], np.int8), n),
        start=start,
        duration=np.maximum(stop - start, 0),
        release=np.concatenate(
            (
                np.where(forced, RELEASE_FORCED, RELEASE_VOLUNTARY).astype(np.int8),
                np.repeat(np.array([RELEASE_OPEN, NO_RELEASE], np.int8), n[1:]),
            )
        ),
        site=np.concatenate((t.site[h.release], t.site[held], t.site[waiting])),
    )
    none = fold(Transitions.none())
    return Folded(in_order(rows), none.handoffs, none.carry, len(h.illegal))


def one_run(thread: int, start: int, end: int) -> Intervals:
    """Return a hold of which neither the acquire nor the release is known."""
    return Intervals(
        thread=np.array([thread], np.int32),
        state=np.array([RUN], np.int8),
        start=np.array([start], np.int64),
        duration=np.array([end - start], np.int64),
        release=np.array([RELEASE_OPEN], np.int8),
        site=np.array([NO_SITE], np.int32),
    )


Rows = TypeVar("Rows", Intervals, Handoffs)


def _rows(rows: Rows, order: Int) -> Rows:
    return type(rows)(**{f.name: getattr(rows, f.name)[order] for f in fields(rows)})


def _joined(parts: Sequence[Rows]) -> Rows:
    names = [f.name for f in fields(parts[0])]
    return type(parts[0])(**{n: np.concatenate([getattr(part, n) for part in parts]) for n in names})


def in_order(rows: Intervals) -> Intervals:
    """Return the same rows ordered by their start."""
    return _rows(rows, np.argsort(rows.start, kind="stable"))


def _merge(a: Intervals, b: Intervals) -> Intervals:
    return in_order(_joined((a, b)))


def of_all(folded: Sequence[tuple[int, Folded]]) -> tuple[Intervals, Int, Handoffs, Int]:
    """Put the rows of several GILs together, each kind in order of time.

    Args:
        folded: an interpreter's id, and rows of its GIL; at least one.

    Returns:
        The intervals by their start, with the interpreter of each, and the hand-offs by
        their acquire, likewise.
    """
    intervals = _joined([f.intervals for _, f in folded])
    handoffs = _joined([f.handoffs for _, f in folded])
    ids = np.array([i for i, _ in folded], np.int64)
    of_interval = np.repeat(ids, [len(f.intervals.thread) for _, f in folded])
    of_handoff = np.repeat(ids, [len(f.handoffs.to_thread) for _, f in folded])
    if len(folded) == 1:
        return intervals, of_interval, handoffs, of_handoff
    first = np.argsort(intervals.start, kind="stable")
    then = np.argsort(handoffs.acquire, kind="stable")
    return _rows(intervals, first), of_interval[first], _rows(handoffs, then), of_handoff[then]
