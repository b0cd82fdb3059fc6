"""Pictures of a trace, drawn with matplotlib (``pip install 'gilscope[plot]'``).

Each function takes what the helpers of `gilscope.analysis` take and returns a matplotlib ``Axes``. Without
``ax`` it makes a figure of its own, which touches neither pyplot nor its backend:
``ax.figure.savefig("picture.png")`` writes it. Pass ``ax=pyplot.gca()`` to see it in a window or notebook.

Colours are those of Okabe and Ito, which colour-blind people can tell apart; a word has the same colour in
every picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gilscope import analysis, schema
from gilscope.analysis.gils import NO_TIME, RUN, WAIT
from gilscope.analysis.source import AnyTrace, Source, as_recording, codes, of
from gilscope.analysis.spans import Coverage, Int, Mask
from gilscope.errors import GilscopeError, OptionError
from gilscope.units import duration, printable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

__all__ = ["available", "handoff_latency", "sweep", "threads", "timeline", "usage"]

RUN_COLOR = "#0072B2"
WAIT_COLOR = "#E69F00"
OFF_COLOR = "#D9D9D9"  # nothing happens: grey, not a colour of the palette
OVERHEAD_COLOR = "#D55E00"
INTERVAL_COLOR = "#CC79A7"
COLORS = {"run": RUN_COLOR, "wait": WAIT_COLOR, "off": OFF_COLOR, "overhead": OVERHEAD_COLOR}
"""The colour of each word, everywhere."""

MOST_LANES = 30
MOST_BARS = 2000
"""A lane with more bars than this is drawn as shares of its pixels."""
MOST_LINES = 200
"""More hand-offs than this are not drawn one by one."""
MOST_WINDOWS = 20_000
"""More points than this are more than any picture shows."""
_PIXELS = 1000
_FEW_BARS = 300
_SHORTEST = 1000  # nanoseconds on an axis of time
_CANDIDATES = 100_000  # windows looked at in search of the most contended one
_INCHES = 9.0
_RUN_HEIGHT, _WAIT_HEIGHT = 0.8, 0.44
_MOST_LETTERS = 24
_MOST_INTERVALS = 3
_BINS_PER_DECADE = 20
_CPYTHON_NS = 5_000_000  # its own switch interval
_LINES = ("-", "--")

_Floats = npt.NDArray[np.float64]


def available() -> bool:
    """Tell whether matplotlib is installed.

    Example:
        >>> from gilscope import plots
        >>> plots.available()
        True
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def timeline(t: AnyTrace, around: float | None = None, width: float = 0.1, ax: Axes | None = None) -> Axes:
    """Draw who ran and who waited in a stretch of the trace, one lane per thread.

    High bars are runs, low bars are waits, grey lines the rest of each thread's life, thin lines hand-offs
    (where there are at most `MOST_LINES`). A lane with more than `MOST_BARS` bars shows for each pixel how
    much of it the thread ran and waited. Of more than `MOST_LANES` threads the busiest are shown.

    Args:
        t: a trace, its path, or its tables.
        around: the instant in the middle, in seconds since the start; None for where threads wait most.
        width: how much of the trace to show, in seconds; all of it if it is shorter.
        ax: where to draw; None for a figure of its own.

    Returns:
        The axes.

    Raises:
        OptionError: an argument has a value that cannot be used, such as an instant outside the trace.
        GilscopeError: matplotlib is missing.

    Example:
        >>> import gilscope
        >>> from gilscope import plots
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> [label.get_text() for label in plots.timeline(t, width=0.01).get_yticklabels()]
        ['MainThread']
    """
    source = of(t)
    stretch = _stretch(source, around, width)
    bars = _Bars.of(source).within(*stretch)
    known = np.unique(np.concatenate([source.numbers(name, "thread") for name in ("threads", "intervals")]))
    lanes = _busiest(known, bars, len(source.names))
    ax = _axes(ax, 1.3 + 0.36 * max(len(lanes), 2))
    _draw_lives(ax, source, lanes)
    for y, thread in enumerate(lanes):
        _draw_lane(ax, y, thread, bars.of_thread(thread), stretch)
    marks = [*map(_patch, ("run", "wait", "off")), *_draw_handoffs(ax, source, lanes, stretch)]
    _label_lanes(ax, [source.names[thread] for thread in lanes], len(known))
    _label_time(ax, *stretch)
    if not len(bars.thread):
        _say(ax, "no thread ran or waited")
    _finish(ax, _timeline_title(source, around, stretch), marks)
    return ax


