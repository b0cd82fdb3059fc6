"""How each thread spent its life: one row per thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from gilscope.analysis import estimates
from gilscope.analysis.gils import Spans, concatenated
from gilscope.analysis.inputs import AnyTrace
from gilscope.analysis.observed import ObservedTrace, observe
from gilscope.analysis.regionclock import RegionClock
from gilscope.tables.rows import FORCED
from gilscope.tables.spans import Floats, Int, group_quantiles, group_sums

_QUANTILES = {"wait_p50_ns": 0.5, "wait_p90_ns": 0.9, "wait_p99_ns": 0.99, "wait_max_ns": 1.0}
_ENDS = [f"{w}_{u}_{end}" for w in ("run", "wait", "off") for end in ("low", "high") for u in ("share", "ns")]
_ENDS += ["slowdown_low", "slowdown_high"]


@dataclass(frozen=True)
class _Lives:
    """The lives of threads: of all threads, or only the part within regions.

    ``life`` is in nanoseconds, by thread number; -1 for threads without a row. ``runs`` and ``waits`` have
    only the part within; ``runs_begun`` and ``waits_begun`` are those that begin within, at full length.
    ``samplings`` are what estimates need, for each thread with a row.
    """

    life: Int
    runs: Spans
    waits: Spans
    runs_begun: Spans
    waits_begun: Spans
    cpu: Int
    samplings: Sequence[ObservedTrace | estimates.Sampling]


def threads(t: AnyTrace, region: str | None = None) -> pd.DataFrame:
    """Return one row per thread: how it spent its life.

    A thread's life lasts from its first transition to its last. ``off_ns`` is its life without run and wait,
    so the three shares sum to one. ``slowdown`` is (run + wait) / run: how many times longer the thread's
    work took than with the GIL to itself.

    With a ``region`` a thread's life is the time it spent in its own regions of that name (overlapping ones
    count once), and only threads with such a region have a row. Run, wait and off are of that life. Counts
    and quantiles are of the holds and waits that begin in it; a wait counts at full length even if the region
    ends before it. ``longest_ns`` is the longest part of a single hold within a region, wherever the hold
    began: a thread usually holds the GIL when it enters. An incomplete region counts as far as it is known.

    Args:
        t: a trace, its path, or its tables.
        region: name of regions; None for the whole trace.

    Returns:
        Columns ``thread`` (int64), ``thread_name``; ``life_ns``, ``run_ns``, ``wait_ns``, ``off_ns`` (int64),
        ``run_share``, ``wait_share``, ``off_share`` of its life; ``acquires``, ``waits``, ``forced``
        (releases), ``longest_ns`` (hold; Int64); ``wait_p50_ns``, ``wait_p90_ns``, ``wait_p99_ns``,
        ``wait_max_ns`` (float64); ``cpu_ns`` (processor time while traced, Int64); ``slowdown`` (float64).
        With sampled edges times and shares have ``_low`` and ``_high`` (95 %, see `gilscope.analysis`), of a
        life as long as the trace, or the regions, and counts, quantiles and ``longest_ns`` are null. Also
        null: quantiles of a thread that never waited, ``slowdown`` of one that never ran, ``cpu_ns`` if not
        read, as within regions. Of intervals that a hole touches, times have the known part; quantiles and
        ``longest_ns`` leave them out.

    Raises:
        OptionError: if no region has that name.

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
    trace = observe(t)
    lives = _whole(trace) if region is None else _within(trace, region)
    frame = _figures(trace, lives)
    return frame if trace.exact else _estimated(frame, trace, lives)


def _figures(trace: ObservedTrace, lives: _Lives) -> pd.DataFrame:
    n = len(trace.names)
    known = np.flatnonzero(lives.life >= 0)
    life, run, wait = lives.life, _sums(lives.runs, n), _sums(lives.waits, n)
    times = {"life": life, "run": run, "wait": wait, "off": life - run - wait}
    out: dict[str, Any] = {"thread": known, "thread_name": [trace.names[i] for i in known]}
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


