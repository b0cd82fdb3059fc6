"""The trace over time: how the GIL was used in each window, and how fairly it was shared."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gilscope.analysis import estimates
from gilscope.analysis.gils import MOST_CELLS
from gilscope.analysis.inputs import AnyTrace
from gilscope.analysis.jain import fairness_index
from gilscope.analysis.observed import ObservedTrace, observe
from gilscope.analysis.overhead import by_window, window_edges, window_of_ticks
from gilscope.errors import OptionError
from gilscope.tables.spans import Int


def timeline(t: AnyTrace, window: float = 0.1) -> pd.DataFrame:
    """Return one row per window of time: how the GIL was used, and by which threads.

    Args:
        t: a trace, its path, or its tables.
        window: length in seconds; the last window may be shorter.

    Returns:
        Columns ``start_ns``, ``wall_ns`` (observed time; int64), ``held_share``, ``overhead_share``,
        ``waiters`` (mean number waiting), ``handoffs_per_s`` (float64), and for each thread N that ran or
        waited ``run_share_N`` and ``wait_share_N`` (float64, of the window). Null in a window that lies
        in a hole. With sampled edges shares and ``waiters`` have
        ``_low`` and ``_high`` (95 %, Wilson's interval and Poisson's for the ticks in the window).

    Raises:
        OptionError: if the window is not above zero, or makes more than a million windows.

    Example:
        >>> import gilscope
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> len(gilscope.analysis.timeline(t, window=10.0))
        1
    """
    trace = observe(t)
    edges = window_edges(trace, window)
    frame = by_window(trace, edges)
    kept = ["wall_ns", "held_share", "overhead_share", "mean_waiters", "handoffs_per_s"]
    kept += [c for c in frame if str(c).startswith(("held_share_", "overhead_share_", "mean_waiters_"))]
    wall = np.diff(trace.observed(edges))
    frame = frame[kept].rename(columns=lambda c: str(c).replace("mean_waiters", "waiters"))
    frame = frame.assign(wall_ns=wall)
    run, wait = _per_thread(trace, edges)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = {
            f"{word}_share_{i}": ns[i] / wall
            for i in range(len(run))
            for word, ns in (("run", run), ("wait", wait))
            if run[i].any() or wait[i].any()
        }
    if not trace.exact:
        ticks = np.bincount(window_of_ticks(trace, edges), minlength=len(wall))
        for name in list(shares):
            shares[f"{name}_low"], shares[f"{name}_high"] = estimates.wilson(trace, shares[name], ticks)
    return pd.concat([pd.DataFrame({"start_ns": edges[:-1]}), frame, pd.DataFrame(shares)], axis=1)


def _per_thread(trace: ObservedTrace, edges: Int) -> tuple[Int, Int]:
    """Return nanoseconds of run and of wait, by thread and window."""
    at = trace.observed(edges)
    n = len(trace.names)
    if n * len(edges) > MOST_CELLS:
        raise OptionError(
            f"{len(edges) - 1} windows of {n} threads each are too many: expected at most "
            f"{MOST_CELLS // max(n, 1)} windows; overhead(t, by=seconds) has no columns for threads"
        )
    both = []
    for which in ("runs", "waits"):
        covered = np.zeros((n, len(at) - 1), np.int64)
        for gil in trace.gils:
            spans = getattr(gil, which)
            coverages = trace.coverages(spans)
            for i in np.unique(spans.thread).tolist():
                covered[i] += np.diff(coverages[i].until(at))
        both.append(covered)
    return both[0], both[1]


def fairness(t: AnyTrace, window: float | None = None) -> pd.DataFrame:
    """Return how evenly threads got the GIL time that they wanted, over the trace or per window.

    Jain's index (Jain, Chiu and Hawe 1984) J = (sum x)**2 / (n sum x**2) over the n threads that wanted the
    GIL, where x = run / (run + wait) is the share of the wanted time that a thread got. 1: all the same;
    1/n: one thread got everything.

    Args:
        t: a trace, its path, or its tables.
        window: seconds; None for the whole trace.

    Returns:
        Columns ``start_ns``, ``threads`` (n; int64) and ``fairness`` (float64; null if no thread wanted
        the GIL, or none got it). With sampled edges ``fairness_low`` and ``fairness_high`` (95 %, block
        bootstrap over 20 windows of the trace; null with a ``window``, which has too few ticks for it).

    Raises:
        OptionError: if the window is not above zero, or makes more than a million windows.

    Example:
        >>> import gilscope
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> float(gilscope.analysis.fairness(t)["fairness"].iloc[0])
        1.0
    """
    trace = observe(t)
    whole = np.array([0, trace.duration], np.int64)
    edges = whole if window is None else window_edges(trace, window)
    run, wait = _per_thread(trace, edges)
    n = (run + wait > 0).sum(axis=0)
    frame = pd.DataFrame({"start_ns": edges[:-1], "threads": n, "fairness": fairness_index(run, wait)})
    if not trace.exact:
        parts = _per_thread(trace, estimates.edges(trace))
        low, high = estimates.fairness(trace, *parts) if window is None else (np.nan, np.nan)
        frame["fairness_low"] = np.minimum(low, frame["fairness"])
        frame["fairness_high"] = np.maximum(high, frame["fairness"])
    return frame
