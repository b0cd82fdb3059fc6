"""Pure functions from a trace to a DataFrame: who ran, who waited, what the lock cost.

Columns are the words of the README with a unit: ``_ns`` nanoseconds, ``_share`` a fraction of one.
Of a trace with sampled edges the shares are estimates: columns that end in ``_low`` and ``_high`` hold
their 95 % interval. Its half-width is chance, by batch means over `WINDOWS` windows of equal length
(Student's t) and at least three ticks' worth (what was never seen in n looks has a share below 3/n, Hanley
and Lippman-Hand 1983), plus the share of time in which the sampler itself was on a processor: what it
disturbs by looking, it cannot see. Figures that sampling cannot see are null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

if TYPE_CHECKING:
    from gilscope.recording import Recording

WINDOWS = 20
_T_95 = 2.093  # Student's t, 97.5 %, WINDOWS - 1 degrees of freedom
_DISTURBED = 0.03  # of a trace cut short, which does not say how busy the sampler was: more than measured

Int = npt.NDArray[np.int64]


def _frame(t: Recording, name: str) -> pd.DataFrame:
    return t.table(name).to_pandas()


def _is_exact(t: Recording) -> bool:
    return bool(t.metadata.get("edges", "exact") == "exact")


def _wall(t: Recording) -> int:
    return int(t.metadata["duration_ns"])


def _covered(start: Int, duration: Int, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return how many nanoseconds of each window intervals cover, added up over intervals."""
    # The integral of "how many intervals are on" up to x is piecewise linear with knots at the edges.
    at = np.concatenate((start, start + duration)).astype(np.float64)
    order = np.argsort(at, kind="stable")
    at = at[order]
    on = np.cumsum(np.concatenate((np.ones(len(start)), -np.ones(len(start))))[order])
    area = np.concatenate(([0.0], np.cumsum(on[:-1] * np.diff(at)))) if len(at) else at
    return np.diff(np.interp(edges, at, area)) if len(at) else np.zeros(len(edges) - 1)


def _share_interval(start: Int, duration: Int, t: Recording) -> tuple[float, float]:
    """Return the 95 % interval of the share of time that intervals cover."""
    wall = _wall(t)
    edges = np.linspace(0, wall, WINDOWS + 1)
    shares = _covered(start, duration, edges) / max(wall / WINDOWS, 1)
    chance = _T_95 * shares.std(ddof=1) / np.sqrt(WINDOWS)
    disturbed = t.metadata["sampler_cpu_ns"] / max(wall, 1) if "sampler_cpu_ns" in t.metadata else _DISTURBED
    half = max(chance, 3 / max(t.metadata["ticks"], 1)) + disturbed
    return max(float(shares.mean() - half), 0.0), min(float(shares.mean() + half), 1.0)


def threads(t: Recording) -> pd.DataFrame:
    """Return one row per thread: how it spent its time.

    ``off_ns`` is what is left of the trace, so the three shares are of the trace and sum to one.
    ``slowdown`` is (run + wait) / run: how many times longer the thread's work took than with the GIL to
    itself.

    Args:
        t: a trace.

    Returns:
        Columns ``thread``, ``thread_name``, ``run_ns``, ``wait_ns``, ``off_ns``, their ``_share``, ``holds``,
        ``longest_ns`` (longest hold), ``waits``, ``forced``, ``wait_p50_ns``, ``wait_p90_ns``,
        ``wait_p99_ns``, ``wait_max_ns``, ``cpu_ns``, ``slowdown``; int64 and float64. Null: quantiles of
        a thread that never waited; ``forced`` with sampled edges.

    Example:
        >>> import gilscope
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> int(gilscope.analysis.threads(t)["holds"].iloc[0]) >= 1
        True
    """
    wall = _wall(t)
    intervals = _frame(t, "intervals")
    rows = _frame(t, "threads")
    by_thread = dict(list(intervals.groupby("thread")))
    empty = intervals.iloc[:0]
    out = [_thread_row(row, by_thread.get(row.thread, empty), wall, t) for row in rows.itertuples()]
    return pd.DataFrame(out)


