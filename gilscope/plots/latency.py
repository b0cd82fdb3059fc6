"""How long each new holder of the GIL waited."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gilscope import analysis
from gilscope.analysis.inputs import AnyTrace, as_tables
from gilscope.analysis.observed import ObservedTrace, observe
from gilscope.plots.canvas import (
    PIXELS,
    WAIT_COLOR,
    axes,
    decades,
    draw_intervals,
    explain,
    finish,
    ink,
    label_decades,
    patch,
    twin_axes,
)
from gilscope.tables.spans import Int, group_sums

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

_BINS_PER_DECADE = 20


def handoff_latency(t: AnyTrace, ax: Axes | None = None) -> Axes:
    """Draw how long new holders of the GIL waited, with the switch intervals in force.

    Bars count hand-offs; the line is their cumulated share. Hand-offs to a thread that did not wait are left
    out. Of more than three switch intervals the three longest in force are marked.

    Args:
        t: a trace, its path, its tables, or its table ``handoffs``.
        ax: where to draw; None for a figure of its own.

    Returns:
        The axes of the bars.

    Raises:
        OptionError: if ``t`` is not a trace, or ``ax`` not axes.
        GilscopeError: if matplotlib is missing.

    Example:
        >>> import gilscope
        >>> from gilscope import plots
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> plots.handoff_latency(t).get_xscale()
        'log'
    """
    tables = as_tables(t)
    trace = observe(tables)
    wait = analysis.handoffs(tables)["wait_ns"].dropna().to_numpy(np.int64)
    wait = np.sort(np.maximum(wait, 1))  # a log axis has no zero
    intervals = _intervals(trace)
    ax = axes(ax, 3.6)
    low, high = decades([*wait[[0, -1]], *intervals] if len(wait) else [1_000, 10_000_000, *intervals])
    bins = np.logspace(low, high, (high - low) * _BINS_PER_DECADE + 1)
    ax.hist(wait, bins=bins.tolist(), color=WAIT_COLOR)
    label_decades(ax, low, high)
    ax.set_xlabel("wait of the new holder, from its request to its acquire (time, log scale)")
    ax.set_ylabel("hand-offs (count)")
    ax.locator_params(axis="y", integer=True)
    marks = [patch("wait", "hand-offs"), *_draw_cumulated(ax, wait), *draw_intervals(ax, intervals)]
    if not len(wait):
        ax.set_yticks([])
        explain(ax, "no hand-off ended a wait" if trace.exact else "sampled edges do not show single waits")
    finish(ax, f"Waits that ended in a hand-off: {len(wait):,}", marks)
    return ax


def _intervals(trace: ObservedTrace) -> list[int]:
    """Return the switch intervals in force, those longest in force first."""
    since, value = (trace.numbers("switch_intervals", name) for name in ("time_ns", "interval_ns"))
    lasted = np.diff(np.append(np.clip(since, 0, trace.duration), trace.duration))
    values, which = np.unique(np.maximum(value, 1), return_inverse=True)
    order = np.argsort(-group_sums(which, lasted, len(values)), kind="stable")
    return [int(v) for v in values[order]]


def _draw_cumulated(ax: Axes, wait: Int) -> list[Artist]:
    """Draw the cumulated share of waits on a twin axis; return entries for the legend."""
    twin = twin_axes(ax, "cumulated (%)")
    twin.set_ylim(0, 105)
    if not len(wait):
        return []
    at = np.unique(np.linspace(0, len(wait) - 1, min(len(wait), PIXELS)).astype(np.int64))
    x, y = np.append(wait[:1], wait[at]), np.append(0.0, 100 * (at + 1) / len(wait))
    return list(twin.plot(x, y, drawstyle="steps-post", color=ink(ax), lw=1.2, label="cumulated"))
