"""The sections of the page about lines of code: what each cost, and their source text if requested."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gilscope.report.excerpts import Excerpt, excerpt
from gilscope.report.facts import Facts, Row, rows
from gilscope.report.html.parts import UNKNOWN, Cell, Link, escape, listing, more, section, table
from gilscope.units import count, duration, short_path

MOST_LINES = 20
"""Of each table."""
_WORTH_A_LINE = 0.001  # of the trace, held or inflicted


def lines(facts: Facts, *, source: bool) -> str:
    """Return the sections about lines of code; nothing if the trace has no lines.

    Args:
        facts: of a trace.
        source: read the files that the trace names, and show the lines.
    """
    if not facts.located:
        return ""
    costs = rows(facts.costly_lines(_WORTH_A_LINE, "held_ns", "inflicted_ns")[:MOST_LINES])
    keeps = rows(facts.keeps[:MOST_LINES])
    texts = _Texts()
    if source:
        texts.read([*costs, *keeps], facts.metadata)
    rest = len(facts.lines) - len(costs)
    parts = [_costs(costs, rest, texts, source=source), _keeps(keeps, texts), _source(costs, texts)]
    return "\n".join(part for part in parts if part)


@dataclass(slots=True)
class _Texts:
    """Excerpts of the files, in the order of what they cost."""

    files: dict[str, Excerpt] = field(default_factory=dict)
    asked: dict[str, set[int]] = field(default_factory=dict)

    def read(self, places: Iterable[Row], metadata: dict[str, Any]) -> None:
        for place in places:
            if place["file"] is not None and place["line"] is not None:
                self.asked.setdefault(place["file"], set()).add(place["line"])
        for file, numbers in self.asked.items():
            self.files[file] = excerpt(file, numbers, metadata)

    def link(self, row: Row) -> Cell:
        """Return a place, with a link to its text where the page has it."""
        file, line = row["file"], row["line"]
        if file is None:
            return UNKNOWN
        shown = short_path(file) + ("" if line is None else f":{line}")
        if file not in self.files or line not in self.files[file].lines:
            return shown
        return Link(shown, self.anchor(file, line))

    def anchor(self, file: str, line: int) -> str:
        """Return the anchor of a line on the page; only numbers in it come from the trace."""
        return f"line-{list(self.files).index(file) + 1}-{line}"


def _costs(costs: list[Row], rest: int, texts: _Texts, *, source: bool) -> str:
    head = ["function", "line", "held", "holds", "longest", "inflicted", "mostly on", "overhead"]
    cells: list[list[Cell]] = [
        [
            row["function"],
            texts.link(row),
            duration(row["held_ns"]),
            count(row["holds"]),
            duration(row["longest_ns"]),
            duration(row["inflicted_ns"]),
            row["victim_name"] if row["inflicted_ns"] and row["victim_name"] is not None else UNKNOWN,
            duration(row["overhead_ns"]),
        ]
        for row in costs
    ]
    words = (
        "A hold counts for the line of the program at which it ended, or at which it was asked to end and "
        "went on. Inflicted is how long other threads waited during these holds, added up; overhead is how "
        "long they waited afterwards, while the GIL was free."
    )
    how = "" if source else _HOW
    text = f"<p class='faint'>{words}</p>\n{table(head, cells, words=2)}{more(rest, 'less costly')}{how}"
    return section("Lines that held the GIL", text)


_HOW = (
    "\n<p class='faint'>The page can show the lines themselves: "
    "<code>gilscope report TRACE --html FILE --source</code>, or "
    "<code>t.report(format='html', source=True)</code>.</p>"
)


def _keeps(keeps: list[Row], texts: _Texts) -> str:
    if not keeps:
        return ""
    head = ["function", "line", "calls", "longest", "held", "inflicted", "longest response", "called from"]
    cells: list[list[Cell]] = [
        [
            row["function"],
            texts.link(row),
            count(row["calls"]),
            duration(row["longest_ns"]),
            duration(row["held_ns"]),
            duration(row["inflicted_ns"]),
            duration(row["response_max_ns"]),
            UNKNOWN if f"({row['file']}:{row['line']})" in row["called_from"] else row["called_from"],
        ]
        for row in keeps
    ]
    words = (
        "Native code called at these lines kept the GIL for a switch interval or longer after another thread "
        "had asked for it; the interpreter itself responds within microseconds."
    )
    text = f"<p class='faint'>{words}</p>\n{table(head, cells, words=2)}"
    return section("Calls that keep the GIL", text)


def _source(costs: list[Row], texts: _Texts) -> str:
    if not texts.files:
        return ""
    cost = {(row["file"], row["line"]): duration(row["inflicted_ns"]) for row in costs if row["inflicted_ns"]}
    parts = ["<p class='faint'>The time beside a line is what it inflicted on other threads.</p>"]
    for file, found in texts.files.items():
        parts.append(f"<h3>{escape(file)}</h3>")
        if found.doubt:
            word = "Note" if found.lines else "Not shown"
            parts.append(f"<p>{word}: {escape(found.doubt)}.</p>")
        if found.lines:
            shown = [
                (n, text, cost.get((file, n), ""), texts.anchor(file, n) if n in texts.asked[file] else "")
                for n, text in found.lines.items()
            ]
            parts.append(listing(shown))
    return section("Source text of these lines", "\n".join(parts))
