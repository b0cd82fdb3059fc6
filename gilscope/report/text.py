"""The report as text, for a terminal."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

from gilscope.analysis.inputs import AnyTrace
from gilscope.report.facts import Facts, Row, facts_of, rows
from gilscope.report.layout import Column, Sheet, Style
from gilscope.tables.processes import folder_name, script
from gilscope.units import count, duration, factor, percent, printable

MOST_THREADS = 16
MOST_FINDINGS = 8
MOST_GILS = 8
MOST_CHILDREN = 16
MOST_LINES = 5
_WORTH_A_LINE = 0.01  # of the trace, inflicted on others
_STYLES: dict[str, Style] = {"high": "bold red", "medium": "yellow", "low": "plain", "info": "green"}


def render(t: AnyTrace, *, color: bool = False) -> str:
    """Return the report as text, at most 100 columns wide.

    Args:
        t: a trace, its path, or its tables.
        color: use terminal colours.

    Raises:
        OptionError: if ``t`` is not one of these.

    Example:
        >>> import gilscope
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> render(t).split()[0]
        'gilscope'
    """
    facts, sheet = facts_of(t), Sheet(color=color)
    sheet.paragraph(_headline(facts), "bold")
    for part in (_add_gil, _add_threads, _add_lines, _add_findings, _add_children):
        part(sheet, facts)
    for sentence in facts.notes:
        sheet.paragraph(f"{printable(sentence)}.", "yellow", label="Note: ")
    return sheet.text()


def _headline(facts: Facts) -> str:
    m, n = facts.metadata, len(facts.threads)
    versions = (("gilscope", "gilscope_version"), ("CPython", "python_version"))
    parts = [f"{name} {m[key]}" for name, key in versions if key in m]
    parts += [duration(facts.duration_ns), f"{'exact' if facts.exact else 'sampled'} edges"]
    if facts.switch_interval:
        parts.append(f"switch interval {facts.switch_interval}")
    return printable(" · ".join([*parts, f"{count(n)} thread{'s' if n != 1 else ''}"]))


def _share(row: Row, word: str) -> str:
    """Return a share, with half the width of its 95 % interval where it is an estimate."""
    value, low, high = (row.get(f"{word}_share{end}") for end in ("", "_low", "_high"))
    if value is None or low is None or high is None:
        return percent(value)
    return f"{percent(value).removesuffix(' %')} ±{50 * (high - low):.1f} %"


def _add_gil(sheet: Sheet, facts: Facts) -> None:
    o, each = facts.overhead, _each_gil(facts)
    shares = f"held {_share(o, 'held')}   free {_share(o, 'free')}"
    free = f"{duration(o['overhead_ns'])} free while a thread waited"
    lost = f"hand-off overhead {_share(o, 'overhead')} ({free})"
    handoffs = f"{count(o['handoffs'])} hand-offs ({count(o['handoffs_per_s'] or 0)}/s)"
    waiters = f"{o['mean_waiters'] or 0:.2f} threads waiting on average"
    if facts.exact:
        gaps = f"gap p50 {duration(o['gap_p50_ns'])}, p99 {duration(o['gap_p99_ns'])}"
        lines = [
            f"{shares}   {lost}",
            f"{handoffs}, {count(o['forced'])} forced, {count(o['steals'])} steals · {gaps}",
            f"{waiters}{_wait_parts(facts)}",
        ]
    else:
        lines = [shares, lost, f"{handoffs}, counted by the GIL itself · {waiters}"]
    labels = ["The GILs  " if each else "The GIL   "]
    for label, line in zip_longest(labels, [*lines, *each], fillvalue=" " * 10):
        sheet.paragraph(line, label=label)


def _wait_parts(facts: Facts) -> str:
    if facts.waiting is None:
        return ""
    ns, parts = facts.waiting
    return (
        f", {duration(ns)} in all: {', '.join(f'{percent(share)} {part}' for part, share in parts.items())}"
    )


def _each_gil(facts: Facts) -> list[str]:
    """Return a line for each GIL where there are several: the other lines add them up."""
    gils = facts.busiest_gils
    if len(gils) < 2:
        return []
    lines = [f"the figures above add up {count(len(gils))} GILs; each of them:"]
    for row in rows(gils[:MOST_GILS]):
        name = f"interpreter {row['interpreter']}" if row["interpreter"] else "main interpreter"
        shares = f"held {percent(row['held_share'])}, overhead {percent(row['overhead_share'])}"
        waiters = f"{row['mean_waiters'] or 0:.2f} threads waiting"
        lines.append(f"{name}: {shares}, {count(row['handoffs'])} hand-offs, {waiters}")
    return [*lines, f"and {count(len(gils) - MOST_GILS)} more"] if len(gils) > MOST_GILS else lines


def _add_threads(sheet: Sheet, facts: Facts) -> None:
    events = ("holds", "longest", "wait p50", "p99") if facts.exact else ()
    figures = ("run", "wait", "off", *events, "slowdown")
    cells = [_thread_cells(row, exact=facts.exact) for row in rows(facts.busiest[:MOST_THREADS])]
    rest = facts.other_threads(MOST_THREADS)
    if rest is not None:
        more = (count(rest["acquires"]), duration(rest["longest_ns"])) if facts.exact else ()
        cells.append([f"and {count(rest['n'])} more", *_shares(rest), *more])
    sheet.table([Column("thread", is_name=True, most=28), *map(Column, figures)], cells)


def _shares(row: Row) -> list[str]:
    return [_share(row, word) for word in ("run", "wait", "off")]


def _thread_cells(row: Row, *, exact: bool) -> list[str]:
    waits = [duration(row[f"wait_{name}_ns"]) for name in ("p50", "p99")]
    events = [count(row["acquires"]), duration(row["longest_ns"]), *waits] if exact else []
    return [printable(row["thread_name"]), *_shares(row), *events, factor(row["slowdown"])]


def _add_lines(sheet: Sheet, facts: Facts) -> None:
    lines = rows(facts.costly_lines(_WORTH_A_LINE, "inflicted_ns")[:MOST_LINES])
    if not lines:
        return
    layout = [
        Column("line that made others wait", is_name=True),
        *map(Column, ("held", "holds", "longest", "inflicted")),
        Column("mostly on", is_name=True),
    ]
    sheet.table(layout, [_line_cells(row) for row in lines])


def _line_cells(row: Row) -> list[str]:
    held, longest, inflicted = (duration(row[f"{name}_ns"]) for name in ("held", "longest", "inflicted"))
    return [_place(row), held, count(row["holds"]), longest, inflicted, printable(row["victim_name"])]


def _place(row: Row) -> str:
    """Return a line with the name of its file: the path itself may be longer than the report is wide."""
    if row["file"] is None:
        return printable(row["function"])
    where = row["file"].rsplit("/", 1)[-1] + ("" if row["line"] is None else f":{row['line']}")
    return printable(f"{where} {row['function']}")


def _add_findings(sheet: Sheet, facts: Facts) -> None:
    found = facts.findings
    if not len(found):
        return
    info_only = set(found.severity) == {"info"}
    sheet.paragraph("What it means" if info_only else "What costs most", "bold")
    for i, finding in enumerate(found[:MOST_FINDINGS].itertuples(), 1):
        label = f"{i:2} {finding.kind:16} "
        sheet.paragraph(finding.what, _STYLES[finding.severity], label=label)
        sheet.paragraph(finding.advice, label=" " * len(label))
    if len(found) > MOST_FINDINGS:
        sheet.paragraph(f"   and {count(len(found) - MOST_FINDINGS)} more: gilscope.analysis.findings(t)")


def _add_children(sheet: Sheet, facts: Facts) -> None:
    children = facts.busiest_children
    if not children:
        return
    see = printable(facts.child_command)
    sheet.paragraph(f"Child processes ({count(len(children))}); to see one: {see}", "bold")
    layout = [Column("process", is_name=True), Column("script", is_name=True, most=40)]
    layout += map(Column, ("begins", "lasts", "held", "threads"))
    sheet.table(layout, [_child_cells(row) for row in children[:MOST_CHILDREN]])
    more = len(children) - MOST_CHILDREN
    if more > 0:
        sheet.paragraph(f"and {count(more)} more, which held the GIL for less time: t.children")


def _child_cells(row: dict[str, Any]) -> list[str]:
    names = [printable(text) for text in (folder_name(row), script(row["argv"]))]
    lasts = [duration(row["start_ns"]), duration(row["duration_ns"])]
    return [*names, *lasts, percent(row["held_share"]), count(row["threads"])]
