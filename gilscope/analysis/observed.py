"""A trace as NumPy arrays in observed time: what the helpers compute on.

A hole is a time in which transitions were lost. Every span is measured in nanoseconds of *observed* time, in
which holes have no length, so that no helper has to handle them.
"""

from __future__ import annotations

import dataclasses
import itertools
import weakref
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from gilscope.analysis.gils import DEFAULT_INTERVAL_NS, NO_SPANS, Gil, Spans, Threads, by_start, concatenated
from gilscope.analysis.inputs import AnyTrace, as_tables
from gilscope.tables import schema
from gilscope.tables.rows import NO_SITE, NO_TIME, RUN, WAIT
from gilscope.tables.spans import Coverage, Int, Mask, by_thread
from gilscope.tables.stored import Tables

_DISTURBED = 0.03  # for a trace cut short, which lacks the sampler's CPU time: above all shares measured
_ROWS_AT_ONCE = 1 << 16


class ObservedTrace:
    """A trace as arrays; see `observe`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = {name: tables.table(name) for name in schema.TABLES}
        self.metadata = tables.metadata
        self.exact = self.metadata.get("edges", "exact") == "exact"
        self.duration = int(self.metadata["duration_ns"])
        self.lost_start, self.lost_end = self._lost()
        self._lost_until = Coverage(self.lost_start, self.lost_end)
        self.wall = int(self.observed(np.array([self.duration]))[0])
        self.gils = self._gils()
        self.names = self._names()

    @property
    def lost_ns(self) -> int:
        """Nanoseconds of the trace that are left out, because transitions were lost."""
        return self.duration - self.wall

    @property
    def disturbed(self) -> float:
        """Share of time in which the sampler was on a processor: it cannot see what it disturbs."""
        if "sampler_cpu_ns" not in self.metadata:
            return _DISTURBED
        return float(self.metadata["sampler_cpu_ns"]) / max(self.duration, 1)

    @property
    def ticks(self) -> int:
        """Number of ticks, at least 1."""
        return max(int(self.metadata.get("ticks", 0)), 1)

    def table(self, name: str) -> pa.Table:
        """Return a table as it is stored."""
        return self._tables[name]

    def numbers(self, table: str, column: str) -> Int:
        """Return a column of integers or booleans as numbers; `NO_TIME` stands for null."""
        values = self._tables[table][column]
        truth = pa.types.is_boolean(values.type)
        out = np.empty(len(values), np.int8 if truth else values.type.to_pandas_dtype())
        begin = 0
        for chunk in values.chunks:
            whole = chunk.cast(pa.int8()) if truth else chunk
            end = begin + len(chunk)
            out[begin:end] = whole.fill_null(NO_TIME).to_numpy() if whole.null_count else whole.to_numpy()
            begin = end
        return out

    def observed(self, times: Int) -> Int:
        """Return times of the trace as nanoseconds of observed time."""
        return times - self._lost_until.until(times) if len(self.lost_start) else times

    def in_hole(self, times: Int) -> Mask:
        """Return which times of the trace lie in a hole."""
        return self._lost_until.on(times) > 0

    def interval_at(self, times: Int) -> Int:
        """Return the switch interval in force at times of the trace, in nanoseconds."""
        since, value = (self.numbers("switch_intervals", c) for c in ("time_ns", "interval_ns"))
        if not len(since):  # tables that were passed without this one
            return np.full(len(times), DEFAULT_INTERVAL_NS, np.int64)
        return value[np.maximum(np.searchsorted(since, times, "right") - 1, 0)]

    def labels(self, threads: Threads) -> pd.Categorical:
        """Return the names of threads, one a row; null for -1."""
        names, code = np.unique(np.array([*self.names, ""], object), return_inverse=True)
        codes = code.astype(np.min_scalar_type(-len(names)))[threads]  # as narrow a type as possible
        codes[threads < 0] = -1
        return pd.Categorical.from_codes(codes, names)

    def coverages(self, spans: Spans) -> list[Coverage]:
        """Return the coverage of each thread's spans, by thread number."""
        order = by_thread(spans.thread)
        start, end = spans.start[order], spans.end[order]
        until = np.cumsum(np.bincount(spans.thread, minlength=len(self.names)))
        idle = Coverage(start[:0], end[:0])  # shared: most of many threads are idle
        bounds = itertools.pairwise([0, *until.tolist()])
        return [Coverage(start[a:b], end[a:b]) if b > a else idle for a, b in bounds]

    def _lost(self) -> tuple[Int, Int]:
        """Return the spans between two ticks in which records were dropped; empty for sampled edges."""
        dropped = self.numbers("samples", "dropped")
        if not self.exact or not dropped.any():
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        end = np.clip(self.numbers("samples", "time_ns"), 0, self.duration)
        start = np.concatenate((np.zeros(1, np.int64), end[:-1]))
        lost = (dropped > 0) & (end > start)
        return start[lost], end[lost]

    def _gils(self) -> list[Gil]:
        parts: dict[tuple[int, int], list[Spans]] = {}
        # In pieces that stay in the processor's cache: a table may take half of the memory.
        for batch in self._tables["intervals"].to_batches(max_chunksize=_ROWS_AT_ONCE):
            for key, spans in self._split(batch):
                parts.setdefault(key, []).append(spans)
        numbers = sorted({number for number, _ in parts}) or [0]

        def of(number: int, what: int) -> Spans:
            return concatenated(parts.pop((number, what), [NO_SPANS]))

        return [Gil(number, self.wall, by_start(of(number, RUN)), of(number, WAIT)) for number in numbers]

    def _split(self, batch: pa.RecordBatch) -> Iterator[tuple[tuple[int, int], Spans]]:
        """Yield the spans of a batch for each interpreter and state in it."""
        thread, start, end, interpreter = (
            batch[name].to_numpy(zero_copy_only=False)
            for name in ("thread", "start_ns", "duration_ns", "interpreter")
        )
        end = start + end
        state = codes(batch["state"], schema.STATES)
        release, site = codes(batch["release"], schema.RELEASES), _sites(batch["site"])
        rows = Spans(thread, start, end, release, site=site)
        if self.lost_ns:
            rows = Spans(thread, self.observed(start), self.observed(end), release, start, site=site)
            inside = self.in_hole(start)
            rows, state, interpreter = _without_holes(rows, end, inside, state, interpreter)
        for number in np.unique(interpreter).tolist():
            for what in (RUN, WAIT):
                yield (number, what), rows[np.flatnonzero((state == what) & (interpreter == number))]

    def _names(self) -> list[str]:
        known = dict(zip(*(self._tables["threads"][c].to_pylist() for c in ("thread", "name")), strict=True))
        seen = [self.numbers("intervals", "thread"), self.numbers("handoffs", "from_thread")]
        seen += [self.numbers("handoffs", "to_thread"), self.numbers("marks", "thread")]
        most = max((int(s.max()) for s in seen if len(s)), default=-1)
        return [known.get(i) or f"thread {i}" for i in range(max(most, *known, -1) + 1)]


