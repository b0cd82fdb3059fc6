"""Two traces, or two sets of repeats, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from gilscope.analysis.inputs import AnyTrace, as_tables
from gilscope.analysis.overhead import overhead
from gilscope.analysis.threads import threads
from gilscope.errors import OptionError
from gilscope.tables.spans import Floats

RESAMPLES = 2000
_SEED = 20  # any: the same traces give the same table
_OF_GIL = (
    "wall_ns",
    "held_share",
    "overhead_ns",
    "overhead_share",
    "mean_waiters",
    "handoffs",
    "handoffs_per_s",
    "forced",
    "steals",
    "gap_p50_ns",
    "gap_p99_ns",
)
_OF_THREAD = ("run_ns", "wait_ns", "wait_share", "wait_p50_ns", "wait_p99_ns", "longest_ns", "slowdown")


def compare(a: AnyTrace | Sequence[AnyTrace], b: AnyTrace | Sequence[AnyTrace]) -> pd.DataFrame:
    """Return what changed between two traces, or between repeats of one program and repeats of another.

    Threads are matched by name; those whose name is not unique in every trace are left out.

    Args:
        a: before: a trace, its path or tables, or a list of repeats.
        b: after, likewise.

    Returns:
        One row per figure: ``figure``, ``thread_name`` (null for figures of the GIL), ``before`` and
        ``after`` (means of repeats), ``difference``, ``ratio`` (after / before) and ``ratio_low``,
        ``ratio_high``: the 95 % interval of the ratio of means by percentile bootstrap over repeats (Efron
        1979); null unless both sides have at least two (float64). A figure that one side lacks is null.

    Raises:
        OptionError: if a list is empty.

    Example:
        >>> import gilscope
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> gilscope.analysis.compare(t, t).set_index("figure").loc["wall_ns", "ratio"].item()
        1.0
    """
    before, after = _repeats(a), _repeats(b)
    keys = [key for key in before[0] if all(key in figures for figures in before + after)]
    random = np.random.default_rng(_SEED)
    rows = []
    for figure, name in keys:
        x, y = (np.array([f[figure, name] for f in side], np.float64) for side in (before, after))
        rows.append((figure, name, *_change(x, y), *_ratio_interval(x, y, random)))
    columns = ["figure", "thread_name", "before", "after", "difference", "ratio", "ratio_low", "ratio_high"]
    return pd.DataFrame(rows, columns=columns)


def _repeats(side: AnyTrace | Sequence[AnyTrace]) -> list[dict[tuple[str, str | None], float]]:
    traces = list(side) if isinstance(side, list | tuple) else [side]
    if not traces:
        raise OptionError("nothing to compare: expected a trace, or a list of at least one")
    return [_figures(t) for t in traces]


def _figures(t: Any) -> dict[tuple[str, str | None], float]:
    t = as_tables(t)
    o, rows = overhead(t).iloc[0], threads(t)
    out: dict[tuple[str, str | None], float] = {(name, None): _number(o[name]) for name in _OF_GIL}
    times = Counter(rows["thread_name"])
    for row in rows.to_dict("records"):
        if times[row["thread_name"]] == 1:
            out |= {(name, row["thread_name"]): _number(row[name]) for name in _OF_THREAD}
    return out


def _number(value: Any) -> float:
    return float("nan") if pd.isna(value) else float(value)


def _change(x: Floats, y: Floats) -> tuple[float, float, float, float]:
    before, after = float(x.mean()), float(y.mean())
    return before, after, after - before, after / before if before else float("nan")


def _ratio_interval(x: Floats, y: Floats, random: np.random.Generator) -> tuple[float, float]:
    if min(len(x), len(y)) < 2 or np.isnan(x).any() or np.isnan(y).any():
        return float("nan"), float("nan")
    means = [
        values[random.integers(0, len(values), (RESAMPLES, len(values)))].mean(axis=1) for values in (x, y)
    ]
    kept = means[0] != 0
    if not kept.any():
        return float("nan"), float("nan")
    low, high = np.quantile(means[1][kept] / means[0][kept], [0.025, 0.975])
    return float(low), float(high)
