"""The report as one page of HTML: nothing in it comes from elsewhere, so that it can be mailed and kept."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gilscope import analysis, plots
from gilscope.analysis.inputs import AnyTrace, as_tables
from gilscope.errors import OptionError
from gilscope.report.html.lines import lines
from gilscope.report.html.parts import UNKNOWN, Cell, cards, document, escape, image, section, table
from gilscope.tables.processes import folder_name, processes, script
from gilscope.units import duration, percent

if TYPE_CHECKING:
    from gilscope.tables.stored import Tables

__all__ = ["page"]

MOST_THREADS = 200
MOST_BLAMED = 20
"""A matrix of more threads shows so many, and adds up the others."""
MOST_HOLDS = 20
MOST_CONVOYS = 20
MOST_GILS = 100
MOST_CHILDREN = 200
"""Of all of these the page shows so many, and says how many more there are."""


def page(t: AnyTrace, *, source: bool = False) -> str:
    """Return the report as an HTML page that needs no other file and no network.

    It has what was recorded, findings, how the GIL spent its time, pictures (see `gilscope.plots`; without
    matplotlib it says that they are missing), threads, lines that held the GIL, who made whom wait, the
    longest holds, convoys, child processes, and what was not measured.

    Args:
        t: a trace, its path, or its tables. Child processes are known of a trace only.
        source: show the lines of code too. They are read from the files that the trace names, see
            `gilscope.report.excerpts`; nothing is read without it.

    Returns:
        The text of the page; write it with ``encoding="utf-8"``.

    Raises:
        OptionError: ``t`` is none of those.

    Example:
        >>> import gilscope
        >>> from gilscope.report.html.page import page
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> page(t).startswith("<!DOCTYPE html>")
        True
    """
    recording = as_tables(t)
    first = (_head, _findings, _overhead, _pictures, _threads)
    rest = (_blame, _holds, _convoys, _children, _notes)
    parts = [part(recording) for part in first]
    parts.append(lines(recording, source=source))
    parts += [part(recording) for part in rest]
    return document(_title(recording), "\n".join(part for part in parts if part))


def _title(t: Tables) -> str:
    argv = t.metadata.get("argv") or []
    return f"gilscope: {' '.join(map(str, argv))}" if argv else "gilscope"


def _head(t: Tables) -> str:
    m = t.metadata
    intervals = [duration(ns) for ns in t.switch_intervals["interval_ns"].to_pylist()]
    shown = intervals if len(intervals) <= 4 else [*intervals[:3], f"... ({len(intervals)} values)"]
    facts = {
        "recorded": _date(m.get("start_unix_ns")),
        "length": duration(m.get("duration_ns")),
        "Python": m.get("python_version"),
        "system": m.get("platform"),
        "edges": m.get("edges"),
        "switch interval": ", then ".join(shown),
        "threads": f"{len(analysis.threads(t)):,}",
        "transitions": None if m.get("transitions") is None else f"{m['transitions']:,}",
        "gilscope": m.get("gilscope_version"),
    }
    return f"<h1>{escape(_title(t))}</h1>\n{cards(facts)}"


def _date(ns: int | None) -> str | None:
    if ns is None:
        return None
    return datetime.datetime.fromtimestamp(ns // 10**9, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _findings(t: Tables) -> str:
    cards = [
        f'<div class="finding {escape(f.severity)}"><p><b>{escape(f.severity)}</b>{escape(f.what)}</p>'
        f'<p class="faint">{escape(f.advice)}</p></div>'
        for f in analysis.findings(t).itertuples()
    ]
    return section("Findings", "\n".join(cards) or "<p>Nothing that somebody should do something about.</p>")


def _overhead(t: Tables) -> str:
    o = analysis.overhead(t).iloc[0]
    facts = {
        "held": _share(o, "held"),
        "free": _share(o, "free"),
        "hand-off overhead (free while somebody waited)": f"{_share(o, 'overhead')}, {_time(o.overhead_ns)}",
        "threads waiting, on average": _number(o.mean_waiters, ".2f"),
        "hand-offs": f"{_number(o.handoffs)} ({_number(o.handoffs_per_s, ',.0f')}/s)",
        "forced hand-offs": _number(o.forced),
        "steals": _number(o.steals),
        "gap while somebody waited, median": _time(o.gap_p50_ns),
        "gap, 99 of 100 up to": _time(o.gap_p99_ns),
        "longest gap": _time(o.gap_max_ns),
        "left out, transitions were lost": _time(o.lost_ns) if o.lost_ns else None,
    }
    return section("How the GIL spent its time", f"{cards(facts)}{_each_gil(t)}")


def _each_gil(t: Tables) -> str:
    """Say how each GIL spent its time, where there are several: the cards add them up."""
    rows = analysis.overhead(t, "interpreter").sort_values("held_ns", ascending=False, kind="stable")
    if len(rows) < 2:
        return ""
    head = ["interpreter", "held", "free", "overhead", "hand-offs", "forced", "steals", "threads waiting"]
    cells: list[list[Cell]] = [
        [
            str(row.interpreter) if row.interpreter else "main",
            *(_share(row, word) for word in ("held", "free", "overhead")),
            *(_number(row[word]) for word in ("handoffs", "forced", "steals")),
            _number(row.mean_waiters, ".2f"),
        ]
        for _, row in rows[:MOST_GILS].iterrows()
    ]
    text = f"\n<p>All of that is {len(rows)} GILs added up; each:</p>\n{table(head, cells)}"
    return text + _more(len(rows) - MOST_GILS, "which were held for less time")


def _pictures(t: Tables) -> str:
    if not plots.available():
        return section("Pictures", "<p>Plots need matplotlib: <code>pip install 'gilscope[plot]'</code>.</p>")
    drawn = {
        "who ran and who waited, where threads wait most": plots.timeline(t),
        "the GIL held, lost and waited for, over time": plots.usage(t),
        "the shares of each thread's life": plots.threads(t),
        "how long new holders had waited": plots.handoff_latency(t),
    }
    return section("Pictures", "\n".join(image(ax, text) for text, ax in drawn.items()))


def _threads(t: Tables) -> str:
    rows = analysis.threads(t)
    rows = rows.assign(busy=rows.run_ns + rows.wait_ns).sort_values("busy", ascending=False, kind="stable")
    head = ["thread", "run", "wait", "off", "life", "holds", "longest", "wait p50", "p99", "longest wait"]
    cells = [_thread_cells(row) for _, row in rows[:MOST_THREADS].iterrows()]
    text = table([*head, "processor", "slowdown"], cells)
    return section("Threads", text + _more(len(rows) - MOST_THREADS, "less busy"))


def _thread_cells(row: pd.Series[Any]) -> list[Cell]:
    return [
        row.thread_name,
        *(_share(row, word) for word in ("run", "wait", "off")),
        _time(row.life_ns),
        _number(row.acquires),
        *(_time(row[f"{name}_ns"]) for name in ("longest", "wait_p50", "wait_p99", "wait_max")),
        _time(row.cpu_ns),
        UNKNOWN if pd.isna(row.slowdown) else f"{row.slowdown:.3g} x",
    ]


def _blame(t: Tables) -> str:
    title = "Who made whom wait"
    try:
        matrix = analysis.blame(t)
    except OptionError as error:
        return section(title, f"<p>{escape(str(error))}</p>")
    if not len(matrix):
        return section(title, "<p>Nobody waited.</p>")
    bounds = [c for c in matrix.columns if str(c).endswith(("_low", "_high"))]
    names = dict(zip(*(analysis.threads(t)[c] for c in ("thread", "thread_name")), strict=True))
    matrix = matrix.drop(columns=bounds)
    hottest = max(float(matrix.to_numpy().max()), 1.0)
    waited, holders = _few(matrix)
    cells: list[list[Cell]] = [
        [
            names.get(who, str(who)),
            *((_time(ns) if ns else "0", min(ns / hottest, 1.0)) for ns in row),
            _time(sum(row)),
        ]
        for who, row in zip(waited.index, waited.to_numpy().tolist(), strict=True)
    ]
    head = [names.get(h, str(h)) for h in holders]
    text = "<p>How long each thread waited while the one above held the GIL, or while it was free.</p>\n"
    return section(title, text + table(["waited", *head, "in all"], cells))


def _few(matrix: pd.DataFrame) -> tuple[pd.DataFrame, list[Any]]:
    """Return the largest rows and columns of a matrix, the others added up, and the names of the columns."""
    holders = [c for c in matrix.columns if c != "free"]
    kept = sorted(sorted(holders, key=lambda c: -int(matrix[c].sum()))[:MOST_BLAMED])
    out = matrix[kept].copy()
    if len(kept) < len(holders):
        out[f"{len(holders) - len(kept)} others"] = matrix[holders].sum(axis=1) - matrix[kept].sum(axis=1)
    out["free"] = matrix["free"]
    shown = matrix.sum(axis=1).nlargest(MOST_BLAMED).index.sort_values()
    rest = out.drop(index=shown).sum()
    columns = list(out.columns)
    out = out.loc[shown]
    if len(shown) < len(matrix):
        out = pd.concat([out, rest.to_frame(f"{len(matrix) - len(shown)} others").T])
    return out, columns


def _holds(t: Tables) -> str:
    head = ["thread", "at", "length", "ended", "waiters", "they waited", "went on after a drop request"]
    cells: list[list[Cell]] = [
        [
            str(h.thread_name),
            _instant(h.start_ns),
            _time(h.duration_ns),
            UNKNOWN if pd.isna(h.release) else str(h.release),
            _number(h.waiters),
            _time(h.inflicted_ns),
            _time(h.overrun_ns),
        ]
        for h in analysis.holds(t)[:MOST_HOLDS].itertuples()
    ]
    return section("Longest holds", table(head, cells) if cells else "<p>Nobody held the GIL.</p>")


def _convoys(t: Tables) -> str:
    head = ["thread", "behind", "from", "to", "rounds", "mean wait", "lost", "its own work and pauses"]
    rows = analysis.convoys(t)
    cells: list[list[Cell]] = [
        [
            c.thread_name,
            c.holder_name,
            _instant(c.start_ns),
            _instant(c.end_ns),
            _number(c.rounds),
            _time(c.mean_wait_ns),
            _time(c.lost_ns),
            _time(c.idle_ns),
        ]
        for c in rows[:MOST_CONVOYS].itertuples()
    ]
    exact = t.metadata.get("edges", "exact") == "exact"
    text = (
        table(head, cells, words=2)
        if cells
        else f"<p>None{'' if exact else ' that sampling could tell'}.</p>"
    )
    return section("Convoys", text + _more(len(rows) - MOST_CONVOYS, "less costly"))


def _children(t: Tables) -> str:
    rows = sorted(processes(t), key=lambda row: -row["held_share"] * row["duration_ns"])
    if not rows:
        return ""
    head = ["process", "script", "begins", "lasts", "held", "threads", "recording"]
    cells: list[list[Cell]] = [
        [
            folder_name(row),
            script(row["argv"]),
            _instant(row["start_ns"]),
            _time(row["duration_ns"]),
            percent(row["held_share"]),
            _number(row["threads"]),
            "whole" if row["complete"] else "cut short",
        ]
        for row in rows[:MOST_CHILDREN]
    ]
    see = f"gilscope report {t.home or 'TRACE'}/{rows[0]['path']}"
    text = f"<p>Each has a trace of its own: <code>{escape(see)}</code></p>\n{table(head, cells, words=2)}"
    more = _more(len(rows) - MOST_CHILDREN, "which held the GIL for less time")
    return section(f"Child processes ({len(rows):,})", text + more)


def _more(n: int, which: str) -> str:
    return f"\n<p>and {n:,} more, {which}</p>" if n > 0 else ""


def _notes(t: Tables) -> str:
    notes = [f"<li>{escape(sentence)}</li>" for sentence in t.metadata.get("not_measured", [])]
    words = (
        "A thread runs when it holds the GIL, waits when it wants it and has not got it, and is off "
        "otherwise. Overhead is the time the GIL is free while somebody waits for it."
    )
    found = f"<ul>{''.join(notes)}</ul>" if notes else "<p>Nothing was left unmeasured.</p>"
    return section("Notes", f"{found}\n<p class='faint'>{words}</p>")


def _share(row: pd.Series[Any], word: str) -> str:
    """Say a share, with its 95 % interval where it is an estimate."""
    value = row[f"{word}_share"]
    if pd.isna(value):
        return UNKNOWN
    if f"{word}_share_low" not in row.index:
        return percent(value)
    low, high = (100 * row[f"{word}_share_{end}"] for end in ("low", "high"))
    return f"{percent(value)} ({low:.1f} to {high:.1f})"


def _time(ns: Any) -> str:
    return duration(None if pd.isna(ns) else float(ns))


def _instant(ns: int) -> str:
    return f"{ns / 1e9:.3f} s"


def _number(value: Any, form: str = ",") -> str:
    if pd.isna(value):
        return UNKNOWN
    return format(int(value) if form == "," else float(np.float64(value)), form)