def _sites(column: pa.Array) -> npt.NDArray[np.int32] | None:
    """Return rows of the table ``sites``; None if no row has a site."""
    if column.null_count == len(column):
        return None
    sites: npt.NDArray[np.int32] = column.fill_null(NO_SITE).to_numpy()
    return sites


def _without_holes(
    rows: Spans, end: Int, inside: Mask, state: npt.NDArray[np.int8], interpreter: Int
) -> tuple[Spans, npt.NDArray[np.int8], Int]:
    """Drop rows that lie in holes, and mark rows that a hole touches."""
    whole = rows.duration == end - rows.at
    kept = (rows.duration > 0) | (whole & ~inside)
    marked = dataclasses.replace(rows, whole=whole)
    return marked[kept], state[kept], interpreter[kept]


def codes(column: pa.ChunkedArray | pa.Array, words: tuple[str, ...]) -> npt.NDArray[np.int8]:
    """Return the position of each value in ``words``, -1 for null and for anything else."""
    parts = [np.zeros(0, np.int8)]
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        coded = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
        meaning = [words.index(w) if w in words else -1 for w in coded.dictionary.to_pylist()]
        # Null is coded as the position behind the last word.
        indices = coded.indices.fill_null(len(meaning)).to_numpy(zero_copy_only=False)
        parts.append(np.array([*meaning, -1], np.int8)[indices])
    return np.concatenate(parts)


_CACHE: weakref.WeakKeyDictionary[Tables, ObservedTrace] = weakref.WeakKeyDictionary()


def observe(t: AnyTrace) -> ObservedTrace:
    """Return a trace as arrays; they are made once for each `Tables`.

    Args:
        t: a trace, its path, one of its tables, or several by name.

    Raises:
        OptionError: if ``t`` is anything else.
        TraceFormatError: if the path does not hold an intact trace.
    """
    tables = as_tables(t)
    trace = _CACHE.get(tables)
    if trace is None:
        trace = _CACHE[tables] = ObservedTrace(tables)
    return trace