def handoff_latency(t: AnyTrace, ax: Axes | None = None) -> Axes:
    """Draw how long new holders of the GIL had waited for it, beside the switch intervals in force.

    Bars count the hand-offs, the line adds them up from the left. Hand-offs to a thread that did not wait are
    left out. Of more than three switch intervals those longest in force are marked.

    Args:
        t: a trace, its path, its tables, or its table ``handoffs``.
        ax: where to draw; None for a figure of its own.

    Returns:
        The axes of the bars.

    Raises:
        OptionError: ``t`` is no trace, or ``ax`` no axes.
        GilscopeError: matplotlib is missing.

    Example:
        >>> import gilscope
        >>> from gilscope import plots
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> plots.handoff_latency(t).get_xscale()
        'log'
    """
    recording = as_recording(t)
    source = of(recording)
    wait = analysis.handoffs(recording)["wait_ns"].dropna().to_numpy(np.int64)
    wait = np.sort(np.maximum(wait, 1))  # a log axis has no zero
    intervals = _intervals(source)
    ax = _axes(ax, 3.6)
    low, high = _decades([*wait[[0, -1]], *intervals] if len(wait) else [1_000, 10_000_000, *intervals])
    bins = np.logspace(low, high, (high - low) * _BINS_PER_DECADE + 1)
    ax.hist(wait, bins=bins.tolist(), color=WAIT_COLOR)
    _label_decades(ax, low, high)
    ax.set_xlabel("wait of the new holder, from its request to its acquire (time, log scale)")
    ax.set_ylabel("hand-offs (count)")
    ax.locator_params(axis="y", integer=True)
    marks = [_patch("wait", "hand-offs"), *_draw_cumulated(ax, wait), *_draw_intervals(ax, intervals)]
    if not len(wait):
        ax.set_yticks([])
        _say(ax, "no hand-off ended a wait" if source.exact else "sampled edges see no waits one by one")
    _finish(ax, f"Waits that ended in a hand-off: {len(wait):,}", marks)
    return ax


def threads(t: AnyTrace, ax: Axes | None = None) -> Axes:
    """Draw how each thread spent its life: running, waiting for the GIL, or off; the busiest on top.

    Of more than `MOST_LANES` threads those that ran and waited longest are shown.

    Args:
        t: a trace, its path, or its tables.
        ax: where to draw; None for a figure of its own.

    Returns:
        The axes.

    Raises:
        OptionError: ``t`` is no trace, or ``ax`` no axes.
        GilscopeError: matplotlib is missing.

    Example:
        >>> import gilscope
        >>> from gilscope import plots
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> len(plots.threads(t).containers)
        3
    """
    rows = analysis.threads(as_recording(t))
    shown = rows.assign(busy=rows.run_ns + rows.wait_ns).sort_values("busy", ascending=False, kind="stable")
    shown = shown[:MOST_LANES]
    ax = _axes(ax, 1.3 + 0.3 * max(len(shown), 2))
    left = np.zeros(len(shown))
    for word in ("run", "wait", "off"):
        share = 100 * shown[f"{word}_share"].fillna(0.0).to_numpy(np.float64)
        ax.barh(np.arange(len(shown)), share, left=left, height=0.7, color=COLORS[word], label=word)
        left += share
    _label_lanes(ax, shown["thread_name"].tolist(), len(rows))
    ax.set_xlim(0, 100)
    ax.set_xlabel("share of the thread's life (%)")
    if not len(shown):
        _say(ax, "no threads")
    _finish(ax, "How threads spent their time", [_patch(word) for word in ("run", "wait", "off")])
    return ax


