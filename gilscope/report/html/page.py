"""The report as one HTML page that loads nothing from elsewhere, so that it can be mailed and archived."""

from __future__ import annotations

import datetime

from gilscope import plots
from gilscope.analysis.inputs import AnyTrace
from gilscope.errors import OptionError
from gilscope.report.facts import Facts, Row, facts_of, rows
from gilscope.report.html.lines import lines
from gilscope.report.html.parts import UNKNOWN, Cell, cards, document, escape, image, more, section, table
from gilscope.tables.processes import folder_name, script
from gilscope.units import count, duration, factor, instant, percent

__all__ = ["render"]

MOST_THREADS = 200
MOST_BLAMED = 20
"""Of a larger matrix; the others are added up."""
MOST_HOLDS = 20
MOST_CONVOYS = 20
MOST_GILS = 100
MOST_CHILDREN = 200
"""The page shows at most this many of each, and the number of those left out."""


def render(t: AnyTrace, *, source: bool = False) -> str:
    """Return the report as an HTML page that needs no other file and no network.

    It shows what was recorded, findings, how the GIL spent its time, pictures (see `gilscope.plots`; without
    matplotlib a note how to get them), threads, lines that held the GIL, which threads made others wait, the
    longest holds, convoys, child processes, and what was not measured.

    Args:
        t: a trace, its path, or its tables. Only a trace has child processes.
        source: show the lines of code too, read from the files that the trace names (see
            `gilscope.report.excerpts`); otherwise no such file is read.

    Returns:
        The text of the page; write it with ``encoding="utf-8"``.

    Raises:
        OptionError: if ``t`` is not one of these.

    Example:
        >>> import gilscope
        >>> from gilscope.report.html.page import render
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> render(t).startswith("<!DOCTYPE html>")
        True
    """
    facts = facts_of(t)
    first = (_head, _findings, _overhead, _pictures, _threads)
    rest = (_blame, _holds, _convoys, _children, _notes)
    parts = [part(facts) for part in first]
    parts.append(lines(facts, source=source))
    parts += [part(facts) for part in rest]
    return document(_title(facts), "\n".join(part for part in parts if part))


def _title(facts: Facts) -> str:
    argv = facts.metadata.get("argv") or []
    return f"gilscope: {' '.join(map(str, argv))}" if argv else "gilscope"


def _head(facts: Facts) -> str:
    m = facts.metadata
    known = {
        "recorded": _date(m.get("start_unix_ns")),
        "length": duration(m.get("duration_ns")),
        "Python": m.get("python_version"),
        "system": m.get("platform"),
        "edges": m.get("edges"),
        "switch interval": facts.switch_interval,
        "threads": count(len(facts.threads)),
        "transitions": count(m.get("transitions")),
        "gilscope": m.get("gilscope_version"),
    }
    return f"<h1>{escape(_title(facts))}</h1>\n{cards(known)}"


