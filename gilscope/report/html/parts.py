"""The parts of an HTML page: sections, cards, tables, listings and pictures; all text in them is escaped."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from gilscope import plots
from gilscope.units import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNKNOWN = "-"
_DPI = 120
_DARKEST = 0.55  # of a heat: text on it stays readable, in light and in dark


class Link(NamedTuple):
    """Text that links to another place on the page."""

    text: str
    anchor: str


Cell = str | Link | tuple[str, float]
"""Text, or text and a heat from 0 to 1."""

_CSS = """
:root { color-scheme: light dark; --ground: #fff; --card: #f6f7f8; --text: #1a1c1e; --faint: #5a6068;
  --line: #d8dce0; --link: #0b5cad; --hot: #fbe7c4; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #15171a; --card: #1e2125; --text: #e4e6e9; --faint: #9aa1aa; --line: #343a41;
    --link: #7db4f0; --hot: #4a3a17; }
  img { filter: brightness(0.9); }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 70rem; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 0.5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 0.6rem; }
h3 { font-size: 0.95rem; margin: 1.2rem 0 0.4rem; overflow-wrap: anywhere; }
p { margin: 0.3rem 0; }
a { color: var(--link); }
code { overflow-wrap: anywhere; }
.faint, dt, th { color: var(--faint); }
dl + p { margin-top: 0.9rem; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 0.7rem; margin: 0; }
dl div { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 0.5rem 0.8rem; }
dt { font-size: 0.85rem; }
dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.55rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th { font-weight: 600; font-size: 0.85rem; vertical-align: bottom; }
.words1 tr > :first-child, .words2 tr > :first-child, .words2 tr > :nth-child(2) { text-align: left; }
th, tr > :first-child { max-width: 20rem; overflow: hidden; text-overflow: ellipsis; }
thead th { max-width: 12rem; }
.finding { background: var(--card); border: 1px solid var(--line); border-left: 5px solid var(--mark);
  border-radius: 6px; padding: 0.6rem 0.9rem; margin: 0.6rem 0; overflow-wrap: anywhere; }
.high { --mark: #D55E00; } .medium { --mark: #E69F00; } .low { --mark: #56B4E9; } .info { --mark: #999; }
.finding b { background: var(--mark); color: #000; border-radius: 4px; padding: 0.05rem 0.45rem;
  margin-right: 0.4rem; font-size: 0.85rem; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 6px; margin: 0.4rem 0;
  padding: 0.5rem 0; overflow-x: auto; font: 13px/1.5 ui-monospace, monospace; }
pre span { display: block; width: max-content; min-width: 100%; padding: 0 0.8rem; }
pre i { color: var(--faint); font-style: normal; user-select: none; }
pre .hot { background: var(--hot); scroll-margin-top: 6rem; }
:target { outline: 2px solid var(--link); outline-offset: -2px; }
img { display: block; width: 100%; background: #fff; border: 1px solid var(--line); border-radius: 6px;
  padding: 0.5rem; margin: 0.8rem 0; }
"""

# The page may not load anything, whatever the name of a thread contains.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def document(title: str, body: str) -> str:
    """Return a whole page.

    Args:
        title: of the window.
        body: the content, made by the functions below.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_CSS}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def section(title: str, body: str) -> str:
    """Return a part of the page under a heading; the body is HTML already."""
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>"


def cards(facts: dict[str, str | None]) -> str:
    """Return labels and their values as cards, without unknown values."""
    known = {word: text for word, text in facts.items() if text not in (None, "", UNKNOWN)}
    shown = (f"<div><dt>{escape(w)}</dt><dd>{escape(text)}</dd></div>" for w, text in known.items())
    return f"<dl>{''.join(shown)}</dl>"


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]], words: int = 1) -> str:
    """Return a table without the columns in which every value is unknown.

    Args:
        head: names of the columns.
        rows: cells.
        words: the number of columns at the left that hold text; the others hold figures.
    """
    kept = [i for i in range(len(head)) if i < words or any(row[i] != UNKNOWN for row in rows)]
    top = "".join(f'<th scope="col">{escape(head[i])}</th>' for i in kept)
    body = "\n".join(f"<tr>{''.join(_cell(row[i]) for i in kept)}</tr>" for row in rows)
    return (
        f'<div class="wide"><table class="words{words}">\n<thead><tr>{top}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def _cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return f"<td>{escape(cell)}</td>"
    if isinstance(cell, Link):
        return f'<td><a href="#{escape(cell.anchor)}">{escape(cell.text)}</a></td>'
    text, heat = cell
    color = int(plots.WAIT_COLOR[1:], 16).to_bytes(3, "big")
    rgb = ",".join(map(str, color))
    return f'<td style="background:rgba({rgb},{_DARKEST * heat:.3f})">{escape(text)}</td>'


def more(n: int, which: str) -> str:
    """Return the sentence below a table that leaves out ``n`` rows; nothing if it leaves out none."""
    return f"\n<p>and {n:,} more, {which}</p>" if n > 0 else ""


def listing(lines: Sequence[tuple[int, str, str, str]]) -> str:
    """Return lines of source text; dots stand for lines left out between them.

    Args:
        lines: number, text, a note beside it, and the anchor that links use; either of the last may be empty.
    """
    digits = len(str(lines[-1][0]))
    shown, before = [], lines[0][0] - 1
    for number, text, word, anchor in lines:
        if number != before + 1:
            shown.append(f"<span><i>{'...':>{digits}}</i></span>")
        mark = f' class="hot" id="{escape(anchor)}"' if anchor else ""
        aside = escape(f"{number:>{digits}}  {word:>7}  ")
        shown.append(f"<span{mark}><i>{aside}</i>{escape(text)}</span>")
        before = number
    # Without line breaks between them, since each is a block.
    return f"<pre>{''.join(shown)}</pre>"


def escape(text: object) -> str:
    """Return text as HTML."""
    return html.escape(printable(str(text)), quote=True)


def image(ax: Axes, text: str) -> str:
    """Return a picture embedded in the page, with its alternative text."""
    png = io.BytesIO()
    ax.figure.canvas.print_figure(png, format="png", dpi=_DPI, metadata={"Software": None})
    data = base64.b64encode(png.getvalue()).decode("ascii")
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{data}">'