def usage(t: AnyTrace, window: float | None = None, ax: Axes | None = None) -> Axes:
    """Draw over time how much of it the GIL was held, and lost to hand-offs, and how many threads waited.

    Args:
        t: a trace, its path, or its tables.
        window: seconds over which to take means; None for a hundredth of the trace.
        ax: where to draw; None for a figure of its own.

    Returns:
        The axes of the shares; the threads that waited are on a twin of it.

    Raises:
        OptionError: the window is no length above zero, or makes more than `MOST_WINDOWS` windows.
        GilscopeError: matplotlib is missing.

    Example:
        >>> import gilscope
        >>> from gilscope import plots
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> plots.usage(t).get_ylabel()
        'share of time (%)'
    """
    recording = as_recording(t)
    whole = max(of(recording).duration, _SHORTEST)
    # Rounded up: the last window is not to be one of a few nanoseconds.
    window = math.ceil(whole / 100) / 1e9 if window is None else window
    if not _is_number(window) or (window > 0 and whole / 1e9 / window > MOST_WINDOWS):
        raise OptionError(f"window must be seconds that make at most {MOST_WINDOWS} windows, got {window!r}")
    frame = analysis.overhead(recording, by=window)
    edges = np.append(frame["start_ns"].to_numpy(), whole) / 1e9
    held, lost, waiters = (
        _steps(frame[name].to_numpy(np.float64)) for name in ("held_share", "overhead_share", "mean_waiters")
    )
    ax = _axes(ax, 3.6)
    _draw_stack(ax, edges, {"run": 100 * held, "overhead": 100 * lost})
    _label_time(ax, 0, whole)
    marks = [_patch("run", "held (run)"), _patch("overhead"), _draw_waiters(ax, edges, waiters)]
    if not np.isfinite(held).any():
        _say(ax, "an empty trace")
    _finish(ax, f"The GIL over time, means over {duration(1e9 * window)}", marks)
    return ax


def sweep(summary: pd.DataFrame, metric: str = "wall time (s)", ax: Axes | None = None) -> Axes:
    """Draw what a sweep measured against the switch interval, and the waits of its threads.

    The line is the median of the metric, the band its 95 % interval; thin lines are the 99 % quantiles of
    the waits of each thread that waited longest.

    Args:
        summary: `gilscope.sweeping.Sweep.summary`, one row per interval.
        metric: what the metric is, with its unit.
        ax: where to draw; None for a figure of its own.

    Returns:
        The axes of the metric; waits are on a twin of it.

    Raises:
        OptionError: there is nothing to draw, or ``ax`` is no axes.
        GilscopeError: matplotlib is missing.

    Example:
        >>> import gilscope
        >>> from gilscope import plots
        >>> result = gilscope.sweep(lambda: sum(range(1000)), [0.001, 0.005], repeats=2, quiet=True)
        >>> plots.sweep(result.summary()).get_xscale()
        'log'
    """
    if not len(summary):
        raise OptionError("a sweep without runs cannot be drawn: expected a row per switch interval")
    rows = summary.sort_values("interval_ns")
    ax = _axes(ax, 3.8)
    interval = rows["interval_ns"].to_numpy(np.float64)
    ax.fill_between(interval, rows["metric_low"], rows["metric_high"], color=RUN_COLOR, alpha=0.25, lw=0)
    [line] = ax.plot(interval, rows["metric"], color=RUN_COLOR, marker="o", label=metric)
    _label_decades(ax, *_decades(interval.tolist()))
    ax.set_ylim(bottom=0)
    ax.set_xlabel("switch interval (time, log scale)")
    ax.set_ylabel(f"{metric}, median and 95 %")
    marks = [line, *_draw_swept_waits(ax, rows), *_draw_intervals(ax, [_CPYTHON_NS])]
    _finish(ax, "What the switch interval changes", marks)
    return ax


def _draw_swept_waits(ax: Axes, rows: pd.DataFrame) -> list[Artist]:
    waits = [c for c in rows if str(c).startswith("wait_p99_ns_") and rows[c].notna().any()]
    waits = sorted(waits, key=lambda c: -rows[c].max())[: len(_LINES)]
    if not waits:
        return []
    twin = _twin(ax, "wait for the GIL, 99 % (ms, log scale)")
    twin.set_yscale("log")
    marks: list[Artist] = []
    for column, style in zip(waits, _LINES, strict=False):
        [name] = _drawable([str(column).removeprefix("wait_p99_ns_")])
        waited = rows[column].to_numpy(np.float64) / 1e6
        marks += twin.plot(rows["interval_ns"], waited, style, color=WAIT_COLOR, label=f"{name} waits, 99 %")
    return marks