def _whole(trace: ObservedTrace) -> _Lives:
    n = len(trace.names)
    runs, waits = _all(trace, "runs"), _all(trace, "waits")
    first, last = _bounds(trace, runs, waits)
    life = np.where(last < 0, -1, np.maximum(last - first, _sums(runs, n) + _sums(waits, n)))
    return _Lives(life, runs, waits, runs, waits, _cpu(trace), [trace] * int(np.count_nonzero(life >= 0)))


def _within(trace: ObservedTrace, region: str) -> _Lives:
    clock, unknown = RegionClock(trace, region), np.full(len(trace.names), -1, np.int64)
    all_runs, all_waits = _all(trace, "runs"), _all(trace, "waits")
    runs, runs_begin = clock.spans(all_runs)
    waits, waits_begin = clock.spans(all_waits)
    samplings = [clock.sampling(thread) for thread in clock.threads.tolist()]
    life = unknown.copy()
    life[clock.threads] = [sampling.wall for sampling in samplings]
    return _Lives(life, runs, waits, all_runs[runs_begin], all_waits[waits_begin], unknown, samplings)


def _all(trace: ObservedTrace, which: Literal["runs", "waits"]) -> Spans:
    """Return the spans of all GILs in one."""
    parts = [gil.runs if which == "runs" else gil.waits for gil in trace.gils]
    return parts[0] if len(parts) == 1 else concatenated(parts)


def _sums(spans: Spans, n: int) -> Int:
    return group_sums(spans.thread, spans.duration, n)


def _bounds(trace: ObservedTrace, runs: Spans, waits: Spans) -> tuple[Int, Int]:
    """Return when each thread was first and last seen, in observed nanoseconds; last is -1 if never."""
    n = len(trace.names)
    first, last = np.full(n, trace.wall, np.int64), np.full(n, -1, np.int64)
    rows = trace.numbers("threads", "thread")
    for column, at in (("first_ns", first), ("last_ns", last)):
        values = trace.numbers("threads", column)
        at[rows] = np.where(values < 0, at[rows], trace.observed(np.maximum(values, 0)))
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


def _cpu(trace: ObservedTrace) -> Int:
    cpu = np.full(len(trace.names), -1, np.int64)
    cpu[trace.numbers("threads", "thread")] = trace.numbers("threads", "cpu_ns")
    return cpu


def _estimated(frame: pd.DataFrame, trace: ObservedTrace, lives: _Lives) -> pd.DataFrame:
    """Add intervals to estimates, and drop figures that sampling cannot measure."""
    runs, waits = (trace.coverages(s) for s in (lives.runs, lives.waits))
    rows: list[dict[str, Any]] = []
    for figures, sampling in zip(frame.to_dict("records"), lives.samplings, strict=True):
        number, row, at = figures["thread"], dict(figures), estimates.edges(sampling)
        covered = {"run": np.diff(runs[number].until(at)), "wait": np.diff(waits[number].until(at))}
        covered["off"] = np.diff(at) - covered["run"] - covered["wait"]
        row.update(life_ns=sampling.wall, off_ns=int(covered["off"].sum()))
        for word, ns in covered.items():
            row[f"{word}_share"] = row[f"{word}_ns"] / max(sampling.wall, 1)
            estimates.add_interval(row, word, sampling, ns)
        row["slowdown_low"], row["slowdown_high"] = _slowdown_interval(row)
        row.update(dict.fromkeys(("acquires", "waits", "forced", "longest_ns"), pd.NA))
        row.update(dict.fromkeys(_QUANTILES, np.nan))
        rows.append(row)
    types = frame.dtypes.to_dict() | dict.fromkeys(_ENDS, np.dtype(np.float64))
    return pd.DataFrame(rows, columns=[*frame.columns, *_ENDS]).astype(types)


def _slowdown_interval(row: dict[str, Any]) -> tuple[float, float]:
    """Return the least and the greatest slowdown that the intervals of run and wait allow."""
    low = 1 + row["wait_share_low"] / row["run_share_high"] if row["run_share_high"] else np.nan
    high = 1 + row["wait_share_high"] / row["run_share_low"] if row["run_share_low"] else np.inf
    return low, high
