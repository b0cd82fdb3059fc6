"""The report as one page of HTML: nothing in it comes from elsewhere, so that it can be mailed and kept."""

from __future__ import annotations

import base64
import datetime
import html
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gilscope import analysis, plots
from gilscope.analysis.inputs import AnyTrace, as_recording
from gilscope.errors import OptionError
from gilscope.units import duration, percent, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gilscope.recording import Recording

__all__ = ["page"]

MOST_THREADS = 200
MOST_BLAMED = 20
"""A matrix of more threads shows so many, and adds up the others."""
MOST_HOLDS = 20
MOST_CONVOYS = 20
_DPI = 120
_UNKNOWN = "-"
_DARKEST = 0.55  # of the matrix: text on it stays readable, in light and in dark

_Cell = str | tuple[str, float]
"""Text, or text and a heat from 0 to 1."""

_CSS = """
:root { color-scheme: light dark; --ground: #fff; --card: #f6f7f8; --text: #1a1c1e; --faint: #5a6068;
  --line: #d8dce0; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #15171a; --card: #1e2125; --text: #e4e6e9; --faint: #9aa1aa; --line: #343a41; }
  img { filter: brightness(0.9); }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 70rem; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 0.5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 0.6rem; }
p { margin: 0.3rem 0; }
.faint, dt, th { color: var(--faint); }
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
img { display: block; width: 100%; background: #fff; border: 1px solid var(--line); border-radius: 6px;
  padding: 0.5rem; margin: 0.8rem 0; }
"""

# The page may not load anything, whatever a thread is called.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(t: AnyTrace) -> str:
    """Return the report as an HTML page that needs no other file and no network.

    It has what was recorded, findings, how the GIL spent its time, pictures (see `gilscope.plots`; without
    matplotlib it says that they are missing), threads, who made whom wait, the longest holds, convoys, and
    what was not measured.

    Args:
        t: a trace, its path, or its tables.

    Returns:
        The text of the page; write it with ``encoding="utf-8"``.

    Raises:
        OptionError: ``t`` is none of those.

    Example:
        >>> import gilscope
        >>> from gilscope.html import page
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> page(t).startswith("<!DOCTYPE html>")
        True
    """
    recording = as_recording(t)
    parts = (_head, _findings, _overhead, _pictures, _threads, _blame, _holds, _convoys, _notes)
    body = "\n".join(part(recording) for part in parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_escape(_title(recording))}</title>\n<style>{_CSS}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _title(t: Recording) -> str:
    argv = t.metadata.get("argv") or []
    return f"gilscope: {' '.join(map(str, argv))}" if argv else "gilscope"


def _head(t: Recording) -> str:
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
    return f"<h1>{_escape(_title(t))}</h1>\n{_facts(facts)}"


