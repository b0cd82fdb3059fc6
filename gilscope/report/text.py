"""The report: what a trace says, for people and for programs."""

from __future__ import annotations

import json
import math
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import pandas as pd

from gilscope import analysis
from gilscope.report.layout import Column, Sheet, Style, shorten
from gilscope.tables.processes import folder_name, processes, script
from gilscope.units import duration, percent, printable

if TYPE_CHECKING:
    from gilscope.tables.stored import Tables

MOST_THREADS = 16
MOST_FINDINGS = 8
MOST_SWEPT_THREADS = 2
_SWEPT_NAME = 12  # columns
MOST_GILS = 8
MOST_CHILDREN = 16
MOST_ROWS = 20
MOST_LINES = 5
_WORTH_A_LINE = 0.01  # of the trace, inflicted on others
"""Of holds and convoys in JSON; `gilscope.analysis` has them all."""
WINDOWS = 100
_STYLES: dict[str, Style] = {"high": "bold red", "medium": "yellow", "low": "plain", "info": "green"}


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them: null for what is not known."""
    plain = frame.astype(object)
    rows: list[dict[str, Any]] = plain.where(frame.notna(), None).to_dict("records")
    return [{k: None if v in (math.inf, -math.inf) else v for k, v in row.items()} for row in rows]


def as_json(t: Tables) -> str:
    """Return the figures of the report as a JSON object.

    Keys: ``metadata``, and what functions of `gilscope.analysis` return: ``overhead``, ``gils`` (the same, a
    row per interpreter), ``threads``, ``findings``, ``blame`` (a row per waiting thread), ``convoys``,
    ``holds`` and ``sites`` (lines of the program; the first 20 rows each), ``timeline`` and ``fairness`` (100
    windows), ``handoffs`` (quantiles of its columns), ``switch_interval``; then ``switch_intervals`` (the
    table) and ``children``, a row per child process. Times are nanoseconds; unknown values are null.
    """
    window = max(t.metadata["duration_ns"] / WINDOWS, 1) / 1e9
    blame = analysis.blame(t)
    figures = {
        "metadata": t.metadata,
        "overhead": _records(analysis.overhead(t))[0],
        "gils": _records(analysis.overhead(t, "interpreter")),
        "threads": _records(analysis.threads(t)),
        "findings": _records(analysis.findings(t)),
        "blame": _records(blame.rename(columns=str).reset_index()),
        "convoys": _records(analysis.convoys(t)[:MOST_ROWS]),
        "holds": _records(analysis.holds(t)[:MOST_ROWS]),
        "handoffs": _handoff_quantiles(t),
        "timeline": _records(analysis.timeline(t, window)),
        "fairness": _records(analysis.fairness(t, window)),
        "switch_interval": _records(analysis.switch_interval(t)),
        "switch_intervals": t.switch_intervals.to_pylist(),
        "children": processes(t),
        "sites": _records(_sites(t)[:MOST_ROWS]),
    }
    return json.dumps(figures, indent=2, default=_plain, allow_nan=False)


def _handoff_quantiles(t: Tables) -> dict[str, Any]:
    frame = analysis.handoffs(t)[["patience_ns", "response_ns", "gap_ns", "wait_ns"]]
    rows = frame.astype("Float64").quantile([0.5, 0.9, 0.99, 1.0]).set_axis(["p50", "p90", "p99", "max"])
    return dict(zip(rows.index, _records(rows), strict=True))


def _plain(value: Any) -> Any:
    """Turn NumPy's numbers into Python's."""
    return value.item()


def text(t: Tables, *, color: bool = False) -> str:
    """Return the report as text, at most 100 columns wide.

    Args:
        t: a trace.
        color: mark what matters with terminal colours.
    """
    sheet = Sheet(color=color)
    [overhead] = _records(analysis.overhead(t))
    sheet.paragraph(_headline(t), "bold")
    _add_gil(sheet, t, overhead)
    _add_threads(sheet, t)
    _add_lines(sheet, t)
    _add_findings(sheet, t)
    _add_children(sheet, t)
    for sentence in _notes(t, overhead):
        sheet.paragraph(f"{printable(sentence)}.", "yellow", label="Note: ")
    return sheet.text()


def _is_exact(t: Tables) -> bool:
    return bool(t.metadata["edges"] == "exact")


def _headline(t: Tables) -> str:
    m = t.metadata
    values = [duration(v) for v in t.switch_intervals["interval_ns"].to_pylist()]
    shown = values if len(values) <= 4 else [*values[:3], f"... ({len(values)} values)"]
    n = t.threads.num_rows
    return printable(
        f"gilscope {m['gilscope_version']} · CPython {m['python_version']} · {duration(m['duration_ns'])} · "
        f"{m['edges']} edges · switch interval {', then '.join(shown)} · {n} thread{'s' if n != 1 else ''}"
    )


def _estimate(row: Any, name: str, *, exact: bool) -> str:
    """Say a share, with half the width of its 95 % interval where it is an estimate."""
    shown = percent(row[name])
    if exact or row[name] is None:
        return shown
    return f"{shown[:-2]} ±{50 * (row[f'{name}_high'] - row[f'{name}_low']):.1f} %"


def _add_gil(sheet: Sheet, t: Tables, o: dict[str, Any]) -> None:
    exact = _is_exact(t)
    held, free, overhead = (_estimate(o, f"{w}_share", exact=exact) for w in ("held", "free", "overhead"))
    lost = f"of it {overhead} ({duration(o['overhead_ns'])}) while somebody waited: hand-off overhead"
    handoffs = f"{int(o['handoffs'])} hand-offs ({o['handoffs_per_s'] or 0:.0f}/s)"
    waiters = f"{o['mean_waiters'] or 0:.2f} threads waiting on average"
    lines = [f"held {held}   free {free}   {lost}"] if exact else [f"held {held}   free {free}", lost]
    if exact:
        gaps = f"gap p50 {duration(o['gap_p50_ns'])}, p99 {duration(o['gap_p99_ns'])}"
        lines.append(f"{handoffs}, {int(o['forced'])} forced, {int(o['steals'])} steals · {gaps}")
        lines.append(f"{waiters}{_patience(t)}")
    else:
        lines.append(f"{handoffs}, counted by the GIL itself · {waiters}")
    each = _each_gil(t)
    labels = ["The GILs  " if each else "The GIL   "]
    for label, line in zip_longest(labels, [*lines, *each], fillvalue=" " * 10):
        sheet.paragraph(line, label=label)


def _each_gil(t: Tables) -> list[str]:
    """Say how each GIL spent its time, where there are several: all of the above adds them up."""
    gils = analysis.overhead(t, "interpreter").sort_values("held_ns", ascending=False, kind="stable")
    if len(gils) < 2:
        return []
    lines = [f"all of that is {len(gils)} GILs added up; each:"]
    for row in _records(gils[:MOST_GILS]):
        name = f"interpreter {row['interpreter']}" if row["interpreter"] else "main interpreter"
        shares = f"held {percent(row['held_share'])}, overhead {percent(row['overhead_share'])}"
        lines.append(
            f"{name}: {shares}, {row['handoffs']} hand-offs, {row['mean_waiters'] or 0:.2f} threads waiting"
        )
    return [*lines, f"and {len(gils) - MOST_GILS} more"] if len(gils) > MOST_GILS else lines


def _patience(t: Tables) -> str:
    """Say how much of all waiting the switch interval answers for."""
    [row] = _records(analysis.switch_interval(t, []))
    if not row["wait_ns"]:
        return ""
    parts = [f"{percent(row[f'{w}_ns'] / row['wait_ns'])} {w}" for w in ("patience", "response", "gap")]
    return f", {duration(row['wait_ns'])} in all: {', '.join(parts)}"


def _add_threads(sheet: Sheet, t: Tables) -> None:
    exact = _is_exact(t)
    events = ("holds", "longest", "wait p50", "p99") if exact else ()
    figures = ("run", "wait", "off", *events, "slowdown")
    rows = analysis.threads(t)
    # What matters is who uses the GIL or wants it; a server may have had thousands of threads.
    rows = rows.assign(busy=rows.run_ns + rows.wait_ns).sort_values("busy", ascending=False, kind="stable")
    cells = [_thread_cells(row, exact=exact) for row in _records(rows[:MOST_THREADS])]
    rest = rows[MOST_THREADS:]
    if len(rest):
        life = max(rest.life_ns.sum(), 1)
        shares = (percent(rest[f"{word}_ns"].sum() / life) for word in ("run", "wait", "off"))
        more = (str(rest.acquires.sum()), duration(rest.longest_ns.max())) if exact else ()
        cells.append([f"and {len(rest)} more", *shares, *more])
    sheet.table([Column("thread", is_name=True, most=28), *map(Column, figures)], cells)


def _thread_cells(row: dict[str, Any], *, exact: bool) -> list[str]:
    shares = [_estimate(row, f"{word}_share", exact=exact) for word in ("run", "wait", "off")]
    slowdown = "-" if row["slowdown"] is None else _times(row["slowdown"])
    waits = [duration(row["wait_p50_ns"]), duration(row["wait_p99_ns"])]
    events = [str(row["acquires"]), duration(row["longest_ns"]), *waits] if exact else []
    return [printable(row["thread_name"]), *shares, *events, slowdown]


def _times(factor: float) -> str:
    return f"{factor:.0f} x" if factor >= 99.5 else f"{factor:.3g} x"


def _sites(t: Tables) -> pd.DataFrame:
    """Return what lines of the program cost; no rows where the trace does not say."""
    return analysis.sites(t, frame="program") if t.sites.num_rows else pd.DataFrame()


def _add_lines(sheet: Sheet, t: Tables) -> None:
    rows = _records(_sites(t)[:MOST_LINES])
    rows = [row for row in rows if row["inflicted_ns"] >= _WORTH_A_LINE * t.metadata["duration_ns"]]
    if not rows:
        return
    layout = [
        Column("line that made others wait", is_name=True),
        *map(Column, ("held", "holds", "longest", "inflicted")),
        Column("mostly on", is_name=True),
    ]
    cells = []
    for row in rows:
        held, longest, inflicted = (duration(row[f"{name}_ns"]) for name in ("held", "longest", "inflicted"))
        cells.append(
            [_place(row), held, str(row["holds"]), longest, inflicted, printable(row["victim_name"])]
        )
    sheet.table(layout, cells)


def _place(row: dict[str, Any]) -> str:
    """Return a line with the name of its file: the path itself may be longer than the page is wide."""
    if row["file"] is None:
        return printable(row["function"])
    where = row["file"].rsplit("/", 1)[-1] + ("" if row["line"] is None else f":{row['line']}")
    return printable(f"{where} {row['function']}")


def _add_findings(sheet: Sheet, t: Tables) -> None:
    found = analysis.findings(t)
    if not len(found):
        return
    info_only = set(found.severity) == {"info"}
    sheet.paragraph("What it means" if info_only else "What costs most", "bold")
    for i, finding in enumerate(found[:MOST_FINDINGS].itertuples(), 1):
        label = f"{i:2} {finding.kind:16} "
        sheet.paragraph(finding.what, _STYLES[finding.severity], label=label)
        sheet.paragraph(finding.advice, label=" " * len(label))
    if len(found) > MOST_FINDINGS:
        sheet.paragraph(f"   and {len(found) - MOST_FINDINGS} more: gilscope.analysis.findings(t)")


def _add_children(sheet: Sheet, t: Tables) -> None:
    rows = sorted(processes(t), key=lambda row: -row["held_share"] * row["duration_ns"])
    if not rows:
        return
    see = f"gilscope report {t.home or 'TRACE'}/{rows[0]['path']}"
    sheet.paragraph(f"Child processes ({len(rows)}); to see one: {printable(see)}", "bold")
    layout = [Column("process", is_name=True), Column("script", is_name=True, most=40)]
    layout += map(Column, ("begins", "lasts", "held", "threads"))
    cells = []
    for row in rows[:MOST_CHILDREN]:
        times = [duration(row["start_ns"]), duration(row["duration_ns"]), percent(row["held_share"])]
        names = (printable(text) for text in (folder_name(row), script(row["argv"])))
        cells.append([*names, *times, str(row["threads"])])
    sheet.table(layout, cells)
    if len(rows) > MOST_CHILDREN:
        sheet.paragraph(f"and {len(rows) - MOST_CHILDREN} more, which held the GIL for less time: t.children")


def _notes(t: Tables, overhead: dict[str, Any]) -> list[str]:
    notes = list(t.metadata["not_measured"])
    if overhead["lost_ns"]:
        notes.append(
            f"{duration(overhead['lost_ns'])} in which transitions were lost are left out of all figures"
        )
    return notes


def comparison(before: Any, after: Any) -> str:
    """Return two traces, or two lists of repeats, side by side as text.

    Args:
        before: a trace, or several of one program.
        after: likewise.
    """
    rows = analysis.compare(before, after)
    rows = rows[rows.before.notna() & rows.after.notna()]
    repeats = bool(rows.ratio_low.notna().any())
    layout = [Column("figure", is_name=True), Column("thread", is_name=True, most=20)]
    layout += map(Column, ("before", "after", "difference", "ratio", *(["95 %"] if repeats else [])))
    sheet = Sheet()
    sheet.table(layout, [_comparison_cells(row, repeats=repeats) for row in rows.to_dict("records")])
    return sheet.text()


def _comparison_cells(row: dict[str, Any], *, repeats: bool) -> list[str]:
    word, _, unit = row["figure"].rpartition("_")
    show = {"ns": duration, "share": percent}.get(unit, "{:.4g}".format)
    name = word.replace("_", " ") if unit in ("ns", "share") else row["figure"].replace("_per_s", "/s")
    if unit == "share":
        name += " share"
    values = [show(row[column]) for column in ("before", "after", "difference")]
    ratio = "-" if math.isnan(row["ratio"]) else f"{row['ratio']:.3f}"
    known = repeats and not math.isnan(row["ratio_low"])
    interval = [f"{row['ratio_low']:.3f} to {row['ratio_high']:.3f}" if known else "-"] if repeats else []
    name_of = row["thread_name"] if isinstance(row["thread_name"], str) else ""
    return [name.replace("_", " "), printable(name_of), *values, ratio, *interval]


def sweep(summary: pd.DataFrame, metric: str) -> str:
    """Return what a sweep found as a table of text.

    Args:
        summary: one row per interval, as `gilscope.sweeping.sweeps.Sweep.summary` returns.
        metric: what the metric is, with its unit.
    """
    waits = [c for c in summary if str(c).startswith("wait_p99_ns_") and summary[c].notna().any()]
    waits = sorted(waits, key=lambda c: -summary[c].max())[:MOST_SWEPT_THREADS]
    names = [f"{shorten(printable(str(c).removeprefix('wait_p99_ns_')), _SWEPT_NAME)} p99" for c in waits]
    traced = ["hand-offs/s", "overhead"] if "handoffs_per_s" in summary else []
    cells = []
    for row in summary.to_dict("records"):
        more = [f"{row['handoffs_per_s']:.0f}", percent(row["overhead_share"])] if traced else []
        interval = f"{row['metric_low']:.4g} to {row['metric_high']:.4g}"
        figures = [duration(row["interval_ns"]), str(row["runs"]), f"{row['metric']:.4g}", interval]
        cells.append([*figures, *more, *(duration(row[c]) for c in waits)])
    sheet = Sheet()
    sheet.table([Column(head) for head in ("interval", "runs", metric, "95 %", *traced, *names)], cells)
    return sheet.text()
