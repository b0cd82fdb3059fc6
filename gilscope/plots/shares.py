"""How threads and the GIL spent their time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from gilscope import analysis
from gilscope.analysis.inputs import AnyTrace, as_tables
from gilscope.analysis.observed import observe
from gilscope.errors import OptionError
from gilscope.plots.canvas import (
    COLORS,
    MOST_LANES,
    SHORTEST_NS,
    WAIT_COLOR,
    Floats,
    axes,
    draw_stack,
    explain,
    finish,
    is_number,
    label_lanes,
    label_time,
    patch,
    steps,
    twin_axes,
)
from gilscope.units import duration

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

MOST_WINDOWS = 20_000
"""No picture can show more points than this."""


def threads(t: AnyTrace, ax: Axes | None = None) -> Axes:
    """Draw how each thread spent its life: running, waiting for the GIL, or off; the busiest on top.

    Of more than `MOST_LANES` threads only those that ran and waited longest are shown.

    Args:
        t: a trace, its path, or its tables.
        ax: where to draw; None for a figure of its own.

    Returns:
        The axes.

    Raises:
        OptionError: if ``t`` is not a trace, or ``ax`` not axes.
        GilscopeError: if matplotlib is missing.

    Example:
        >>> import gilscope
        >>> from gilscope import plots
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> len(plots.threads(t).containers)
        3
    """
    rows = analysis.threads(as_tables(t))
    shown = rows.assign(busy=rows.run_ns + rows.wait_ns).sort_values("busy", ascending=False, kind="stable")
    shown = shown[:MOST_LANES]
    ax = axes(ax, 1.3 + 0.3 * max(len(shown), 2))
    left = np.zeros(len(shown))
    for word in ("run", "wait", "off"):
        share = 100 * shown[f"{word}_share"].fillna(0.0).to_numpy(np.float64)
        ax.barh(np.arange(len(shown)), share, left=left, height=0.7, color=COLORS[word], label=word)
        left += share
    label_lanes(ax, shown["thread_name"].tolist(), len(rows))
    ax.set_xlim(0, 100)
    ax.set_xlabel("share of the thread's life (%)")
    if not len(shown):
        explain(ax, "no threads")
    finish(ax, "How threads spent their time", [patch(word) for word in ("run", "wait", "off")])
    return ax


def usage(t: AnyTrace, window: float | None = None, ax: Axes | None = None) -> Axes:
    """Draw over time the shares that the GIL was held and lost to hand-offs, and how many threads waited.

    Args:
        t: a trace, its path, or its tables.
        window: seconds of each mean; None for a hundredth of the trace.
        ax: where to draw; None for a figure of its own.

    Returns:
        The axes of the shares; the number of waiting threads is on a twin of it.

    Raises:
        OptionError: if the window is not above zero, or makes more than `MOST_WINDOWS` windows.
        GilscopeError: if matplotlib is missing.

    Example:
        >>> import gilscope
        >>> from gilscope import plots
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> plots.usage(t).get_ylabel()
        'share of time (%)'
    """
    tables = as_tables(t)
    whole = max(observe(tables).duration, SHORTEST_NS)
    # Rounded up, so that the last window does not last only a few nanoseconds.
    window = math.ceil(whole / 100) / 1e9 if window is None else window
    if not is_number(window) or (window > 0 and whole / 1e9 / window > MOST_WINDOWS):
        raise OptionError(f"window must be seconds that make at most {MOST_WINDOWS} windows, got {window!r}")
    frame = analysis.overhead(tables, by=window)
    edges = np.append(frame["start_ns"].to_numpy(), whole) / 1e9
    held, lost, waiters = (
        steps(frame[name].to_numpy(np.float64)) for name in ("held_share", "overhead_share", "mean_waiters")
    )
    ax = axes(ax, 3.6)
    draw_stack(ax, edges, {"run": 100 * held, "overhead": 100 * lost})
    label_time(ax, 0, whole)
    marks = [patch("run", "held (run)"), patch("overhead"), _draw_waiters(ax, edges, waiters)]
    if not np.isfinite(held).any():
        explain(ax, "an empty trace")
    finish(ax, f"The GIL over time, means over {duration(1e9 * window)}", marks)
    return ax


def _draw_waiters(ax: Axes, edges: Floats, waiters: Floats) -> Artist:
    from matplotlib.patheffects import withStroke

    twin = twin_axes(ax, "threads waiting (mean)")
    (line,) = twin.plot(edges, waiters, drawstyle="steps-post", color=WAIT_COLOR, lw=1.8, label="waiting")
    line.set_path_effects([withStroke(linewidth=3.2, foreground="white")])
    most = waiters[np.isfinite(waiters)].max(initial=0.0)
    twin.set_ylim(0, 1.1 * max(float(most), 1.0))
    return line