def _thread_row(row: Any, mine: pd.DataFrame, wall: int, t: Recording) -> dict[str, Any]:
    runs, waits = mine[mine.state == "run"], mine[mine.state == "wait"]
    quantiles = waits.duration_ns.quantile([0.5, 0.9, 0.99, 1.0]).to_list()
    off = max(wall - row.run_ns - row.wait_ns, 0)
    exact = _is_exact(t)
    figures: dict[str, Any] = {
        "thread": row.thread,
        "thread_name": row.name,
        "run_ns": row.run_ns,
        "wait_ns": row.wait_ns,
        "off_ns": off,
    }
    for word, ns, part in (("run", row.run_ns, runs), ("wait", row.wait_ns, waits), ("off", off, None)):
        figures[f"{word}_share"] = ns / wall if wall else 0.0
        if not exact and part is not None:
            low, high = _share_interval(part.start_ns.to_numpy(), part.duration_ns.to_numpy(), t)
            figures[f"{word}_share_low"], figures[f"{word}_share_high"] = low, high
    figures |= {
        "holds": len(runs),
        "longest_ns": int(runs.duration_ns.max()) if len(runs) else 0,
        "waits": len(waits),
        "forced": int((runs.release == "forced").sum()) if exact else None,
        "wait_p50_ns": quantiles[0],
        "wait_p90_ns": quantiles[1],
        "wait_p99_ns": quantiles[2],
        "wait_max_ns": quantiles[3],
        "cpu_ns": row.cpu_ns,
        "slowdown": (row.run_ns + row.wait_ns) / row.run_ns if row.run_ns else float("nan"),
    }
    return figures


def _free_while_waited(runs: pd.DataFrame, waits: pd.DataFrame) -> tuple[Int, Int]:
    """Return start and length of every span in which nobody holds the GIL and somebody waits."""
    sign = np.repeat([1, -1, 1, -1], [len(runs), len(runs), len(waits), len(waits)])
    holds = np.arange(len(sign)) < 2 * len(runs)
    at = np.concatenate(
        (
            runs.start_ns,
            runs.start_ns + runs.duration_ns,
            waits.start_ns,
            waits.start_ns + waits.duration_ns,
        )
    ).astype(np.int64)
    order = np.argsort(at, kind="stable")
    at, sign, holds = at[order], sign[order], holds[order]
    held = np.cumsum(np.where(holds, sign, 0))
    waiting = np.cumsum(np.where(holds, 0, sign))
    length = np.diff(at, append=at[-1:])
    lost = (held == 0) & (waiting > 0) & (length > 0)
    return at[lost], length[lost]


def _steals(runs: pd.DataFrame, waits: pd.DataFrame) -> int:
    """Count releases after which the releaser itself was first to come back while another waited."""
    runs = runs.sort_values("start_ns", kind="stable")
    thread, end = runs.thread.to_numpy(), (runs.start_ns + runs.duration_ns).to_numpy()
    again = np.flatnonzero(thread[1:] == thread[:-1])
    begun = np.sort(waits.start_ns.to_numpy())  # sorted apart: counts need no pairs
    ended = np.sort((waits.start_ns + waits.duration_ns).to_numpy())
    waiting = np.searchsorted(begun, end[again], "right") - np.searchsorted(ended, end[again], "right")
    return int(np.count_nonzero(waiting > 0))


