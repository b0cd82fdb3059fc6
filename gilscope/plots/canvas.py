"""Axes, colours and labels that all pictures share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gilscope.errors import GilscopeError, OptionError
from gilscope.units import duration, printable

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

RUN_COLOR = "#0072B2"
WAIT_COLOR = "#E69F00"
OFF_COLOR = "#D9D9D9"  # grey is not a colour of the palette: nothing happens
OVERHEAD_COLOR = "#D55E00"
INTERVAL_COLOR = "#CC79A7"
COLORS = {"run": RUN_COLOR, "wait": WAIT_COLOR, "off": OFF_COLOR, "overhead": OVERHEAD_COLOR}
"""Colours by state, the same in every picture."""
MOST_LANES = 30
PIXELS = 1000
"""About the width of a picture."""
SHORTEST_NS = 1000  # nanoseconds on an axis of time
_INCHES = 9.0
_MOST_LETTERS = 24
_MOST_INTERVALS = 3
Floats = npt.NDArray[np.float64]


def available() -> bool:
    """Return whether matplotlib is installed.

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


def is_number(value: object) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def steps(values: Floats) -> Floats:
    """Return values of windows as values at their edges, the last one twice."""
    return np.append(values, values[-1:] if len(values) else [np.nan])


def decades(values: Sequence[float]) -> tuple[int, int]:
    """Return the exponents of the powers of ten that enclose some times."""
    low = math.floor(math.log10(min(values)))
    return low, max(math.ceil(math.log10(max(values))), low + 1)


def label_decades(ax: Axes, low: int, high: int) -> None:
    """Make the x axis a log axis of times from 10**low to 10**high ns, labelled at its decades."""
    from matplotlib.ticker import NullFormatter

    ax.set_xscale("log")
    ax.set_xlim(10.0**low, 10.0**high)
    at = [10.0**n for n in range(low, high + 1)]
    ax.set_xticks(at, [duration(ns).replace(".00", "").replace(".0", "") for ns in at])
    ax.xaxis.set_minor_formatter(NullFormatter())


def draw_intervals(ax: Axes, intervals: list[int]) -> list[Artist]:
    """Mark switch intervals (ns) on the x axis; return entries for the legend."""
    more = len(intervals) - _MOST_INTERVALS
    marks: list[Artist] = []
    for ns, style in zip(intervals, ("--", ":", "-."), strict=False):
        label = f"switch interval {duration(ns)}"
        marks.append(ax.axvline(ns, color=INTERVAL_COLOR, ls=style, lw=1.6, label=label))
    if more > 0:
        marks[-1].set_label(f"{marks[-1].get_label()} (and {more} more)")
    return marks


def draw_stack(ax: Axes, edges: Floats, shares: dict[str, Floats]) -> None:
    """Draw shares over time as a stack, each in the colour of its state."""
    low = np.zeros(len(edges))
    for state, share in shares.items():
        ax.fill_between(edges, low, low + share, step="post", color=COLORS[state], lw=0, gid=state)
        low = low + share
    ax.set_ylim(0, 100)
    ax.set_ylabel("share of time (%)")


def axes(ax: Any, height: float) -> Axes:
    """Return the given axes, or those of a new figure.

    Raises:
        OptionError: if ``ax`` is neither axes nor None.
        GilscopeError: if matplotlib is missing.
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


def twin_axes(ax: Axes, label: str) -> Axes:
    """Return a second y axis on the right, with a label."""
    twin = ax.twinx()
    twin.set_ylabel(label)
    twin.spines["top"].set_visible(False)
    return twin


def ink(ax: Axes) -> Any:
    """Return the colour of text; it depends on the style."""
    return ax.xaxis.label.get_color()


def patch(state: str, label: str | None = None) -> Artist:
    """Return the colour of a state for the legend."""
    from matplotlib.patches import Patch

    return Patch(color=COLORS[state], label=label or state)


def label_lanes(ax: Axes, names: list[str], known: int) -> None:
    """Label the lanes on the y axis with names of threads, and note how many threads are not shown."""
    ax.set_ylim(max(len(names), 1) - 0.5, -0.5)
    # Dollar signs in names do not start a formula.
    ax.set_yticks(range(len(names)), drawable(names), parse_math=False)
    ax.tick_params(axis="y", length=0)
    if len(names) < known:
        ax.set_ylabel(f"the {len(names)} busiest of {known:,} threads")


def drawable(names: list[str]) -> list[str]:
    """Return names cut to a length, with escapes for characters that the font lacks."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    fonts = [get_font(findfont(FontProperties(family=[f]))) for f in FontProperties().get_family()]
    names = [printable(name) for name in names]
    letters = {c: any(font.get_char_index(ord(c)) for font in fonts) for c in set("".join(names))}
    names = ["".join(c if letters[c] else ascii(c)[1:-1] for c in name) for name in names]
    return [
        n if len(n) <= _MOST_LETTERS else n[: _MOST_LETTERS - 1] + "\N{HORIZONTAL ELLIPSIS}" for n in names
    ]


def label_time(ax: Axes, begin: int, end: int) -> None:
    """Make the x axis one of seconds since the start of the trace, between two times in nanoseconds."""
    ax.set_xlim(begin / 1e9, end / 1e9)
    ax.ticklabel_format(axis="x", style="plain", useOffset=False)
    ax.locator_params(axis="x", nbins=8)
    ax.set_xlabel("time since the start of the trace (s)")


def explain(ax: Axes, text: str) -> None:
    """Write in the middle of a picture why it is empty."""
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", style="italic")


def finish(ax: Axes, title: str, marks: Sequence[Artist]) -> None:
    """Put title and legend above the picture."""
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
