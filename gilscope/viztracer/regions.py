"""The program's marks and regions in a timeline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gilscope.tables.arrays import filled, in_one, numpy_of
from gilscope.tables.rows import Int
from gilscope.tables.stored import Tables
from gilscope.viztracer.rows import reach

UNNAMED = "(unnamed)"
"""Replaces an empty name, which the viewer would drop."""


@dataclass(slots=True)
class Marks:
    """Rows of ``marks``, all of one kind: regions, or marks (whose ``end`` is their ``start``)."""

    thread: Int
    name: Int  # position in `names`
    names: list[str]
    start: Int
    end: Int
    complete: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, which: npt.NDArray[np.bool_] | Int) -> Marks:
        return Marks(
            self.thread[which],
            self.name[which],
            self.names,
            self.start[which],
            self.end[which],
            self.complete[which],
        )


def load_marks(recording: Tables, start_ns: int, end_ns: int) -> tuple[Marks, Marks]:
    """Return the marks and the regions inside a stretch of time; regions are cut at its edges."""
    table = recording.marks.combine_chunks()
    name = filled(in_one(table["name"]), "").dictionary_encode()
    start, duration = numpy_of(table["start_ns"]), table["duration_ns"]
    region = numpy_of(duration.is_valid())
    rows = Marks(
        numpy_of(table["thread"]).astype(np.int64),
        numpy_of(name.indices).astype(np.int64),
        [text or UNNAMED for text in name.dictionary.to_pylist()],
        start,
        start + numpy_of(filled(duration, 0)),
        numpy_of(filled(table["complete"], True)),
    )
    begin, end = reach(rows.start, rows.end)
    inside = (begin < end_ns) & (end > start_ns)
    regions = rows[region & inside]
    regions.complete &= (regions.start >= start_ns) & (regions.end <= end_ns)
    regions.start, regions.end = np.maximum(regions.start, start_ns), np.minimum(regions.end, end_ns)
    return rows[~region & inside], regions


def sublanes(regions: Marks) -> Int:
    """Return the number of the sublane of each region, within its thread.

    The viewer draws slices of a lane inside one another, and drops a slice that crosses the end of another.
    Regions of interleaving tasks do that: they go to the thread's next sublane.
    """
    sublane = np.zeros(len(regions), np.int64)
    order = np.lexsort((-regions.end, regions.start, regions.thread))
    rows = zip(*(c[order].tolist() for c in (regions.thread, regions.start, regions.end)), strict=True)
    last = -1
    open_ends: list[list[int]] = []  # of the open regions of each sublane, outermost first
    for i, (thread, start, end) in zip(order.tolist(), rows, strict=True):
        if thread != last:
            last, open_ends = thread, []
        for ends in open_ends:
            while ends and ends[-1] <= start:
                ends.pop()
        fits = (n for n, ends in enumerate(open_ends) if not ends or ends[-1] >= end)
        sublane[i] = lane = next(fits, len(open_ends))
        if lane == len(open_ends):
            open_ends.append([])
        open_ends[lane].append(end)
    return sublane