def overhead(t: Recording) -> pd.DataFrame:
    """Return one row for the trace: how the GIL spent its time, and what was lost in hand-offs.

    ``overhead_ns`` is the time the GIL is free while at least one thread waits for it: pure loss. Held and
    free add up to the wall time. Gaps are those of hand-offs for which somebody waited.

    Args:
        t: a trace.

    Returns:
        Columns ``wall_ns``, ``held_ns``, ``free_ns``, ``overhead_ns`` and their ``_share``, ``handoffs``,
        ``forced``, ``steals``, ``handoffs_per_s``, ``gap_p50_ns``, ``gap_p90_ns``, ``gap_p99_ns``,
        ``gap_max_ns``, ``mean_waiters``. With sampled edges ``handoffs`` is the GIL's own count of switches
        (between thread states), and ``forced``, ``steals`` and the gaps are null.

    Example:
        >>> import gilscope
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> int(gilscope.analysis.overhead(t)["handoffs"].iloc[0])
        0
    """
    wall, exact = _wall(t), _is_exact(t)
    intervals, handoffs = _frame(t, "intervals"), _frame(t, "handoffs")
    runs, waits = intervals[intervals.state == "run"], intervals[intervals.state == "wait"]
    lost_at, lost = _free_while_waited(runs, waits)
    held = int(runs.duration_ns.sum())
    figures: dict[str, Any] = {"wall_ns": wall, "held_ns": held, "free_ns": max(wall - held, 0)}
    figures["overhead_ns"] = int(lost.sum())
    for word in ("held", "free", "overhead"):
        figures[f"{word}_share"] = figures[f"{word}_ns"] / wall if wall else 0.0
    if not exact:
        held_spans = runs.start_ns.to_numpy(), runs.duration_ns.to_numpy()
        for word, (start, duration) in (("held", held_spans), ("overhead", (lost_at, lost))):
            low, high = _share_interval(start, duration, t)
            figures[f"{word}_share_low"], figures[f"{word}_share_high"] = low, high
    count = len(handoffs) if exact else int(t.metadata["switches"])
    gaps = (
        handoffs.gap_ns[handoffs.waiters > 0].dropna().astype(float).quantile([0.5, 0.9, 0.99, 1.0]).to_list()
    )
    figures |= {
        "handoffs": count,
        "forced": int(handoffs.forced.sum()) if exact else None,
        "steals": _steals(runs, waits) if exact else None,
        "handoffs_per_s": count / (wall / 1e9) if wall else 0.0,
        "gap_p50_ns": gaps[0],
        "gap_p90_ns": gaps[1],
        "gap_p99_ns": gaps[2],
        "gap_max_ns": gaps[3],
        "mean_waiters": float(waits.duration_ns.sum()) / wall if wall else 0.0,
    }
    return pd.DataFrame([figures])


def longest_waits(t: Recording, most: int = 5) -> pd.DataFrame:
    """Return the longest waits, and which thread held the GIL for most of each.

    Args:
        t: a trace.
        most: how many rows at most.

    Returns:
        Columns ``thread``, ``thread_name``, ``start_ns``, ``duration_ns``, ``holder``, ``holder_name``,
        ``holder_ns`` (how long that thread held the GIL meanwhile); longest first. Where nobody was seen to
        hold it, ``holder`` is null.

    Example:
        >>> import gilscope
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> gilscope.analysis.longest_waits(t).columns[0]
        'thread'
    """
    intervals = _frame(t, "intervals")
    names = dict(zip(*(t.threads[c].to_pylist() for c in ("thread", "name")), strict=True))
    runs = intervals[intervals.state == "run"]
    begin, end = runs.start_ns.to_numpy(), (runs.start_ns + runs.duration_ns).to_numpy()
    rows = []
    for wait in intervals[intervals.state == "wait"].nlargest(most, "duration_ns").itertuples():
        overlap = np.minimum(end, wait.start_ns + wait.duration_ns) - np.maximum(begin, wait.start_ns)
        held = runs.thread[overlap > 0].to_frame().assign(ns=overlap[overlap > 0]).groupby("thread").ns.sum()
        holder = int(held.idxmax()) if len(held) else None
        rows.append(
            (
                wait.thread,
                names[wait.thread],
                wait.start_ns,
                wait.duration_ns,
                holder,
                None if holder is None else names[holder],
                int(held.max()) if len(held) else 0,
            )
        )
    columns = ["thread", "thread_name", "start_ns", "duration_ns", "holder", "holder_name", "holder_ns"]
    return pd.DataFrame(rows, columns=columns)
