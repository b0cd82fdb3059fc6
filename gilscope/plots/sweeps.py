"""A sweep: a metric and the waits against the switch interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gilscope.analysis.gils import DEFAULT_INTERVAL_NS
from gilscope.errors import OptionError
from gilscope.plots.canvas import (
    RUN_COLOR,
    WAIT_COLOR,
    axes,
    decades,
    draw_intervals,
    drawable,
    finish,
    label_decades,
    twin_axes,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

_LINES = ("-", "--")


def sweep(summary: pd.DataFrame, metric: str = "wall time (s)", ax: Axes | None = None) -> Axes:
    """Draw the metric of a sweep, and the waits of its threads, against the switch interval.

    The line is the median of the metric, the band its 95 % interval; thin lines are the 99 % quantiles of the
    waits of the two threads that waited longest.

    Args:
        summary: `gilscope.sweeping.sweeps.Sweep.summary`, one row per interval.
        metric: name of the metric, with its unit.
        ax: where to draw; None for a figure of its own.

    Returns:
        The axes of the metric; waits are on a twin of it.

    Raises:
        OptionError: if the summary is empty, or ``ax`` is not axes.
        GilscopeError: if matplotlib is missing.

    Example:
        >>> import gilscope
        >>> from gilscope import plots
        >>> result = gilscope.sweep(lambda: sum(range(1000)), [0.001, 0.005], repeats=2, quiet=True)
        >>> plots.sweep(result.summary()).get_xscale()
        'log'
    """
    if not len(summary):
        raise OptionError("a sweep without runs cannot be drawn: expected a row per switch interval")
    rows = summary.sort_values("interval_ns")
    ax = axes(ax, 3.8)
    interval = rows["interval_ns"].to_numpy(np.float64)
    ax.fill_between(interval, rows["metric_low"], rows["metric_high"], color=RUN_COLOR, alpha=0.25, lw=0)
    [line] = ax.plot(interval, rows["metric"], color=RUN_COLOR, marker="o", label=metric)
    label_decades(ax, *decades(interval.tolist()))
    ax.set_ylim(bottom=0)
    ax.set_xlabel("switch interval (time, log scale)")
    ax.set_ylabel(f"{metric}, median and 95 %")
    marks = [line, *_draw_swept_waits(ax, rows), *draw_intervals(ax, [DEFAULT_INTERVAL_NS])]
    finish(ax, "What the switch interval changes", marks)
    return ax


def _draw_swept_waits(ax: Axes, rows: pd.DataFrame) -> list[Artist]:
    waits = [c for c in rows if str(c).startswith("wait_p99_ns_") and rows[c].notna().any()]
    waits = sorted(waits, key=lambda c: -rows[c].max())[: len(_LINES)]
    if not waits:
        return []
    twin = twin_axes(ax, "wait for the GIL, 99 % (ms, log scale)")
    twin.set_yscale("log")
    marks: list[Artist] = []
    for column, style in zip(waits, _LINES, strict=False):
        [name] = drawable([str(column).removeprefix("wait_p99_ns_")])
        waited = rows[column].to_numpy(np.float64) / 1e6
        marks += twin.plot(rows["interval_ns"], waited, style, color=WAIT_COLOR, label=f"{name} waits, 99 %")
    return marks
