"""The report for programs: figures as JSON."""

from __future__ import annotations

import json
from typing import Any

from gilscope.analysis.inputs import AnyTrace
from gilscope.report.facts import facts_of, rows

MOST_ROWS = 20
"""Of holds, convoys and lines; `gilscope.analysis` has them all."""


def render(t: AnyTrace) -> str:
    """Return the figures of the report as a JSON object.

    Keys: ``metadata``, and what functions of `gilscope.analysis` return: ``overhead``, ``gils`` (the same, a
    row per interpreter), ``threads``, ``findings``, ``blame`` (a row per waiting thread), ``convoys``,
    ``holds`` and ``sites`` (lines of the program; the first 20 rows each), ``timeline`` and ``fairness`` (100
    windows), ``handoffs`` (quantiles of its columns), ``switch_interval``; then ``switch_intervals`` (the
    table) and ``children``, a row per child process. Times are nanoseconds; unknown values are null.

    Args:
        t: a trace, its path, or its tables.

    Raises:
        OptionError: if ``t`` is not one of these, or the matrix of `gilscope.analysis.blame` is too large.

    Example:
        >>> import gilscope
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> json.loads(render(t))["overhead"]["wall_ns"] == t.metadata["duration_ns"]
        True
    """
    facts = facts_of(t)
    figures = {
        "metadata": facts.metadata,
        "overhead": facts.overhead,
        "gils": rows(facts.gils),
        "threads": rows(facts.threads),
        "findings": rows(facts.findings),
        "blame": rows(facts.blame_matrix.rename(columns=str).reset_index()),
        "convoys": rows(facts.convoys[:MOST_ROWS]),
        "holds": rows(facts.holds[:MOST_ROWS]),
        "handoffs": facts.handoff_quantiles,
        "timeline": rows(facts.timeline),
        "fairness": rows(facts.fairness),
        "switch_interval": rows(facts.switch_interval_estimates),
        "switch_intervals": facts.tables.switch_intervals.to_pylist(),
        "children": facts.children,
        "sites": rows(facts.lines[:MOST_ROWS]),
    }
    return json.dumps(figures, indent=2, default=_plain, allow_nan=False)


def _plain(value: Any) -> Any:
    """Turn a number of NumPy into one of Python."""
    return value.item()
