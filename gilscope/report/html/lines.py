"""The page's part on lines of code: what each cost, and where the user asked for it, their source text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from gilscope import analysis
from gilscope.report.excerpts import Excerpt, excerpt
from gilscope.report.html.parts import UNKNOWN, Cell, Link, escape, listing, section, table
from gilscope.units import duration

if TYPE_CHECKING:
    from gilscope.tables.stored import Tables

MOST_LINES = 20
"""Of each table."""
_WORTH_A_LINE = 0.001  # of the trace, held or inflicted


def lines(t: Tables, *, source: bool) -> str:
    """Return the sections about lines of code; nothing where the trace does not know them.

    Args:
        t: a trace.
        source: read the files that the trace names, and show the lines.
    """
    if not t.sites.num_rows:
        return ""
    costs, keeps = analysis.sites(t, frame="program"), analysis.keeps_gil(t)
    worth = costs[["held_ns", "inflicted_ns"]].max(axis=1) >= _WORTH_A_LINE * t.metadata.get("duration_ns", 0)
    shown, keeps = costs[worth][:MOST_LINES], keeps[:MOST_LINES]
    texts = _Texts()
    if source:
        texts.read([*shown.itertuples(), *keeps.itertuples()], t.metadata)
    parts = [_costs(shown, len(costs), texts, source=source), _keeps(keeps, texts), _source(shown, texts)]
    return "\n".join(part for part in parts if part)


@dataclass(slots=True)
class _Texts:
    """What could be had of the files, in the order of what they cost."""

    files: dict[str, Excerpt] = field(default_factory=dict)
    asked: dict[str, set[int]] = field(default_factory=dict)

    def read(self, rows: Iterable[Any], metadata: dict[str, Any]) -> None:
        for row in rows:
            if isinstance(row.file, str) and not pd.isna(row.line):
                self.asked.setdefault(row.file, set()).add(int(row.line))
        for file, numbers in self.asked.items():
            self.files[file] = excerpt(file, numbers, metadata)

    def link(self, file: Any, line: Any) -> Cell:
        """Return a place, with a link to its text where the page has it."""
        if not isinstance(file, str):
            return UNKNOWN
        shown = brief(file) + ("" if pd.isna(line) else f":{line}")
        if file not in self.files or line not in self.files[file].lines:
            return shown
        return Link(shown, self.anchor(file, int(line)))

    def anchor(self, file: str, line: int) -> str:
        """Return the name of a line on the page: nothing in it comes from the trace but numbers."""
        return f"line-{list(self.files).index(file) + 1}-{line}"


def brief(file: str) -> str:
    """Return a file's name and that of its folder, which tells one ``__init__.py`` from others.

    Example:
        >>> brief("/home/a/project/parser/__init__.py")
        'parser/__init__.py'
    """
    return "/".join(file.split("/")[-2:])


def _costs(rows: pd.DataFrame, in_all: int, texts: _Texts, *, source: bool) -> str:
    head = ["function", "line", "held", "holds", "longest", "inflicted", "mostly on", "overhead"]
    cells: list[list[Cell]] = [
        [
            str(row.function),
            texts.link(row.file, row.line),
            duration(row.held_ns),
            f"{row.holds:,}",
            duration(row.longest_ns),
            duration(row.inflicted_ns),
            UNKNOWN if pd.isna(row.victim_name) or not row.inflicted_ns else str(row.victim_name),
            duration(row.overhead_ns),
        ]
        for row in rows.itertuples()
    ]
    words = (
        "A hold belongs to the program's line at which it ended, or at which it was asked to and went on. "
        "Inflicted is what other threads waited during its holds, overhead what they waited afterwards, "
        "while the GIL was free."
    )
    more = f"\n<p>and {in_all - len(rows):,} more, less costly</p>" if in_all > len(rows) else ""
    how = "" if source else _HOW
    text = f"<p class='faint'>{words}</p>\n{table(head, cells, words=2)}{more}{how}"
    return section("Lines that held the GIL", text)


_HOW = (
    "\n<p class='faint'>The lines themselves are on the page where they are asked for: "
    "<code>gilscope report TRACE --html FILE --source</code>, or "
    "<code>t.report(format='html', source=True)</code>.</p>"
)


def _keeps(rows: pd.DataFrame, texts: _Texts) -> str:
    if not len(rows):
        return ""
    head = ["function", "line", "calls", "longest", "held", "inflicted", "longest response", "called from"]
    cells: list[list[Cell]] = [
        [
            str(row.function),
            texts.link(row.file, row.line),
            f"{row.calls:,}",
            duration(row.longest_ns),
            duration(row.held_ns),
            duration(row.inflicted_ns),
            duration(None if pd.isna(row.response_max_ns) else float(row.response_max_ns)),
            UNKNOWN if f"({row.file}:{row.line})" in row.called_from else str(row.called_from),
        ]
        for row in rows.itertuples()
    ]
    words = (
        "Native code that was called here went on for a switch interval or longer after another thread had "
        "asked for the GIL; the interpreter itself obeys within microseconds."
    )
    text = f"<p class='faint'>{words}</p>\n{table(head, cells, words=2)}"
    return section("Calls that keep the GIL", text)


def _source(costs: pd.DataFrame, texts: _Texts) -> str:
    if not texts.files:
        return ""
    cost = {
        (row.file, int(row.line)): duration(row.inflicted_ns)
        for row in costs[costs["line"].notna() & (costs["inflicted_ns"] > 0)].itertuples()
    }
    parts = ["<p class='faint'>Beside a line stands what it inflicted on others.</p>"]
    for file, found in texts.files.items():
        parts.append(f"<h3>{escape(file)}</h3>")
        if found.doubt:
            word = "Note" if found.lines else "Not shown"
            parts.append(f"<p>{word}: {escape(found.doubt)}.</p>")
        if found.lines:
            rows = [
                (n, text, cost.get((file, n), ""), texts.anchor(file, n) if n in texts.asked[file] else "")
                for n, text in found.lines.items()
            ]
            parts.append(listing(rows))
    return section("Their source text", "\n".join(parts))
