"""The runs of a sweep as a table of text."""

from __future__ import annotations

import pandas as pd

from gilscope.report.layout import Column, Sheet, shorten
from gilscope.units import duration, percent, printable

MOST_THREADS = 2
_LONGEST_NAME = 12  # columns of the terminal
_WAIT = "wait_p99_ns_"


def render(summary: pd.DataFrame, metric: str) -> str:
    """Return the summary of a sweep as a table of text.

    Args:
        summary: one row per interval, as `gilscope.sweeping.sweeps.Sweep.summary` returns.
        metric: what the metric is, with its unit.

    Example:
        >>> summary = {"interval_ns": 5e6, "runs": 3, "metric": 1.2, "metric_low": 1.1, "metric_high": 1.3}
        >>> print(render(pd.DataFrame([summary]), "wall time (s)"), end="")
        interval  runs  wall time (s)        95 %
         5.00 ms     3            1.2  1.1 to 1.3
    """
    waits = [c for c in summary if str(c).startswith(_WAIT) and summary[c].notna().any()]
    waits = sorted(waits, key=lambda c: -summary[c].max())[:MOST_THREADS]
    names = [f"{shorten(printable(str(c).removeprefix(_WAIT)), _LONGEST_NAME)} p99" for c in waits]
    traced = ["hand-offs/s", "overhead"] if "handoffs_per_s" in summary else []
    cells = []
    for row in summary.to_dict("records"):
        more = [f"{row['handoffs_per_s']:.0f}", percent(row["overhead_share"])] if traced else []
        interval = f"{row['metric_low']:.4g} to {row['metric_high']:.4g}"
        figures = [duration(row["interval_ns"]), str(int(row["runs"])), f"{row['metric']:.4g}", interval]
        cells.append([*figures, *more, *(duration(row[c]) for c in waits)])
    sheet = Sheet()
    sheet.table([Column(head) for head in ("interval", "runs", metric, "95 %", *traced, *names)], cells)
    return sheet.text()
