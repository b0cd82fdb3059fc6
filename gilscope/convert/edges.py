"""The two kinds of edges: intervals and hand-offs from every transition, or from samples."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from gilscope.convert import spool
from gilscope.convert import transitions as tr
from gilscope.convert.history import GilHistory, Hold, interpreter_of
from gilscope.convert.sites import LastReleases, Sites
from gilscope.convert.spool import Batch
from gilscope.convert.threads import Threads
from gilscope.convert.transitions import Transitions
from gilscope.convert.waiters import WaiterChoice
from gilscope.convert.writer import RowWriter
from gilscope.tables.rows import NO_SITE, RUN, WAIT, Handoffs, Intervals, by_start
from gilscope.tables.spans import by_thread

Int = npt.NDArray[np.int64]


class Exact:
    """Intervals from exact edges, separately for each GIL.

    Where records were lost nothing is made up: holds and waits end with the last thing known before
    the hole, as ``open``, and those after it begin with the first thing known.
    """

    def __init__(self, rows: RowWriter, threads: Threads, sites: Sites) -> None:
        self._rows = rows
        self._threads = threads
        self._sites = sites
        self._last_releases = LastReleases()
        self._histories = {0: GilHistory(0)}  # by the number of the GIL
        self._done: list[tr.Folded] = []  # of this chunk
        self._all_along: list[tuple[int, Hold, int]] = []  # interpreter, hold, its end
        self._ended = False
        self._last_ns = 0
        self.illegal = 0
        self.transitions = 0

    def add(
        self,
        kind: npt.NDArray[np.uint8],
        gil: npt.NDArray[np.uint8],
        thread: npt.NDArray[np.int32],
        arg: npt.NDArray[np.uint64],
        time: Int,
    ) -> None:
        """Add records in order, of any kind; times never decrease.

        Args:
            kind: record kinds of `gilscope.convert.spool`.
            gil: number of the GIL of which each was written.
            thread: number of the thread that wrote each.
            arg: their arguments.
            time: nanoseconds since the start of the trace.
        """
        if self._ended:
            return  # threads that were inside a hook when the trace ended
        ends = np.flatnonzero(kind == spool.END)
        stop = int(ends[0]) if len(ends) else len(kind)
        mine = np.flatnonzero((kind <= spool.LOST) | (kind == spool.BEGIN) | spool.is_about_a_gil(kind))
        mine = mine[: np.searchsorted(mine, stop)]
        t = Transitions(kind[mine], thread[mine], time[mine], np.full(len(mine), NO_SITE, np.int32))
        if len(t):
            self._locate(t, gil[mine], arg[mine])
            self._add_transitions(t, gil[mine], arg[mine])
        if len(ends):
            self._note_last(thread[stop : stop + 1], time[stop : stop + 1])
            self.end(int(time[stop]))
        self._write()

    def _locate(self, t: Transitions, gil: npt.NDArray[np.uint8], arg: npt.NDArray[np.uint64]) -> None:
        """Set the sites of transitions of the main interpreter's GIL; other GILs have none recorded."""
        releases = (t.kind == spool.RELEASE) & (gil == 0)
        if not arg[releases].any() and not self._sites.known:
            return
        t.site[releases] = self._sites.numbers(arg[releases].astype(np.int64))
        main = t[gil == 0]
        self._last_releases.fill(main)
        t.site[gil == 0] = main.site

    def _add_transitions(
        self, t: Transitions, gil: npt.NDArray[np.uint8], arg: npt.NDArray[np.uint64]
    ) -> None:
        own = (t.kind < spool.LOST) | (t.kind == spool.BEGIN)
        self.transitions += int(np.count_nonzero(t.kind < spool.LOST))
        self._note_last(t.thread[own], t.time[own])
        # The last thing known before each record.
        before = np.concatenate((np.array([self._last_ns]), t.time[:-1]))
        self._last_ns = int(t.time[-1])
        t.kind = np.where(t.kind == spool.BEGIN, np.uint8(spool.ACQUIRE), t.kind)
        if not gil.any() and len(self._histories) == 1:
            self._add_of(0, t, arg, before)
            return
        lost = t.kind == spool.LOST
        for number in sorted({*np.unique(gil).tolist(), *self._histories}):
            which = np.flatnonzero((gil == number) | lost)
            self._add_of(number, t[which], arg[which], before[which])

    def _add_of(self, number: int, t: Transitions, arg: npt.NDArray[np.uint64], before: Int) -> None:
        begin = 0
        for mark in np.flatnonzero(t.kind >= spool.LOST).tolist():
            self._pass_on(number, t[begin:mark], arg[begin:mark])
            self._handle(number, int(t.kind[mark]), int(arg[mark]), int(before[mark]), int(t.time[mark]))
            begin = mark + 1
        self._pass_on(number, t[begin:], arg[begin:])

    def _pass_on(self, number: int, t: Transitions, arg: npt.NDArray[np.uint64]) -> None:
        if not len(t):
            return
        history = self._histories.setdefault(number, GilHistory(None))
        self._keep(history, history.add(t, arg))
        if number and history.interpreter is not None:
            self._threads.set_interpreter(number, history.interpreter, np.unique(t.thread).tolist())

    def _handle(self, number: int, kind: int, arg: int, before_ns: int, time_ns: int) -> None:
        """Handle a record about a GIL's number, or about lost records."""
        history = self._histories.get(number)
        if kind == spool.GIL_HELD:
            if history:
                history.held = Hold(arg, time_ns)
            return
        if history:
            self._keep(history, history.finish(before_ns if kind == spool.LOST else None))
            self.illegal += history.illegal
            del self._histories[number]
        if kind == spool.GIL or not number:
            self._histories[number] = GilHistory(interpreter_of(arg) if kind == spool.GIL else 0)

    def _keep(self, history: GilHistory, folded: tr.Folded) -> None:
        if history.interpreter is not None:
            self._done.append(folded)

    def _note_last(self, thread: npt.NDArray[np.int32], time: Int) -> None:
        last = np.full(len(self._threads.in_order), -1, np.int64)
        last[thread] = time  # of several, NumPy keeps the last
        for i in np.flatnonzero(last >= 0).tolist():
            self._threads.in_order[i].last_ns = int(last[i])

    def _write(self) -> None:
        if self._done:
            intervals, handoffs = tr.of_all(self._done)
            self._rows.intervals(intervals)
            self._rows.handoffs(handoffs)
        self._done.clear()

    def end(self, time_ns: int) -> None:
        """End all that is open at this time."""
        if self._ended:
            return
        self._ended = True
        for history in self._histories.values():
            self._keep(history, history.finish(time_ns))
            self.illegal += history.illegal
            if history.held and history.interpreter is not None:
                self._all_along.append((history.interpreter, history.held, time_ns))
        self._write()

    def close(self) -> None:
        """Write the holds of GILs that never changed hands: only now are all other threads numbered."""
        for interpreter, hold, end_ns in self._all_along:
            thread = self._threads.number_of_silent(hold.native_id, hold.start_ns, interpreter)
            self._threads.in_order[thread].last_ns = end_ns
            self._rows.intervals(tr.one_run(thread, hold.start_ns, end_ns, interpreter))


