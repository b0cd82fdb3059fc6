"""What `gilscope.trace` may be told, checked before anything is touched."""

from __future__ import annotations

import math
import os
from pathlib import Path

from gilscope.errors import OptionError

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from typing import Any, Literal

    Edges = Literal["auto", "exact", "sampled"]


class _DefaultPath(str):
    """The default of ``path``: told apart, by identity, from the same text given by the user."""

    __slots__ = ()


DEFAULT_PATH = _DefaultPath("trace.gilscope")
EDGES = ("auto", "exact", "sampled")
SAMPLED_PERIOD_S = 0.001
EXACT_PERIOD_S = 0.01
WHOLE_STACKS_OVER_S = 1e-4
_MOST_S = 3600.0
_LEAST_PERIOD_S = 1e-5
_MOST_INTERVAL_S = 4294.0  # microseconds in 32 bits


class Options:
    """The arguments of `gilscope.trace`, valid.

    Raises:
        OptionError: an argument has a value that cannot be used.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        edges: str,
        period: float | None,
        switch_interval: float | None,
        overwrite: bool = False,
        quiet: bool = False,
        children: bool = False,
        sites: bool = True,
        stacks_over: float = WHOLE_STACKS_OVER_S,
    ) -> None:
        if path is not None and not isinstance(path, str | os.PathLike):
            raise OptionError(f"path must be a string, a path or None, not {path!r}")
        if isinstance(path, str) and not path:
            raise OptionError("path is empty; give a folder name such as 'run.gilscope', or None")
        if edges not in EDGES:
            raise OptionError(f"edges must be one of {', '.join(map(repr, EDGES))}, not {edges!r}")
        self.path = None if path is None else Path(os.fsdecode(path))
        self.edges = edges
        self.period = None if period is None else seconds_between("period", period, _LEAST_PERIOD_S, _MOST_S)
        self.switch_interval = None if switch_interval is None else valid_interval(switch_interval)
        self.overwrite = bool(overwrite) or path is DEFAULT_PATH
        self.quiet = bool(quiet)
        self.children = bool(children)
        self.sites = bool(sites)
        self.stacks_over = seconds_between("stacks_over", stacks_over, 0.0, _MOST_S)

    def of_children(self) -> dict[str, Any]:
        """Return what is told to child processes, as arguments of theirs; JSON can hold it."""
        return {
            "edges": self.edges,
            "period": self.period,
            "switch_interval": self.switch_interval,
            "quiet": True,
            "sites": self.sites,
            "stacks_over": self.stacks_over,
        }

    def period_ns(self, *, exact: bool) -> int:
        """Return the period to use: the one asked for, or the default of these edges."""
        default = EXACT_PERIOD_S if exact else SAMPLED_PERIOD_S
        return round((default if self.period is None else self.period) * 1e9)


def valid_interval(seconds: float) -> float:
    """Return a switch interval that `sys.setswitchinterval` takes.

    Raises:
        OptionError: it is none.
    """
    return seconds_between("switch_interval", seconds, 1e-6, _MOST_INTERVAL_S)


def seconds_between(name: str, value: object, least: float, most: float) -> float:
    """Return a number of seconds that is in bounds.

    Raises:
        OptionError: it is none.
    """
    expected = f"{name} must be a number of seconds from {least:g} to {most:g}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OptionError(f"{expected}, not {value!r}")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not least <= seconds <= most:  # also false for NaN
        raise OptionError(f"{expected}, not {value!r}")
    return seconds
