"""The timeline: one lane per thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gilscope.analysis.inputs import AnyTrace
from gilscope.analysis.observed import ObservedTrace, codes, observe
from gilscope.errors import OptionError
from gilscope.plots.canvas import (
    COLORS,
    MOST_LANES,
    OFF_COLOR,
    PIXELS,
    SHORTEST_NS,
    axes,
    explain,
    finish,
    ink,
    is_number,
    label_lanes,
    label_time,
    patch,
    steps,
)
from gilscope.tables import schema
from gilscope.tables.rows import NO_TIME, RUN, WAIT
from gilscope.tables.spans import Coverage, Int, Mask, group_sums
from gilscope.units import duration

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

MOST_BARS = 2000
"""A lane with more bars than this is drawn as shares per pixel."""
MOST_LINES = 200
"""More hand-offs than this are not drawn."""
_FEW_BARS = 300
_CANDIDATES = 100_000  # windows compared to find the most contended one
_RUN_HEIGHT, _WAIT_HEIGHT = 0.8, 0.44


def timeline(t: AnyTrace, around: float | None = None, width: float = 0.1, ax: Axes | None = None) -> Axes:
    """Draw which threads ran and waited in a stretch of the trace, one lane per thread.

    High bars are runs, low bars are waits, grey lines are the rest of each thread's life, thin lines are
    hand-offs (at most `MOST_LINES`, else none). A lane with more than `MOST_BARS` bars shows the shares of
    run and wait per pixel. Of more than `MOST_LANES` threads only the busiest are shown.

    Args:
        t: a trace, its path, or its tables.
        around: the instant in the middle, in seconds since the start; None where threads wait most.
        width: length of the stretch in seconds; a shorter trace is shown whole.
        ax: where to draw; None for a figure of its own.

    Returns:
        The axes.

    Raises:
        OptionError: if an argument is out of range, such as an instant outside the trace.
        GilscopeError: if matplotlib is missing.

    Example:
        >>> import gilscope
        >>> from gilscope import plots
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> [label.get_text() for label in plots.timeline(t, width=0.01).get_yticklabels()]
        ['MainThread']
    """
    trace = observe(t)
    stretch = _stretch(trace, around, width)
    bars = _Bars.of(trace).within(*stretch)
    known = np.unique(np.concatenate([trace.numbers(name, "thread") for name in ("threads", "intervals")]))
    lanes = _busiest(known, bars, len(trace.names))
    ax = axes(ax, 1.3 + 0.36 * max(len(lanes), 2))
    _draw_lives(ax, trace, lanes)
    for y, thread in enumerate(lanes):
        _draw_lane(ax, y, thread, bars.of_thread(thread), stretch)
    marks = [*map(patch, ("run", "wait", "off")), *_draw_handoffs(ax, trace, lanes, stretch)]
    label_lanes(ax, [trace.names[thread] for thread in lanes], len(known))
    label_time(ax, *stretch)
    if not len(bars.thread):
        explain(ax, "no thread ran or waited")
    finish(ax, _timeline_title(trace, around, stretch), marks)
    return ax


@dataclass(frozen=True)
class _Bars:
    """Runs and waits as arrays of one length, in nanoseconds of the trace."""

    thread: Int
    state: npt.NDArray[np.int8]
    start: Int
    end: Int

    @staticmethod
    def of(trace: ObservedTrace) -> _Bars:
        start = trace.numbers("intervals", "start_ns")
        state = codes(trace.table("intervals")["state"], schema.STATES)
        thread = trace.numbers("intervals", "thread")
        return _Bars(thread, state, start, start + trace.numbers("intervals", "duration_ns"))

    def which(self, rows: Mask) -> _Bars:
        return _Bars(self.thread[rows], self.state[rows], self.start[rows], self.end[rows])

    def within(self, begin: int, end: int) -> _Bars:
        some = self.which((self.end > begin) & (self.start < end))
        return _Bars(some.thread, some.state, np.maximum(some.start, begin), np.minimum(some.end, end))

    def of_thread(self, thread: int) -> _Bars:
        return self.which(self.thread == thread)

    def in_state(self, state: int) -> _Bars:
        return self.which(self.state == state)


def _stretch(trace: ObservedTrace, around: float | None, width: float) -> tuple[int, int]:
    """Return the first and last instant of a timeline, in nanoseconds.

    Raises:
        OptionError: if the stretch is not in the trace.
    """
    if not is_number(width) or not 0 < width < 1e9:
        raise OptionError(f"width must be a number of seconds above zero, got {width!r}")
    whole = max(trace.duration, SHORTEST_NS)
    length = min(max(round(width * 1e9), SHORTEST_NS), whole)
    if around is None:
        begin = _most_contended(trace, length)
    elif is_number(around) and 0 <= around <= whole / 1e9:
        begin = round(around * 1e9) - length // 2
    else:
        raise OptionError(
            f"around must be an instant of the trace (0 to {whole / 1e9:g} seconds) or None, got {around!r}"
        )
    begin = min(max(begin, 0), whole - length)
    return begin, begin + length


def _most_contended(trace: ObservedTrace, length: int) -> int:
    """Return the start of the stretch of a given length in which threads wait most."""
    waits = _Bars.of(trace).in_state(WAIT)
    step = max(length // 10, trace.duration // _CANDIDATES, 1)
    begin = np.arange(0, max(trace.duration - length, 0) + 1, step, dtype=np.int64)
    return int(begin[Coverage(waits.start, waits.end).within(begin, begin + length).argmax()])


def _busiest(known: Int, bars: _Bars, n: int) -> list[int]:
    """Return the numbers of the threads that run and wait longest in the stretch."""
    busy = group_sums(bars.thread, bars.end - bars.start, n)
    shown: list[int] = np.sort(known[np.argsort(-busy[known], kind="stable")][:MOST_LANES]).tolist()
    return shown


def _draw_lane(ax: Axes, y: int, thread: int, bars: _Bars, stretch: tuple[int, int]) -> None:
    if len(bars.thread) > MOST_BARS:
        _draw_shares(ax, y, thread, bars, stretch)
        return
    # An edge makes bars visible that are narrower than a pixel.
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
    """Draw a lane with too many bars as the shares of run and wait per pixel."""
    edges = np.unique(np.linspace(*stretch, PIXELS + 1).astype(np.int64))
    low = np.full(len(edges), y + _RUN_HEIGHT / 2)
    for word, state in (("run", RUN), ("wait", WAIT)):
        some = bars.in_state(state)
        share = np.diff(Coverage(some.start, some.end).until(edges)) / np.diff(edges)
        high = low - _RUN_HEIGHT * steps(share)
        ax.fill_between(edges / 1e9, low, high, step="post", color=COLORS[word], lw=0, gid=f"{word} {thread}")
        low = high


def _draw_lives(ax: Axes, trace: ObservedTrace, lanes: list[int]) -> None:
    """Draw a line from the first to the last time each thread was seen."""
    thread, first, last = (trace.numbers("threads", name) for name in ("thread", "first_ns", "last_ns"))
    place = {number: y for y, number in enumerate(lanes)}
    rows = zip(thread.tolist(), first.tolist(), last.tolist(), strict=True)
    seen = [(place[t], a / 1e9, b / 1e9) for t, a, b in rows if t in place and NO_TIME not in (a, b)]
    for y, begin, end in seen:
        ax.hlines(y, begin, end, color=OFF_COLOR, lw=2.0, zorder=0.5, gid="life")


def _draw_handoffs(
    ax: Axes, trace: ObservedTrace, lanes: list[int], stretch: tuple[int, int]
) -> list[Artist]:
    """Draw a line from each release to the next holder's acquire; return entries for the legend."""
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    release, acquire, old, new = (
        trace.numbers("handoffs", name) for name in ("release_ns", "acquire_ns", "from_thread", "to_thread")
    )
    shown = (release != NO_TIME) & (release >= stretch[0]) & (acquire <= stretch[1])
    shown &= np.isin(old, lanes) & np.isin(new, lanes)
    if not 0 < shown.sum() <= MOST_LINES:
        return []
    place = {thread: y for y, thread in enumerate(lanes)}
    ends = zip(*(a[shown].tolist() for a in (release, old, acquire, new)), strict=True)
    lines = [[(r / 1e9, place[a]), (q / 1e9, place[b])] for r, a, q, b in ends]
    ax.add_collection(LineCollection(lines, colors=ink(ax), linewidths=0.7, zorder=3, gid="handoffs"))
    return [Line2D([], [], color=ink(ax), lw=0.7, label="hand-off")]


def _timeline_title(trace: ObservedTrace, around: float | None, stretch: tuple[int, int]) -> str:
    length = stretch[1] - stretch[0]
    if length >= trace.duration:
        return "Timeline of the whole trace"
    if around is None:
        return f"Timeline of the {duration(length)} with the most waiting"
    return f"Timeline of {duration(length)} around {around:.3f} s"