def _date(ns: int | None) -> str | None:
    if ns is None:
        return None
    return datetime.datetime.fromtimestamp(ns // 10**9, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _findings(facts: Facts) -> str:
    found = [
        f'<div class="finding {escape(f.severity)}"><p><b>{escape(f.severity)}</b>{escape(f.what)}</p>'
        f'<p class="faint">{escape(f.advice)}</p></div>'
        for f in facts.findings.itertuples()
    ]
    return section("Findings", "\n".join(found) or "<p>No problems found.</p>")


def _overhead(facts: Facts) -> str:
    o = facts.overhead
    known = {
        "held": _share(o, "held"),
        "free": _share(o, "free"),
        "hand-off overhead (free while a thread waited)": f"{_share(o, 'overhead')}, "
        f"{duration(o['overhead_ns'])}",
        "threads waiting, on average": _mean(o["mean_waiters"]),
        "hand-offs": f"{count(o['handoffs'])} ({count(o['handoffs_per_s'])}/s)",
        "forced hand-offs": count(o["forced"]),
        "steals": count(o["steals"]),
        "gap while a thread waited, median": duration(o["gap_p50_ns"]),
        "gap, 99th percentile": duration(o["gap_p99_ns"]),
        "longest gap": duration(o["gap_max_ns"]),
        "left out (lost transitions)": duration(o["lost_ns"]) if o["lost_ns"] else None,
    }
    return section("How the GIL spent its time", f"{cards(known)}{_each_gil(facts)}")


def _each_gil(facts: Facts) -> str:
    """Return how each GIL spent its time, where there are several: the cards add them up."""
    gils = facts.busiest_gils
    if len(gils) < 2:
        return ""
    head = ["interpreter", "held", "free", "overhead", "hand-offs", "forced", "steals", "threads waiting"]
    cells: list[list[Cell]] = [
        [
            str(row["interpreter"]) if row["interpreter"] else "main",
            *(_share(row, word) for word in ("held", "free", "overhead")),
            *(count(row[word]) for word in ("handoffs", "forced", "steals")),
            _mean(row["mean_waiters"]),
        ]
        for row in rows(gils[:MOST_GILS])
    ]
    text = f"\n<p>The figures above add up {count(len(gils))} GILs; each of them:</p>\n{table(head, cells)}"
    return text + more(len(gils) - MOST_GILS, "which were held for less time")


def _pictures(facts: Facts) -> str:
    if not plots.available():
        return section("Pictures", "<p>Plots need matplotlib: <code>pip install 'gilscope[plot]'</code>.</p>")
    t = facts.tables
    drawn = {
        "which threads ran and waited, where they wait most": plots.timeline(t),
        "the GIL held, lost and waited for, over time": plots.usage(t),
        "the shares of each thread's life": plots.threads(t),
        "how long new holders had waited": plots.handoff_latency(t),
    }
    return section("Pictures", "\n".join(image(ax, text) for text, ax in drawn.items()))


def _threads(facts: Facts) -> str:
    head = ["thread", "run", "wait", "off", "life", "holds", "longest", "wait p50", "p99", "longest wait"]
    cells = [_thread_cells(row) for row in rows(facts.busiest[:MOST_THREADS])]
    text = table([*head, "processor", "slowdown"], cells)
    return section("Threads", text + more(len(facts.busiest) - MOST_THREADS, "less busy"))


def _thread_cells(row: Row) -> list[Cell]:
    return [
        row["thread_name"],
        *(_share(row, word) for word in ("run", "wait", "off")),
        duration(row["life_ns"]),
        count(row["acquires"]),
        *(duration(row[f"{name}_ns"]) for name in ("longest", "wait_p50", "wait_p99", "wait_max")),
        duration(row["cpu_ns"]),
        factor(row["slowdown"]),
    ]


def _blame(facts: Facts) -> str:
    title = "Which threads made others wait"
    try:
        blame = facts.blame(MOST_BLAMED)
    except OptionError as error:
        return section(title, f"<p>{escape(str(error))}</p>")
    if not blame.waiters:
        return section(title, "<p>No thread waited.</p>")
    cells: list[list[Cell]] = [
        [
            name,
            *((duration(ns) if ns else "0", min(ns / blame.hottest, 1.0)) for ns in waited),
            duration(sum(waited)),
        ]
        for name, waited in zip(blame.waiters, blame.waited, strict=True)
    ]
    text = "<p>How long the thread of a row waited while that of a column held the GIL, or it was free.</p>\n"
    return section(title, text + table(["waited", *blame.holders, "in all"], cells))


def _holds(facts: Facts) -> str:
    head = ["thread", "at", "length", "ended", "waiters", "inflicted", "response"]
    cells: list[list[Cell]] = [
        [
            row["thread_name"],
            instant(row["start_ns"]),
            duration(row["duration_ns"]),
            row["release"] or UNKNOWN,
            count(row["waiters"]),
            duration(row["inflicted_ns"]),
            duration(row["overrun_ns"]),
        ]
        for row in rows(facts.holds[:MOST_HOLDS])
    ]
    return section("Longest holds", table(head, cells) if cells else "<p>No thread held the GIL.</p>")


def _convoys(facts: Facts) -> str:
    head = ["thread", "behind", "from", "to", "rounds", "mean wait", "lost", "with an idle GIL"]
    cells: list[list[Cell]] = [
        [
            row["thread_name"],
            row["holder_name"],
            instant(row["start_ns"]),
            instant(row["end_ns"]),
            count(row["rounds"]),
            *(duration(row[f"{name}_ns"]) for name in ("mean_wait", "lost", "idle")),
        ]
        for row in rows(facts.convoys[:MOST_CONVOYS])
    ]
    nothing = f"<p>{'None found' if facts.exact else 'Sampled edges do not show convoys'}.</p>"
    text = table(head, cells, words=2) if cells else nothing
    return section("Convoys", text + more(len(facts.convoys) - MOST_CONVOYS, "less costly"))


def _children(facts: Facts) -> str:
    children = facts.busiest_children
    if not children:
        return ""
    head = ["process", "script", "begins", "lasts", "held", "threads", "recording"]
    cells: list[list[Cell]] = [
        [
            folder_name(row),
            script(row["argv"]),
            instant(row["start_ns"]),
            duration(row["duration_ns"]),
            percent(row["held_share"]),
            count(row["threads"]),
            "whole" if row["complete"] else "cut short",
        ]
        for row in children[:MOST_CHILDREN]
    ]
    see = f"<p>Each has its own trace: <code>{escape(facts.child_command)}</code></p>\n"
    rest = more(len(children) - MOST_CHILDREN, "which held the GIL for less time")
    return section(f"Child processes ({count(len(children))})", see + table(head, cells, words=2) + rest)


def _notes(facts: Facts) -> str:
    notes = [f"<li>{escape(sentence)}</li>" for sentence in facts.notes]
    words = (
        "A thread runs while it holds the GIL, waits while it wants the GIL and does not have it, and is off "
        "otherwise. Overhead is the time the GIL is free while at least one thread waits for it."
    )
    found = f"<ul>{''.join(notes)}</ul>" if notes else "<p>Everything was measured.</p>"
    return section("Notes", f"{found}\n<p class='faint'>{words}</p>")


def _share(row: Row, word: str) -> str:
    """Return a share, with its 95 % interval where it is an estimate."""
    value, low, high = (row.get(f"{word}_share{end}") for end in ("", "_low", "_high"))
    if value is None or low is None or high is None:
        return percent(value)
    return f"{percent(value)} ({100 * low:.1f} to {100 * high:.1f})"


def _mean(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f}"
