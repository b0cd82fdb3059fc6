"""The report: what a trace says, for people and for programs."""

from __future__ import annotations

import io
import json
import math
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gilscope import analysis

if TYPE_CHECKING:
    import pandas as pd

    from gilscope.recording import Recording

WIDTH = 100
MOST_THREADS = 16


def duration(ns: float | None) -> str:
    """Say a number of nanoseconds with three digits and a unit.

    Example:
        >>> duration(5_049_300)
        '5.05 ms'
        >>> duration(None)
        '-'
    """
    if ns is None or math.isnan(ns):
        return "-"
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if abs(ns) >= size * 0.9995:
            value = ns / size
            return f"{value:.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f} {unit}"
    return f"{ns:.0f} ns"


def _percent(share: float, low: Any = None, high: Any = None) -> str:
    text = f"{100 * share:.1f} %"
    return text if low is None else f"{text} ({100 * low:.1f}-{100 * high:.1f})"


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them: null for what is not known."""
    rows: list[dict[str, Any]] = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return rows


def as_json(t: Recording) -> str:
    """Return the figures of the report as a JSON object.

    Keys: ``metadata``, ``overhead`` (see `gilscope.analysis.overhead`), ``threads``
    (`gilscope.analysis.threads`), ``longest_waits``, ``switch_intervals``.
    """
    figures = {
        "metadata": t.metadata,
        "overhead": _records(analysis.overhead(t))[0],
        "threads": _records(analysis.threads(t)),
        "longest_waits": _records(analysis.longest_waits(t)),
        "switch_intervals": t.switch_intervals.to_pylist(),
    }
    return json.dumps(figures, indent=2, default=_plain, allow_nan=False)


def _plain(value: Any) -> Any:
    """Turn NumPy's numbers into Python's."""
    return value.item()


def text(t: Recording, *, color: bool = False) -> str:
    """Return the report as text, at most `WIDTH` columns wide.

    Args:
        t: a trace.
        color: mark what matters with terminal colours.
    """
    console = Console(
        file=io.StringIO(),
        width=WIDTH,
        force_terminal=color,
        color_system="standard" if color else None,
        highlight=False,
    )
    overhead = analysis.overhead(t).iloc[0]
    console.print(Text(_headline(t), style="bold"))
    console.print(Text(_gil_lines(t, overhead)))
    console.print(_thread_table(t))
    _print_waits(console, t)
    for sentence in t.metadata["not_measured"]:
        console.print(Text(f"Note: {sentence}.", style="yellow"))
    out = console.file
    assert isinstance(out, io.StringIO)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _headline(t: Recording) -> str:
    m = t.metadata
    values = [duration(v) for v in t.switch_intervals["interval_ns"].to_pylist()]
    shown = values if len(values) <= 4 else [*values[:3], f"... ({len(values)} values)"]
    n = t.threads.num_rows
    return (
        f"gilscope {m['gilscope_version']} · CPython {m['python_version']} · {duration(m['duration_ns'])} · "
        f"{m['edges']} edges · switch interval {', then '.join(shown)} · {n} thread{'s' if n != 1 else ''}"
    )


def _gil_lines(t: Recording, o: pd.Series[Any]) -> str:
    exact = t.metadata["edges"] == "exact"

    def share(word: str) -> str:
        bounds = () if exact else (o[f"{word}_share_low"], o[f"{word}_share_high"])
        return _percent(o[f"{word}_share"], *bounds)

    lines = [
        f"held {share('held')}   free {_percent(o.free_share)}   "
        f"{o.mean_waiters:.2f} threads waiting on average",
        f"hand-off overhead {share('overhead')}: free for {duration(o.overhead_ns)} while somebody waited",
    ]
    handoffs = f"{int(o.handoffs)} hand-offs ({o.handoffs_per_s:.0f}/s)"
    if exact:
        voluntary = int(o.handoffs - o.forced)
        lines.append(f"{handoffs}: {int(o.forced)} forced, {voluntary} voluntary; {int(o.steals)} steals")
        lines.append(
            f"gap while somebody waited: p50 {duration(o.gap_p50_ns)}, p99 {duration(o.gap_p99_ns)}, "
            f"longest {duration(o.gap_max_ns)}"
        )
    else:
        lines.append(f"{handoffs}, counted by the GIL itself")
    return "The GIL   " + "\n          ".join(lines)


def _thread_table(t: Recording) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("thread", overflow="ellipsis", no_wrap=True, max_width=28)
    for column in ("run", "wait", "off", "holds", "longest", "wait p50", "p99", "slowdown"):
        table.add_column(column, justify="right", no_wrap=True)
    rows = analysis.threads(t)
    # What matters is who uses the GIL or wants it; a server may have had thousands of threads.
    rows = rows.assign(busy=rows.run_ns + rows.wait_ns).sort_values("busy", ascending=False, kind="stable")
    for row in rows[:MOST_THREADS].itertuples():
        table.add_row(*_thread_cells(row, exact=t.metadata["edges"] == "exact"))
    rest = rows[MOST_THREADS:]
    if len(rest):
        run, wait = (f"{100 * rest[f'{word}_share'].sum():.1f} %" for word in ("run", "wait"))
        longest = duration(rest.longest_ns.max())
        table.add_row(f"and {len(rest)} more", run, wait, "", str(rest.holds.sum()), longest)
    return table


def _thread_cells(row: Any, *, exact: bool) -> list[str | Text]:
    def share(word: str) -> str:
        text = f"{100 * getattr(row, f'{word}_share'):.1f} %"
        if exact or word == "off":
            return text
        half = (getattr(row, f"{word}_share_high") - getattr(row, f"{word}_share_low")) / 2
        return f"{text} ±{100 * half:.1f}"

    return [
        Text(_printable(row.thread_name)),
        *(share(word) for word in ("run", "wait", "off")),
        str(row.holds),
        duration(row.longest_ns),
        duration(row.wait_p50_ns),
        duration(row.wait_p99_ns),
        "-" if math.isnan(row.slowdown) else f"{row.slowdown:.3g} x",
    ]


def _print_waits(console: Console, t: Recording) -> None:
    waits = analysis.longest_waits(t)
    if not len(waits):
        return
    console.print(Text("Longest waits", style="bold"))
    for w in waits.itertuples():
        holder = (
            f"{_printable(w.holder_name)} held the GIL for {duration(w.holder_ns)} of it"
            if w.holder_name is not None
            else "nobody was seen to hold the GIL"
        )
        who = f"{_printable(w.thread_name)} at {w.start_ns / 1e9:.3f} s"
        line = f"  {duration(w.duration_ns):>8}  {who}: {holder}"
        console.print(Text(line), no_wrap=True, overflow="ellipsis")


def _printable(name: str) -> str:
    """Show control characters of a thread's name instead of sending them to the terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)
