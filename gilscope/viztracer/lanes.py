"""The lanes of a timeline: one per GIL for its holder, one per thread, and sublanes for a thread's regions.

Lanes are virtual threads, with tids that no Linux thread can have: a merged report never has a GIL slice
between function slices.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from gilscope.tables.arrays import column, strings
from gilscope.tables.rows import Int, Intervals, Numbers, damaged
from gilscope.tables.stored import Tables
from gilscope.viztracer.jsontext import CONTROLS, quoted
from gilscope.viztracer.regions import Marks

# Linux thread ids are below 2**22, and the ids that VizTracer makes up for tasks below 2**24. The viewer
# of VizTracer 1.1 sorts lanes by tid alone.
FIRST_TID = 1 << 30

_THREAD_BITS = 20
_THREAD = (1 << _THREAD_BITS) - 1
_MOST_TRACES = 3000  # tids must stay below 2**32


class Lanes:
    """The lanes of a timeline: their tids, names and order.

    Args:
        recording: the trace.
        intervals: the intervals that are shown.
        regions: the regions that are shown.
        sublanes: the number of the sublane of each region, within its thread.

    Raises:
        TraceFormatError: if a thread has a number that gilscope never writes.
    """

    def __init__(self, recording: Tables, intervals: Intervals, regions: Marks, sublanes: Int) -> None:
        rows = recording.threads.select(["thread", "native_id", "name", "interpreter"]).to_pylist()
        self._threads = {row["thread"]: row for row in rows}
        for table, numbers in (
            ("threads", np.array([*self._threads], np.int64)),
            ("intervals", intervals.thread),
            ("marks", regions.thread),
        ):
            if ((numbers < 0) | (numbers > _THREAD)).any():
                raise damaged(table, f"thread numbers below 0 or above {_THREAD}")
        shown = np.unique(intervals.interpreter.astype(np.int64) << _THREAD_BITS | intervals.thread)
        homeless = self._threads.keys() | set(regions.thread.tolist())
        homeless -= set((shown & _THREAD).tolist())
        own = [(self._known(n, "interpreter") or 0) << _THREAD_BITS | n for n in homeless]
        self._keys = np.union1d(shown, np.array(own, np.int64))
        self._tids = np.zeros(len(self._keys), np.int64)
        self.gils = np.unique(self._keys >> _THREAD_BITS).tolist() or [0]
        self.holders: dict[int, int] = {}
        self._of_regions: dict[tuple[int, int], int] = {}
        self._homes: dict[int, int] = {}
        self._names: list[tuple[int, str]] = []
        self.trace = int(recording.metadata.get("trace_number") or 0) % _MOST_TRACES
        most = dict(zip(regions.thread.tolist(), [-1] * len(regions), strict=True))
        for thread, sublane in set(zip(regions.thread.tolist(), sublanes.tolist(), strict=True)):
            most[thread] = max(most[thread], sublane)
        self._number(FIRST_TID + (self.trace << _THREAD_BITS), most)

    def _number(self, tid: int, most_sublanes: dict[int, int]) -> None:
        """Assign tids to lanes, in the order in which they are shown."""
        several = len(self.gils) > 1
        for gil in self.gils:
            prefix = f"GIL {gil}" if several else "GIL"
            self.holders[gil] = self._named(tid, f"{prefix} holder")
            tid += 1
            for i in np.flatnonzero(self._keys >> _THREAD_BITS == gil).tolist():
                thread = int(self._keys[i]) & _THREAD
                self._tids[i] = self._named(tid, f"{prefix} {self.title(thread)}")
                tid += 1
                if thread in self._homes:
                    continue
                self._homes[thread] = int(self._tids[i])
                for sublane in range(most_sublanes.get(thread, -1) + 1):
                    self._of_regions[thread, sublane] = self._named(tid, f"regions {self.title(thread)}")
                    tid += 1

    def _named(self, tid: int, name: str) -> int:
        self._names.append((tid, name))
        return tid

    def _known(self, thread: int, column: str) -> Any:
        return self._threads.get(thread, {}).get(column)

    def label(self, thread: int) -> str:
        """Return the name to show for a thread."""
        return (self._known(thread, "name") or "thread").translate(CONTROLS)

    def title(self, thread: int) -> str:
        """Return the name and the kernel's id of a thread, to tell threads of one name apart."""
        native_id = self._known(thread, "native_id")
        return self.label(thread) + ("" if native_id is None else f" ({native_id})")

    def labels(self) -> list[str]:
        """Return the names to show for all threads, by number."""
        most = max((*self._threads, *self._homes), default=-1)
        return [self.label(n) for n in range(most + 1)]

    def quoted_labels(self, threads: Numbers) -> pa.Array:
        """Return the names to show for threads, as JSON strings."""
        unique, index = np.unique(threads, return_inverse=True)
        return strings(quoted(map(self.label, unique.tolist()))).take(column(index))

    def of(self, gil: Numbers, thread: Numbers) -> Int:
        """Return the tids of threads' lanes; -1 for threads without a lane."""
        key = gil.astype(np.int64) << _THREAD_BITS | thread
        at = np.minimum(np.searchsorted(self._keys, key), len(self._keys) - 1)
        return (
            np.where(self._keys[at] == key, self._tids[at], -1) if len(self._keys) else np.full(len(key), -1)
        )

    def home(self, thread: int | None) -> int:
        """Return the tid of a thread's first lane, or of the holder's lane if the thread is not known."""
        return (
            self.holders[self.gils[0]]
            if thread is None
            else self._homes.get(thread, self.holders[self.gils[0]])
        )

    def homes(self, threads: Int) -> Int:
        """Return the tids of the threads' first lanes."""
        unique, index = np.unique(threads, return_inverse=True)
        return np.array([self.home(n) for n in unique.tolist()], np.int64)[index]

    def of_regions(self, threads: Int, sublanes: Int) -> Int:
        """Return the tids of the sublanes of regions."""
        unique, index = np.unique(threads << _THREAD_BITS | sublanes, return_inverse=True)
        tids = [self._of_regions[key >> _THREAD_BITS, key & _THREAD] for key in unique.tolist()]
        return np.array(tids, np.int64)[index]

    def names(self, pid: int) -> Iterator[dict[str, Any]]:
        """Yield the records with the name and the position of each lane."""
        for order, (tid, name) in enumerate(self._names):
            yield meta("thread_name", pid, tid, name=name)
            yield meta("thread_sort_index", pid, tid, sort_index=order)

    def native_names(self) -> dict[int, str]:
        """Return the names of threads by the kernel's ids."""
        return {
            row["native_id"]: self.label(n)
            for n, row in self._threads.items()
            if row["name"] and row["native_id"] is not None
        }


def meta(kind: str, pid: int, tid: int, **args: str | int) -> dict[str, Any]:
    """Return a metadata record."""
    return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": args}