def _date(ns: int | None) -> str | None:
    if ns is None:
        return None
    return datetime.datetime.fromtimestamp(ns // 10**9, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _findings(t: Recording) -> str:
    cards = [
        f'<div class="finding {_escape(f.severity)}"><p><b>{_escape(f.severity)}</b>{_escape(f.what)}</p>'
        f'<p class="faint">{_escape(f.advice)}</p></div>'
        for f in analysis.findings(t).itertuples()
    ]
    return _section("Findings", "\n".join(cards) or "<p>Nothing that somebody should do something about.</p>")


def _overhead(t: Recording) -> str:
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
    return _section("How the GIL spent its time", _facts(facts))


def _pictures(t: Recording) -> str:
    if not plots.available():
        return _section(
            "Pictures", "<p>Plots need matplotlib: <code>pip install 'gilscope[plot]'</code>.</p>"
        )
    drawn = {
        "who ran and who waited, where threads wait most": plots.timeline(t),
        "the GIL held, lost and waited for, over time": plots.usage(t),
        "the shares of each thread's life": plots.threads(t),
        "how long new holders had waited": plots.handoff_latency(t),
    }
    return _section("Pictures", "\n".join(_image(ax, text) for text, ax in drawn.items()))


def _image(ax: Axes, text: str) -> str:
    png = io.BytesIO()
    ax.figure.canvas.print_figure(png, format="png", dpi=_DPI, metadata={"Software": None})
    data = base64.b64encode(png.getvalue()).decode("ascii")
    return f'<img alt="{_escape(text)}" src="data:image/png;base64,{data}">'


def _threads(t: Recording) -> str:
    rows = analysis.threads(t)
    rows = rows.assign(busy=rows.run_ns + rows.wait_ns).sort_values("busy", ascending=False, kind="stable")
    head = ["thread", "run", "wait", "off", "life", "holds", "longest", "wait p50", "p99", "longest wait"]
    cells = [_thread_cells(row) for _, row in rows[:MOST_THREADS].iterrows()]
    text = _table([*head, "processor", "slowdown"], cells)
    if len(rows) > MOST_THREADS:
        text += f"\n<p>and {len(rows) - MOST_THREADS:,} more, less busy</p>"
    return _section("Threads", text)


def _thread_cells(row: pd.Series[Any]) -> list[_Cell]:
    return [
        row.thread_name,
        *(_share(row, word) for word in ("run", "wait", "off")),
        _time(row.life_ns),
        _number(row.acquires),
        *(_time(row[f"{name}_ns"]) for name in ("longest", "wait_p50", "wait_p99", "wait_max")),
        _time(row.cpu_ns),
        _UNKNOWN if pd.isna(row.slowdown) else f"{row.slowdown:.3g} x",
    ]


def _blame(t: Recording) -> str:
    title = "Who made whom wait"
    try:
        matrix = analysis.blame(t)
    except OptionError as error:
        return _section(title, f"<p>{_escape(str(error))}</p>")
    if not len(matrix):
        return _section(title, "<p>Nobody waited.</p>")
    bounds = [c for c in matrix.columns if str(c).endswith(("_low", "_high"))]
    names = dict(zip(*(analysis.threads(t)[c] for c in ("thread", "thread_name")), strict=True))
    matrix = matrix.drop(columns=bounds)
    hottest = max(float(matrix.to_numpy().max()), 1.0)
    waited, holders = _few(matrix)
    cells: list[list[_Cell]] = [
        [
            names.get(who, str(who)),
            *((_time(ns) if ns else "0", min(ns / hottest, 1.0)) for ns in row),
            _time(sum(row)),
        ]
        for who, row in zip(waited.index, waited.to_numpy().tolist(), strict=True)
    ]
    head = [names.get(h, str(h)) for h in holders]
    text = "<p>How long each thread waited while the one above held the GIL, or while it was free.</p>\n"
    return _section(title, text + _table(["waited", *head, "in all"], cells))


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


def _holds(t: Recording) -> str:
    head = ["thread", "at", "length", "ended", "waiters", "they waited", "went on after a drop request"]
    cells: list[list[_Cell]] = [
        [
            str(h.thread_name),
            _instant(h.start_ns),
            _time(h.duration_ns),
            _UNKNOWN if pd.isna(h.release) else str(h.release),
            _number(h.waiters),
            _time(h.inflicted_ns),
            _time(h.overrun_ns),
        ]
        for h in analysis.holds(t)[:MOST_HOLDS].itertuples()
    ]
    return _section("Longest holds", _table(head, cells) if cells else "<p>Nobody held the GIL.</p>")


def _convoys(t: Recording) -> str:
    head = ["thread", "behind", "from", "to", "rounds", "mean wait", "lost", "its own work and pauses"]
    rows = analysis.convoys(t)
    cells: list[list[_Cell]] = [
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
        _table(head, cells, words=2)
        if cells
        else f"<p>None{'' if exact else ' that sampling could tell'}.</p>"
    )
    if len(rows) > MOST_CONVOYS:
        text += f"\n<p>and {len(rows) - MOST_CONVOYS:,} more, less costly</p>"
    return _section("Convoys", text)


def _notes(t: Recording) -> str:
    notes = [f"<li>{_escape(sentence)}</li>" for sentence in t.metadata.get("not_measured", [])]
    words = (
        "A thread runs when it holds the GIL, waits when it wants it and has not got it, and is off "
        "otherwise. Overhead is the time the GIL is free while somebody waits for it."
    )
    found = f"<ul>{''.join(notes)}</ul>" if notes else "<p>Nothing was left unmeasured.</p>"
    return _section("Notes", f"{found}\n<p class='faint'>{words}</p>")


def _section(title: str, body: str) -> str:
    return f"<section>\n<h2>{_escape(title)}</h2>\n{body}\n</section>"


def _facts(facts: dict[str, str | None]) -> str:
    known = {word: text for word, text in facts.items() if text not in (None, "", _UNKNOWN)}
    cards = (f"<div><dt>{_escape(w)}</dt><dd>{_escape(text)}</dd></div>" for w, text in known.items())
    return f"<dl>{''.join(cards)}</dl>"


def _table(head: Sequence[str], rows: Sequence[Sequence[_Cell]], words: int = 1) -> str:
    """Return a table without the columns that have nothing to say.

    Args:
        head: names of the columns.
        rows: cells.
        words: how many of the first columns are words; the others are figures.
    """
    kept = [i for i in range(len(head)) if i < words or any(row[i] != _UNKNOWN for row in rows)]
    top = "".join(f'<th scope="col">{_escape(head[i])}</th>' for i in kept)
    body = "\n".join(f"<tr>{''.join(_cell(row[i]) for i in kept)}</tr>" for row in rows)
    return (
        f'<div class="wide"><table class="words{words}">\n<thead><tr>{top}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def _cell(cell: _Cell) -> str:
    if isinstance(cell, str):
        return f"<td>{_escape(cell)}</td>"
    text, heat = cell
    color = int(plots.WAIT_COLOR[1:], 16).to_bytes(3, "big")
    rgb = ",".join(map(str, color))
    return f'<td style="background:rgba({rgb},{_DARKEST * heat:.3f})">{_escape(text)}</td>'


def _escape(text: object) -> str:
    return html.escape(printable(str(text)), quote=True)


def _share(row: pd.Series[Any], word: str) -> str:
    """Say a share, with its 95 % interval where it is an estimate."""
    value = row[f"{word}_share"]
    if pd.isna(value):
        return _UNKNOWN
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
        return _UNKNOWN
    return format(int(value) if form == "," else float(np.float64(value)), form)