class Sampled:
    """Intervals from what the sampler saw at its ticks.

    A tick stands for the time from halfway since the tick before to halfway to the next: shares of time
    are then right on average, and an edge is off by at most half the time between two ticks.
    """

    def __init__(self, rows: RowWriter, threads: Threads, *, counted: bool) -> None:
        self._rows = rows
        self._threads = threads
        self._choice = WaiterChoice() if counted else None
        self._waiting: list[Batch] = []  # the last tick: how long it stands for is not known yet
        self._from_ns = 0
        self._switches = 0  # the GIL's counter at the tick before
        self._open: dict[int, tuple[int, int]] = {}  # thread: state and start of what may go on
        self._holder = -1
        self._waiters = 0

    def add(self, batches: list[Batch], relative: Callable[[int], int]) -> None:
        """Add batches in order.

        Args:
            batches: the ones without a tick are ignored.
            relative: turns CLOCK_MONOTONIC into nanoseconds since the start of the trace.
        """
        ticks = self._waiting + [b for b in batches if b.tick]
        self._waiting = ticks[-1:]
        if len(ticks) < 2:
            return
        time = np.array([relative(b.monotonic_ns) for b in ticks], np.int64)
        middle = (time[:-1] + time[1:]) // 2
        self._spans(ticks[:-1], np.concatenate(([self._from_ns], middle)))
        self._from_ns = int(middle[-1])

    def end(self, time_ns: int) -> None:
        """End all that is open at this time."""
        if self._waiting and time_ns > self._from_ns:
            self._spans(self._waiting, np.array([self._from_ns, time_ns]))
        self._close(dict(self._open), time_ns)

    def _spans(self, ticks: list[Batch], edge: Int) -> None:
        """Write the rows of ticks; tick i stands for the time from ``edge[i]`` to ``edge[i + 1]``."""
        tick = np.repeat(np.arange(len(ticks)), [len(b.states) for b in ticks])
        states = np.concatenate([b.states for b in ticks])
        thread = self._numbers(states["native_id"], edge[tick])
        runs = states["state"] == spool.STATE_RUN
        if self._choice:
            waiters = np.array([b.waiters for b in ticks], np.int64)
            known = runs | self._choice.waits(tick, thread, states["state"].astype(np.int64), waiters)
            tick, thread, runs = tick[known], thread[known], runs[known]
        switched = np.diff([b.switches for b in ticks], prepend=self._switches) != 0
        self._switches = ticks[-1].switches
        self._intervals(tick, thread, runs, edge, switched)
        self._handoffs(tick, thread, runs, edge)
        last = np.full(len(self._threads.in_order), -1, np.int64)
        last[thread] = edge[tick + 1]
        for i in np.flatnonzero(last >= 0).tolist():
            self._threads.in_order[i].last_ns = int(last[i])

    def _numbers(self, native_ids: npt.NDArray[np.uint32], time: Int) -> npt.NDArray[np.int32]:
        ids, first, inverse = np.unique(native_ids, return_index=True, return_inverse=True)
        number = np.empty(len(ids), np.int32)
        for i in np.argsort(first).tolist():
            number[i] = self._threads.number_of(int(ids[i]), int(time[first[i]]))
        return number[inverse]

    def _intervals(
        self,
        tick: Int,
        thread: npt.NDArray[np.int32],
        runs: npt.NDArray[np.bool_],
        edge: Int,
        switched: npt.NDArray[np.bool_],
    ) -> None:
        order = by_thread(thread)
        tick, thread, runs = tick[order], thread[order], runs[order]
        begins = np.ones(len(tick), np.bool_)
        # The GIL's own counter moved: the same holder let it go and took it back in between.
        begins[1:] = (
            (thread[1:] != thread[:-1])
            | (runs[1:] != runs[:-1])
            | (tick[1:] != tick[:-1] + 1)
            | (runs[1:] & switched[tick[1:]])
        )
        ends = np.ones(len(tick), np.bool_)
        ends[:-1] = begins[1:]
        first, last = np.flatnonzero(begins), np.flatnonzero(ends)
        thread, start, end = thread[first], edge[tick[first]], edge[tick[last] + 1]
        state = np.where(runs[first], RUN, WAIT).astype(np.int8)
        self._resume(thread, state, start, int(edge[0]), let_go=bool(switched[0]))
        goes_on = end == edge[-1]
        self._open = {
            int(t): (int(s), int(since))
            for t, s, since in zip(thread[goes_on], state[goes_on], start[goes_on], strict=True)
        }
        done = ~goes_on
        self._write(thread[done], state[done], start[done], end[done])

    def _resume(
        self,
        thread: npt.NDArray[np.int32],
        state: npt.NDArray[np.int8],
        start: Int,
        at: int,
        *,
        let_go: bool,
    ) -> None:
        """Let intervals that begin a chunk go on from the chunk before; write those that do not."""
        ended = self._open
        for i in np.flatnonzero(start == at).tolist():
            what, since = ended.get(int(thread[i]), (-1, 0))
            if what == state[i] and not (let_go and what == RUN):
                start[i] = since
                del ended[int(thread[i])]
        self._close(ended, at)

    def _close(self, ended: dict[int, tuple[int, int]], at: int) -> None:
        rows = np.array([(t, s, since) for t, (s, since) in ended.items()], np.int64).reshape(-1, 3)
        self._write(
            rows[:, 0].astype(np.int32), rows[:, 1].astype(np.int8), rows[:, 2], np.full(len(rows), at)
        )

    def _write(
        self, thread: npt.NDArray[np.int32], state: npt.NDArray[np.int8], start: Int, end: Int
    ) -> None:
        # Sampling does not see why a hold ended.
        rows = Intervals.of(interpreter=0, thread=thread, state=state, start=start, end=end)
        self._rows.intervals(by_start(rows))

    def _handoffs(
        self, tick: Int, thread: npt.NDArray[np.int32], runs: npt.NDArray[np.bool_], edge: Int
    ) -> None:
        holder = thread[runs]
        at = tick[runs]
        waiters = np.bincount(tick[~runs], minlength=len(edge))
        before = np.concatenate(([self._holder], holder[:-1])) if len(holder) else holder
        waiting = np.concatenate(([self._waiters], waiters))[at]
        changed = (before != holder) & (before >= 0)
        time = edge[at[changed]]
        self._rows.handoffs(
            Handoffs.of(
                interpreter=0,
                from_thread=before[changed],
                to_thread=holder[changed],
                release=time,
                acquire=time,
                waiters=waiting[changed],
            )
        )
        if len(holder):
            self._holder = int(holder[-1])
        self._waiters = int(waiters[len(edge) - 2])