@dataclass(frozen=True)
class _Bars:
    """Runs and waits as arrays of one length, in nanoseconds of the trace."""

    thread: Int
    state: npt.NDArray[np.int8]
    start: Int
    end: Int

    @staticmethod
    def of(source: Source) -> _Bars:
        start = source.numbers("intervals", "start_ns")
        state = codes(source.table("intervals")["state"], schema.STATES)
        thread = source.numbers("intervals", "thread")
        return _Bars(thread, state, start, start + source.numbers("intervals", "duration_ns"))

    def which(self, rows: Mask) -> _Bars:
        return _Bars(self.thread[rows], self.state[rows], self.start[rows], self.end[rows])

    def within(self, begin: int, end: int) -> _Bars:
        some = self.which((self.end > begin) & (self.start < end))
        return _Bars(some.thread, some.state, np.maximum(some.start, begin), np.minimum(some.end, end))

    def of_thread(self, thread: int) -> _Bars:
        return self.which(self.thread == thread)

    def in_state(self, state: int) -> _Bars:
        return self.which(self.state == state)


def _stretch(source: Source, around: float | None, width: float) -> tuple[int, int]:
    """Return the first and last instant of a timeline, in nanoseconds.

    Raises:
        OptionError: there is no such stretch.
    """
    if not _is_number(width) or not 0 < width < 1e9:
        raise OptionError(f"width must be a number of seconds above zero, got {width!r}")
    whole = max(source.duration, _SHORTEST)
    length = min(max(round(width * 1e9), _SHORTEST), whole)
    if around is None:
        begin = _most_contended(source, length)
    elif _is_number(around) and 0 <= around <= whole / 1e9:
        begin = round(around * 1e9) - length // 2
    else:
        raise OptionError(
            f"around must be an instant of the trace (0 to {whole / 1e9:g} seconds) or None, got {around!r}"
        )
    begin = min(max(begin, 0), whole - length)
    return begin, begin + length


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _most_contended(source: Source, length: int) -> int:
    """Return the begin of the stretch of a length in which threads wait most."""
    waits = _Bars.of(source).in_state(WAIT)
    step = max(length // 10, source.duration // _CANDIDATES, 1)
    begin = np.arange(0, max(source.duration - length, 0) + 1, step, dtype=np.int64)
    return int(begin[Coverage(waits.start, waits.end).within(begin, begin + length).argmax()])


def _busiest(known: Int, bars: _Bars, n: int) -> list[int]:
    """Return the threads to show, by number: those that run and wait longest in the stretch."""
    busy = np.bincount(bars.thread, (bars.end - bars.start).astype(np.float64), minlength=n)
    shown: list[int] = np.sort(known[np.argsort(-busy[known], kind="stable")][:MOST_LANES]).tolist()
    return shown


def _draw_lane(ax: Axes, y: int, thread: int, bars: _Bars, stretch: tuple[int, int]) -> None:
    if len(bars.thread) > MOST_BARS:
        _draw_shares(ax, y, thread, bars, stretch)
        return
    # With an edge, what is narrower than a pixel is seen all the same.
    edge = 0.8 if len(bars.thread) <= _FEW_BARS else 0.0
    for word, state, height in (("wait", WAIT, _WAIT_HEIGHT), ("run", RUN, _RUN_HEIGHT)):
        some = bars.in_state(state)
        spans = np.column_stack((some.start, some.end - some.start)) / 1e9
        if len(spans):
            at = (y - height / 2, height)
            ax.broken_barh(
                [tuple(s) for s in spans.tolist()], at, color=COLORS[word], lw=edge, gid=f"{word} {thread}"
            )


def _draw_shares(ax: Axes, y: int, thread: int, bars: _Bars, stretch: tuple[int, int]) -> None:
    """Draw a lane with too many bars: each pixel as high as the thread ran and waited in it."""
    edges = np.unique(np.linspace(*stretch, _PIXELS + 1).astype(np.int64))
    low = np.full(len(edges), y + _RUN_HEIGHT / 2)
    for word, state in (("run", RUN), ("wait", WAIT)):
        some = bars.in_state(state)
        share = np.diff(Coverage(some.start, some.end).until(edges)) / np.diff(edges)
        high = low - _RUN_HEIGHT * _steps(share)
        ax.fill_between(edges / 1e9, low, high, step="post", color=COLORS[word], lw=0, gid=f"{word} {thread}")
        low = high


def _steps(values: _Floats) -> _Floats:
    """Return values of windows as values at their edges, the last one twice."""
    return np.append(values, values[-1:] if len(values) else [np.nan])


def _draw_lives(ax: Axes, source: Source, lanes: list[int]) -> None:
    """Draw a line from the first to the last time each thread was seen."""
    thread, first, last = (source.numbers("threads", name) for name in ("thread", "first_ns", "last_ns"))
    place = {number: y for y, number in enumerate(lanes)}
    rows = zip(thread.tolist(), first.tolist(), last.tolist(), strict=True)
    seen = [(place[t], a / 1e9, b / 1e9) for t, a, b in rows if t in place and NO_TIME not in (a, b)]
    for y, begin, end in seen:
        ax.hlines(y, begin, end, color=OFF_COLOR, lw=2.0, zorder=0.5, gid="life")


def _draw_handoffs(ax: Axes, source: Source, lanes: list[int], stretch: tuple[int, int]) -> list[Artist]:
    """Draw a line from each release to the next holder's acquire; return what the legend needs."""
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    release, acquire, old, new = (
        source.numbers("handoffs", name) for name in ("release_ns", "acquire_ns", "from_thread", "to_thread")
    )
    shown = (release != NO_TIME) & (release >= stretch[0]) & (acquire <= stretch[1])
    shown &= np.isin(old, lanes) & np.isin(new, lanes)
    if not 0 < shown.sum() <= MOST_LINES:
        return []
    place = {thread: y for y, thread in enumerate(lanes)}
    ends = zip(*(a[shown].tolist() for a in (release, old, acquire, new)), strict=True)
    lines = [[(r / 1e9, place[a]), (q / 1e9, place[b])] for r, a, q, b in ends]
    ax.add_collection(LineCollection(lines, colors=_ink(ax), linewidths=0.7, zorder=3, gid="handoffs"))
    return [Line2D([], [], color=_ink(ax), lw=0.7, label="hand-off")]


def _timeline_title(source: Source, around: float | None, stretch: tuple[int, int]) -> str:
    length = stretch[1] - stretch[0]
    if length >= source.duration:
        return "Timeline of the whole trace"
    if around is None:
        return f"Timeline of the {duration(length)} with the most waiting"
    return f"Timeline of {duration(length)} around {around:.3f} s"


def _intervals(source: Source) -> list[int]:
    """Return the switch intervals in force, those longest in force first."""
    since, value = (source.numbers("switch_intervals", name) for name in ("time_ns", "interval_ns"))
    lasted = np.diff(np.append(np.clip(since, 0, source.duration), source.duration))
    values, which = np.unique(np.maximum(value, 1), return_inverse=True)
    order = np.argsort(-np.bincount(which, lasted, minlength=len(values)), kind="stable")
    return [int(v) for v in values[order]]


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """Return the powers of ten around some times."""
    low = math.floor(math.log10(min(values)))
    return low, max(math.ceil(math.log10(max(values))), low + 1)


def _label_decades(ax: Axes, low: int, high: int) -> None:
    from matplotlib.ticker import NullFormatter

    ax.set_xscale("log")
    ax.set_xlim(10.0**low, 10.0**high)
    at = [10.0**n for n in range(low, high + 1)]
    ax.set_xticks(at, [duration(ns).replace(".00", "").replace(".0", "") for ns in at])
    ax.xaxis.set_minor_formatter(NullFormatter())


def _draw_cumulated(ax: Axes, wait: Int) -> list[Artist]:
    """Draw how many waits were up to so long, on a twin axis; return what the legend needs."""
    twin = _twin(ax, "cumulated (%)")
    twin.set_ylim(0, 105)
    if not len(wait):
        return []
    at = np.unique(np.linspace(0, len(wait) - 1, min(len(wait), _PIXELS)).astype(np.int64))
    x, y = np.append(wait[:1], wait[at]), np.append(0.0, 100 * (at + 1) / len(wait))
    return list(twin.plot(x, y, drawstyle="steps-post", color=_ink(ax), lw=1.2, label="cumulated"))


def _draw_intervals(ax: Axes, intervals: list[int]) -> list[Artist]:
    more = len(intervals) - _MOST_INTERVALS
    marks: list[Artist] = []
    for ns, style in zip(intervals, ("--", ":", "-."), strict=False):
        label = f"switch interval {duration(ns)}"
        marks.append(ax.axvline(ns, color=INTERVAL_COLOR, ls=style, lw=1.6, label=label))
    if more > 0:
        marks[-1].set_label(f"{marks[-1].get_label()} (and {more} more)")
    return marks


def _draw_stack(ax: Axes, edges: _Floats, shares: dict[str, _Floats]) -> None:
    low = np.zeros(len(edges))
    for word, share in shares.items():
        ax.fill_between(edges, low, low + share, step="post", color=COLORS[word], lw=0, gid=word)
        low = low + share
    ax.set_ylim(0, 100)
    ax.set_ylabel("share of time (%)")


def _draw_waiters(ax: Axes, edges: _Floats, waiters: _Floats) -> Artist:
    from matplotlib.patheffects import withStroke

    twin = _twin(ax, "threads waiting (mean)")
    (line,) = twin.plot(edges, waiters, drawstyle="steps-post", color=WAIT_COLOR, lw=1.8, label="waiting")
    line.set_path_effects([withStroke(linewidth=3.2, foreground="white")])
    most = waiters[np.isfinite(waiters)].max(initial=0.0)
    twin.set_ylim(0, 1.1 * max(float(most), 1.0))
    return line


def _axes(ax: Any, height: float) -> Axes:
    """Return the axes to draw on: those given, or those of a new figure.

    Raises:
        OptionError: what was given are no axes.
        GilscopeError: matplotlib is missing.
    """
    if not available():
        raise GilscopeError("plots need matplotlib, which is not installed: pip install 'gilscope[plot]'")
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if ax is None:
        figure = Figure(figsize=(_INCHES, height), layout="constrained")
        FigureCanvasAgg(figure)
        return figure.add_subplot()
    if not isinstance(ax, Axes):
        raise OptionError(f"ax must be matplotlib axes or None, got {type(ax).__name__}")
    return ax


def _twin(ax: Axes, label: str) -> Axes:
    twin = ax.twinx()
    twin.set_ylabel(label)
    twin.spines["top"].set_visible(False)
    return twin


def _ink(ax: Axes) -> Any:
    """Return the colour of text, which is not black in every style."""
    return ax.xaxis.label.get_color()


def _patch(word: str, label: str | None = None) -> Artist:
    from matplotlib.patches import Patch

    return Patch(color=COLORS[word], label=label or word)


def _label_lanes(ax: Axes, names: list[str], known: int) -> None:
    ax.set_ylim(max(len(names), 1) - 0.5, -0.5)
    # Names are not formulas, whatever dollar signs are in them.
    ax.set_yticks(range(len(names)), _drawable(names), parse_math=False)
    ax.tick_params(axis="y", length=0)
    if len(names) < known:
        ax.set_ylabel(f"the {len(names)} busiest of {known:,} threads")


def _drawable(names: list[str]) -> list[str]:
    """Return names that are not too long, in letters that the font has."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    fonts = [get_font(findfont(FontProperties(family=[f]))) for f in FontProperties().get_family()]
    names = [printable(name) for name in names]
    letters = {c: any(font.get_char_index(ord(c)) for font in fonts) for c in set("".join(names))}
    names = ["".join(c if letters[c] else ascii(c)[1:-1] for c in name) for name in names]
    return [
        n if len(n) <= _MOST_LETTERS else n[: _MOST_LETTERS - 1] + "\N{HORIZONTAL ELLIPSIS}" for n in names
    ]


def _label_time(ax: Axes, begin: int, end: int) -> None:
    ax.set_xlim(begin / 1e9, end / 1e9)
    ax.ticklabel_format(axis="x", style="plain", useOffset=False)
    ax.locator_params(axis="x", nbins=8)
    ax.set_xlabel("time since the start of the trace (s)")


def _say(ax: Axes, text: str) -> None:
    """Say in the middle of a picture why there is nothing in it."""
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", style="italic")


def _finish(ax: Axes, title: str, marks: Sequence[Artist]) -> None:
    """Put title and legend above the picture, where they cover nothing."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.set_axisbelow(True)
    ax.set_title(title, loc="left", pad=24)
    ax.legend(
        handles=list(marks),
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=max(len(marks), 1),
        frameon=False,
        fontsize="small",
        borderaxespad=0.1,
    )
