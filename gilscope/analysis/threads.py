"""Who ran, who waited: one row per thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from gilscope.analysis import estimates
from gilscope.analysis.gils import FORCED, Spans, behind_one_another
from gilscope.analysis.inputs import AnyTrace
from gilscope.analysis.regions import Within
from gilscope.analysis.source import Source, of
from gilscope.tables.spans import Floats, Int, group_quantiles, group_sums

_QUANTILES = {"wait_p50_ns": 0.5, "wait_p90_ns": 0.9, "wait_p99_ns": 0.99, "wait_max_ns": 1.0}
_ENDS = [f"{w}_{u}_{end}" for w in ("run", "wait", "off") for end in ("low", "high") for u in ("share", "ns")]
_ENDS += ["slowdown_low", "slowdown_high"]


@dataclass(frozen=True)
class _Lives:
    """The lives that are told of: of all threads, or as far as they lie within regions.

    ``life`` is in nanoseconds, by thread number; -1 for threads that are not told of. ``runs`` and ``waits``
    are as long as they lie within, and what counts ``runs_begun`` and ``waits_begun``. ``parts`` are what
    estimates need of each thread told of.
    """

    life: Int
    runs: Spans
    waits: Spans
    runs_begun: Spans
    waits_begun: Spans
    cpu: Int
    parts: Sequence[Source | estimates.Part]


def threads(t: AnyTrace, region: str | None = None) -> pd.DataFrame:
    """Return one row per thread: how it spent its life.

    A thread's life lasts from its first transition to its last. ``off_ns`` is what run and wait leave of
    it, so the three shares sum to one. ``slowdown`` is (run + wait) / run: how many times longer the thread's
    work took than with the GIL to itself.

    With a ``region`` a thread's life is the time it spent in its own regions of that name (in several at
    once: once), and there are rows only for threads that have one. Run, wait and off are of that life.
    Counts and quantiles are of the holds and waits that begin in it, and a wait is as long as it is, also
    where the region ends before; ``longest_ns`` is the most that a single hold lasted within, wherever it
    began: mostly a thread holds the GIL already when it enters. A region that is not complete counts as far
    as it is known.

    Args:
        t: a trace, its path, or its tables.
        region: name of the regions to look into; None for all of the trace.

    Returns:
        Columns ``thread`` (int64), ``thread_name``; ``life_ns``, ``run_ns``, ``wait_ns``, ``off_ns`` (int64),
        ``run_share``, ``wait_share``, ``off_share`` of its life; ``acquires``, ``waits``, ``forced``
        (releases), ``longest_ns`` (hold; Int64); ``wait_p50_ns``, ``wait_p90_ns``, ``wait_p99_ns``,
        ``wait_max_ns`` (float64); ``cpu_ns`` (processor time while traced, Int64); ``slowdown`` (float64).
        With sampled edges times and shares have ``_low`` and ``_high`` (95 %, see `gilscope.analysis`), of a
        life as long as the trace, or the regions, and counts, quantiles and ``longest_ns`` are null. Null
        too: quantiles of a thread that never waited, ``slowdown`` of one that never ran, ``cpu_ns`` where it
        was not read, as within regions. Intervals that a hole touches count with what is known of them in
        times, and not at all in quantiles and ``longest_ns``.

    Raises:
        OptionError: no region has that name.

    Example:
        >>> import gilscope
        >>> with gilscope.trace(None) as t:
        ...     with t.region("sum"):
        ...         total = sum(range(1000))
        >>> main = gilscope.analysis.threads(t).iloc[0]
        >>> bool(main.run_ns + main.wait_ns + main.off_ns == main.life_ns)
        True
        >>> bool(gilscope.analysis.threads(t, region="sum")["life_ns"].item() < main.life_ns)
        True
    """
    source = of(t)
    lives = _whole(source) if region is None else _within(source, region)
    frame = _figures(source, lives)
    return frame if source.exact else _estimated(frame, source, lives)


def _figures(source: Source, lives: _Lives) -> pd.DataFrame:
    n = len(source.names)
    known = np.flatnonzero(lives.life >= 0)
    life, run, wait = lives.life, _sums(lives.runs, n), _sums(lives.waits, n)
    times = {"life": life, "run": run, "wait": wait, "off": life - run - wait}
    out: dict[str, Any] = {"thread": known, "thread_name": [source.names[i] for i in known]}
    out |= {f"{word}_ns": ns[known] for word, ns in times.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        for word in ("run", "wait", "off"):
            out[f"{word}_share"] = (times[word] / life)[known]
        slowdown = np.where(run > 0, (run + wait) / run, np.nan)
    quantiles = _quantiles(lives.waits_begun, n)
    out |= {name: values[known] for name, values in _counts(lives, n).items()}
    out |= {name: quantiles[known, i] for i, name in enumerate(_QUANTILES)}
    out |= {"cpu_ns": lives.cpu[known], "slowdown": slowdown[known]}
    frame = pd.DataFrame(out).astype(dict.fromkeys(("acquires", "waits", "forced", "longest_ns"), "Int64"))
    frame["cpu_ns"] = frame["cpu_ns"].astype("Int64").mask(frame["cpu_ns"] < 0)
    return frame


def _whole(source: Source) -> _Lives:
    n = len(source.names)
    runs, waits = _all(source, "runs"), _all(source, "waits")
    first, last = _bounds(source, runs, waits)
    life = np.where(last < 0, -1, np.maximum(last - first, _sums(runs, n) + _sums(waits, n)))
    return _Lives(life, runs, waits, runs, waits, _cpu(source), [source] * int(np.count_nonzero(life >= 0)))


def _within(source: Source, region: str) -> _Lives:
    within, unknown = Within(source, region), np.full(len(source.names), -1, np.int64)
    all_runs, all_waits = _all(source, "runs"), _all(source, "waits")
    runs, runs_begin = within.spans(all_runs)
    waits, waits_begin = within.spans(all_waits)
    parts = [within.part(who) for who in within.threads.tolist()]
    life = unknown.copy()
    life[within.threads] = [part.wall for part in parts]
    return _Lives(life, runs, waits, all_runs[runs_begin], all_waits[waits_begin], unknown, parts)


def _all(source: Source, which: Literal["runs", "waits"]) -> Spans:
    """Return the spans of every GIL behind one another."""
    parts = [gil.runs if which == "runs" else gil.waits for gil in source.gils]
    return parts[0] if len(parts) == 1 else behind_one_another(parts)


def _sums(spans: Spans, n: int) -> Int:
    return group_sums(spans.thread, spans.duration, n)


def _bounds(source: Source, runs: Spans, waits: Spans) -> tuple[Int, Int]:
    """Return when each thread was first and last seen, in observed nanoseconds; -1 where it never was."""
    n = len(source.names)
    first, last = np.full(n, source.wall, np.int64), np.full(n, -1, np.int64)
    rows = source.numbers("threads", "thread")
    for column, at in (("first_ns", first), ("last_ns", last)):
        values = source.numbers("threads", column)
        at[rows] = np.where(values < 0, at[rows], source.observed(np.maximum(values, 0)))
    for spans in (runs, waits):
        np.minimum.at(first, spans.thread, spans.start)
        np.maximum.at(last, spans.thread, spans.end)
    return first, last


def _counts(lives: _Lives, n: int) -> dict[str, Int]:
    longest, runs = np.zeros(n, np.int64), lives.runs_begun
    np.maximum.at(longest, lives.runs.known.thread, lives.runs.known.duration)
    return {
        "acquires": np.bincount(runs.thread, minlength=n),
        "waits": np.bincount(lives.waits_begun.thread, minlength=n),
        "forced": np.bincount(runs.thread[runs.release == FORCED], minlength=n),
        "longest_ns": longest,
    }


def _quantiles(waits: Spans, n: int) -> Floats:
    waits = waits.known
    return group_quantiles(waits.thread, waits.duration, n, list(_QUANTILES.values()))


def _cpu(source: Source) -> Int:
    cpu = np.full(len(source.names), -1, np.int64)
    cpu[source.numbers("threads", "thread")] = source.numbers("threads", "cpu_ns")
    return cpu


def _estimated(frame: pd.DataFrame, source: Source, lives: _Lives) -> pd.DataFrame:
    """Give estimates their intervals, and drop what samples cannot tell."""
    runs, waits = (source.coverages(s) for s in (lives.runs, lives.waits))
    rows: list[dict[str, Any]] = []
    for figures, part in zip(frame.to_dict("records"), lives.parts, strict=True):
        who, row, at = figures["thread"], dict(figures), estimates.edges(part)
        covered = {"run": np.diff(runs[who].until(at)), "wait": np.diff(waits[who].until(at))}
        covered["off"] = np.diff(at) - covered["run"] - covered["wait"]
        row.update(life_ns=part.wall, off_ns=int(covered["off"].sum()))
        for word, ns in covered.items():
            row[f"{word}_share"] = row[f"{word}_ns"] / max(part.wall, 1)
            estimates.add_interval(row, word, part, ns)
        row["slowdown_low"], row["slowdown_high"] = _slowdown_interval(row)
        row.update(dict.fromkeys(("acquires", "waits", "forced", "longest_ns"), pd.NA))
        row.update(dict.fromkeys(_QUANTILES, np.nan))
        rows.append(row)
    types = frame.dtypes.to_dict() | dict.fromkeys(_ENDS, np.dtype(np.float64))
    return pd.DataFrame(rows, columns=[*frame.columns, *_ENDS]).astype(types)


def _slowdown_interval(row: dict[str, Any]) -> tuple[float, float]:
    """Return the slowdown if all went well for the thread, and if all went badly."""
    low = 1 + row["wait_share_low"] / row["run_share_high"] if row["run_share_high"] else np.nan
    high = 1 + row["wait_share_high"] / row["run_share_low"] if row["run_share_low"] else np.inf
    return low, high
