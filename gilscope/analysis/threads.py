"""Who ran, who waited: one row per thread."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from gilscope.analysis import estimates
from gilscope.analysis.gils import FORCED, Spans, behind_one_another
from gilscope.analysis.inputs import AnyTrace
from gilscope.analysis.source import Source, of
from gilscope.analysis.spans import Floats, Int, group_quantiles

_QUANTILES = {"wait_p50_ns": 0.5, "wait_p90_ns": 0.9, "wait_p99_ns": 0.99, "wait_max_ns": 1.0}
_ENDS = [f"{w}_{u}_{end}" for w in ("run", "wait", "off") for end in ("low", "high") for u in ("share", "ns")]
_ENDS += ["slowdown_low", "slowdown_high"]


def threads(t: AnyTrace) -> pd.DataFrame:
    """Return one row per thread: how it spent its life.

    A thread's life lasts from its first transition to its last. ``off_ns`` is what run and wait leave of
    it, so the three shares sum to one. ``slowdown`` is (run + wait) / run: how many times longer the thread's
    work took than with the GIL to itself.

    Args:
        t: a trace, its path, or its tables.

    Returns:
        Columns ``thread`` (int64), ``thread_name``; ``life_ns``, ``run_ns``, ``wait_ns``, ``off_ns`` (int64),
        ``run_share``, ``wait_share``, ``off_share`` of its life; ``acquires``, ``waits``, ``forced``
        (releases), ``longest_ns`` (hold; Int64); ``wait_p50_ns``, ``wait_p90_ns``, ``wait_p99_ns``,
        ``wait_max_ns`` (float64); ``cpu_ns`` (processor time while traced, Int64); ``slowdown`` (float64).
        With sampled edges times and shares have ``_low`` and ``_high`` (95 %, see `gilscope.analysis`), of a
        life as long as the trace, and counts, quantiles and ``longest_ns`` are null. Null too: quantiles of
        a thread that never waited, ``slowdown`` of one that never ran, ``cpu_ns`` where it was not read.
        Intervals that a hole touches count with what is known of them in times, and not at all in quantiles
        and ``longest_ns``.

    Example:
        >>> import gilscope
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> main = gilscope.analysis.threads(t).iloc[0]
        >>> bool(main.run_ns + main.wait_ns + main.off_ns == main.life_ns)
        True
    """
    source = of(t)
    n = len(source.names)
    runs, waits = _all(source, "runs"), _all(source, "waits")
    first, last = _lives(source, runs, waits)
    known = np.flatnonzero(last >= 0)
    run, wait = _sums(runs, n), _sums(waits, n)
    life = np.maximum(last - first, run + wait)
    times = {"life": life, "run": run, "wait": wait, "off": life - run - wait}
    out: dict[str, Any] = {"thread": known, "thread_name": [source.names[i] for i in known]}
    out |= {f"{word}_ns": ns[known] for word, ns in times.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        for word in ("run", "wait", "off"):
            out[f"{word}_share"] = (times[word] / life)[known]
        slowdown = np.where(run > 0, (run + wait) / run, np.nan)
    quantiles = _quantiles(waits, n)
    out |= {name: values[known] for name, values in _counts(runs, waits, n).items()}
    out |= {name: quantiles[known, i] for i, name in enumerate(_QUANTILES)}
    out |= {"cpu_ns": _cpu(source)[known], "slowdown": slowdown[known]}
    frame = pd.DataFrame(out).astype(dict.fromkeys(("acquires", "waits", "forced", "longest_ns"), "Int64"))
    frame["cpu_ns"] = frame["cpu_ns"].astype("Int64").mask(frame["cpu_ns"] < 0)
    return frame if source.exact else _estimated(frame, source)


def _all(source: Source, which: Literal["runs", "waits"]) -> Spans:
    """Return the spans of every GIL behind one another."""
    parts = [gil.runs if which == "runs" else gil.waits for gil in source.gils]
    return parts[0] if len(parts) == 1 else behind_one_another(parts)


def _sums(spans: Spans, n: int) -> Int:
    # Exact: sums of integers stay below 2**53 ns, 104 days.
    return np.bincount(spans.thread, spans.duration.astype(np.float64), minlength=n).astype(np.int64)


def _lives(source: Source, runs: Spans, waits: Spans) -> tuple[Int, Int]:
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


def _counts(runs: Spans, waits: Spans, n: int) -> dict[str, Int]:
    longest = np.zeros(n, np.int64)
    np.maximum.at(longest, runs.known.thread, runs.known.duration)
    return {
        "acquires": np.bincount(runs.thread, minlength=n),
        "waits": np.bincount(waits.thread, minlength=n),
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


def _estimated(frame: pd.DataFrame, source: Source) -> pd.DataFrame:
    """Give estimates their intervals, and drop what samples cannot tell."""
    at = estimates.edges(source)
    runs, waits = (source.coverages(s) for s in (_all(source, "runs"), _all(source, "waits")))
    rows: list[dict[str, Any]] = []
    for figures in frame.to_dict("records"):
        who, row = figures["thread"], dict(figures)
        covered = {"run": np.diff(runs[who].until(at)), "wait": np.diff(waits[who].until(at))}
        covered["off"] = np.diff(at) - covered["run"] - covered["wait"]
        row.update(life_ns=source.wall, off_ns=int(covered["off"].sum()))
        for word, ns in covered.items():
            row[f"{word}_share"] = row[f"{word}_ns"] / max(source.wall, 1)
            estimates.add_interval(row, word, source, ns)
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
