"""Two traces, or two lists of repeats, side by side as text."""

from __future__ import annotations

import math
from typing import Any

from gilscope import analysis
from gilscope.report.layout import Column, Sheet
from gilscope.units import duration, percent, printable


def render(before: Any, after: Any) -> str:
    """Return two traces, or two lists of repeats, side by side as text.

    Args:
        before: a trace, or repeats of one program.
        after: the same for what they are compared with.

    Example:
        >>> import gilscope
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> render(t, t).split()[:3]
        ['figure', 'thread', 'before']
    """
    rows = analysis.compare(before, after)
    rows = rows[rows.before.notna() & rows.after.notna()]
    repeats = bool(rows.ratio_low.notna().any())
    layout = [Column("figure", is_name=True), Column("thread", is_name=True, most=20)]
    layout += map(Column, ("before", "after", "difference", "ratio", *(["95 %"] if repeats else [])))
    sheet = Sheet()
    sheet.table(layout, [_cells(row, repeats=repeats) for row in rows.to_dict("records")])
    return sheet.text()


def _cells(row: dict[str, Any], *, repeats: bool) -> list[str]:
    word, _, unit = row["figure"].rpartition("_")
    show = {"ns": duration, "share": percent}.get(unit, "{:.4g}".format)
    name = word.replace("_", " ") if unit in ("ns", "share") else row["figure"].replace("_per_s", "/s")
    if unit == "share":
        name += " share"
    values = [show(row[column]) for column in ("before", "after", "difference")]
    ratio = "-" if math.isnan(row["ratio"]) else f"{row['ratio']:.3f}"
    known = repeats and not math.isnan(row["ratio_low"])
    interval = [f"{row['ratio_low']:.3f} to {row['ratio_high']:.3f}" if known else "-"] if repeats else []
    thread = row["thread_name"] if isinstance(row["thread_name"], str) else ""
    return [name.replace("_", " "), printable(thread), *values, ratio, *interval]
