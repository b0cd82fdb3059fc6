"""The table ``marks``: instants and regions that the program named.

A service may have a million regions: nothing here loops over records.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gilscope.convert import spool
from gilscope.convert.texts import NO_TEXTS, Texts
from gilscope.convert.threads import Threads
from gilscope.convert.writer import Writer
from gilscope.tables.rows import NO_TIME
from gilscope.tables.spans import by_thread

Int = npt.NDArray[np.int64]
Rows = npt.NDArray[np.void]

_UNKNOWN = -1

_RECORD = np.dtype([("kind", "u1"), ("thread", "i4"), ("arg", "i8"), ("time", "i8"), ("hole", "i8")])
"""``hole`` counts the holes before it in its chunk."""
_ROW = np.dtype(
    [
        ("region", "?"),
        ("instance", "i8"),
        ("thread", "i4"),
        ("start", "i8"),
        ("end", "i8"),
        ("known", "i8"),
        ("complete", "?"),
    ]
)
"""A mark or a region; ``known`` is when a region was last known to go on, where its end may be lost."""


class Marks:
    """Writes a row for each mark, and for each region once it is over.

    A region that does not end in the trace is not complete, and lasts to the trace's end. Where records were
    lost after it began its end may be among them: then it lasts to the last thing known before the first
    such hole. Left out are regions of which the beginning is not in the trace, and what comes from a thread
    of which the first record was lost. Memory grows with the regions that are open at one time, not with
    the length of the trace.

    Rows come in the order of their start, chunk by chunk (half a million records): a region stands in the
    chunk in which it ends, and one that does not end in the last.

    Args:
        writer: where rows go.
        threads: the threads of the trace.
    """

    def __init__(self, writer: Writer, threads: Threads) -> None:
        self._writer = writer
        self._threads = threads
        self._unnamed = np.zeros(0, _RECORD)  # of those whose names are not whole yet
        self._open = np.zeros(0, _ROW)
        self._open_names = NO_TEXTS
        self._over = np.zeros(0, _ROW)  # of the last chunk that had any
        self._over_names = NO_TEXTS
        self._last_ns = 0
        self._ended = False

    def add(
        self,
        kind: npt.NDArray[np.uint8],
        thread: npt.NDArray[np.int32],
        arg: npt.NDArray[Any],
        time: Int,
    ) -> None:
        """Add records in order, of any kind; times never decrease.

        Args:
            kind: record kinds of `gilscope.convert.spool`.
            thread: the number under which the core knows the thread that wrote each.
            arg: their arguments.
            time: nanoseconds since the start of the trace.
        """
        if self._ended:
            return
        if (ends := np.flatnonzero(kind == spool.END)).size:
            self._ended = True
            kind, time = kind[: ends[0]], time[: ends[0]]
        lost = np.flatnonzero(kind == spool.LOST)
        mine = np.flatnonzero((kind >= spool.MARK) & (kind <= spool.MARK_NAME))
        before = np.concatenate((np.array([self._last_ns]), time))
        self._last_ns = int(before[-1])
        if len(mine) or len(lost):
            records = np.empty(len(mine), _RECORD)
            records["kind"], records["thread"] = kind[mine], thread[mine]
            records["arg"], records["time"] = arg[mine], time[mine]
            records["hole"] = np.searchsorted(lost, mine)
            self._flush()
            self._add(records, before[lost])

    def _add(self, records: Rows, holes: Int) -> None:
        """Add records, with the time of the last known record before each hole between them."""
        ends = records[records["kind"] == spool.REGION_END]
        self._numbers(ends)
        begun, names = self._begun(records[records["kind"] != spool.REGION_END], holes)
        if len(holes):
            still = self._open["known"]
            still[still == _UNKNOWN] = holes[0]
        self._match_ends(np.concatenate((self._open, begun)), self._open_names.then(names), ends)

    def _begun(self, records: Rows, holes: Int) -> tuple[Rows, Texts]:
        """Return marks and regions whose names are as whole as they will get; keep the records of others."""
        records = np.concatenate((self._unnamed, records))
        records = records[by_thread(records["thread"])]
        begins = records["kind"] != spool.MARK_NAME
        at = np.flatnonzero(begins)
        owner = np.cumsum(begins) - 1
        # Across a hole, and from a thread that began nothing, a name is that of something lost.
        of = at[owner] if len(at) else owner
        named = ~begins & (owner >= 0)
        for same in ("thread", "hole"):
            named &= records[same] == records[same][of]
        names, whole = Texts.of_words(
            records["arg"][named].astype(np.uint32), np.bincount(owner[named], minlength=len(at))
        )
        opener = records[at]
        waits = ~whole & (opener["hole"] == len(holes))
        self._unnamed = records[(begins | named) & np.concatenate((waits, [False]))[owner]]
        self._unnamed["hole"] = 0
        done = np.flatnonzero(~waits)
        return self._rows(opener[done], holes), names[done]

    def _rows(self, opener: Rows, holes: Int) -> Rows:
        rows = np.empty(len(opener), _ROW)
        rows["region"], rows["instance"] = opener["kind"] == spool.REGION, opener["arg"]
        rows["thread"], rows["start"] = self._numbers(opener), opener["time"]
        rows["end"], rows["complete"] = _UNKNOWN, True
        rows["known"] = np.concatenate((holes, [_UNKNOWN]))[opener["hole"]]
        return rows

    def _numbers(self, records: Rows) -> npt.NDArray[np.int32]:
        """Return the numbers that the writers of records have in the tables; they lived until then."""
        speakers, first, which = np.unique(records["thread"], return_index=True, return_inverse=True)
        last = np.zeros(len(speakers), np.int64)
        np.maximum.at(last, which, records["time"])
        numbers = np.full(len(speakers), _UNKNOWN, np.int32)
        threads = self._threads.in_order
        for i in np.argsort(records["time"][first], kind="stable").tolist():
            number = self._threads.number_of_speaker(int(speakers[i]), int(records["time"][first[i]]))
            if 0 <= number < len(threads):
                numbers[i] = number
                threads[number].last_ns = max(threads[number].last_ns, int(last[i]))
        return numbers[which]

    def _match_ends(self, rows: Rows, names: Texts, ends: Rows) -> None:
        """Match regions with their ends; separate those that are over from those that go on."""
        ends = ends[np.argsort(ends["arg"], kind="stable")]
        at = np.searchsorted(ends["arg"], rows["instance"])
        found = rows["region"] & (at < len(ends))
        found[found] = ends["arg"][at[found]] == rows["instance"][found]
        rows["end"][found] = ends["time"][at[found]]
        over = found | ~rows["region"]
        self._over = np.concatenate((self._over, rows[over]))
        self._over_names = self._over_names.then(names[np.flatnonzero(over)])
        self._open, self._open_names = rows[~over], names[np.flatnonzero(~over)]

    def _flush(self) -> None:
        """Write what is over, and forget it."""
        order = np.argsort(self._over["start"], kind="stable")
        order = order[self._over["thread"][order] != _UNKNOWN]
        rows = self._over[order]
        if len(rows):
            self._writer.write(
                "marks",
                thread=rows["thread"],
                name=self._over_names[order].column(),
                start_ns=rows["start"],
                duration_ns=np.where(rows["region"], rows["end"] - rows["start"], NO_TIME),
                complete=rows["complete"],
            )
        self._over, self._over_names = self._over[:0], NO_TEXTS

    def close(self, end_ns: int) -> None:
        """End all that is open at this time."""
        self._add(np.zeros(0, _RECORD), np.array([end_ns]))
        self._open["end"], self._open["complete"] = self._open["known"], False
        self._over = np.concatenate((self._over, self._open))
        self._over_names = self._over_names.then(self._open_names)
        self._flush()
