"""The options of `gilscope.trace`: each is declared once, in `OPTIONS`, and read from there everywhere.

To add an option: declare it in `OPTIONS`, and the type of its value in `Options`; add it to the signature and
the docstring of `gilscope.trace`; use it. Command lines and child processes follow from the declaration.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from gilscope.errors import OptionError
from gilscope.units import seconds

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from typing import Any, Literal

    Edges = Literal["auto", "exact", "sampled"]
    Reader = Literal["run", "plugin", "children"]


class _DefaultPath(str):
    """The default of ``path``: distinguished by identity from the same text given by the user."""

    __slots__ = ()


DEFAULT_PATH = _DefaultPath("trace.gilscope")
EDGES = ("auto", "exact", "sampled")
SAMPLED_PERIOD_S = 0.001
EXACT_PERIOD_S = 0.01
WHOLE_STACKS_OVER_S = 1e-4
_MOST_S = 3600.0
_LEAST_PERIOD_S = 1e-5
_MOST_INTERVAL_S = 4294.0  # microseconds in 32 bits


# ---- values ----


def seconds_between(name: str, value: object, least: float, most: float) -> float:
    """Return a number of seconds that is in bounds.

    Raises:
        OptionError: if the value is not a number or is out of bounds.
    """
    expected = f"{name} must be a number of seconds from {least:g} to {most:g}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OptionError(f"{expected}, not {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not least <= number <= most:  # also false for NaN
        raise OptionError(f"{expected}, not {value!r}")
    return number


def valid_interval(value: object) -> float:
    """Return a switch interval, in seconds, that `sys.setswitchinterval` takes.

    Raises:
        OptionError: if the value is not a number or is out of bounds.
    """
    return seconds_between("switch_interval", value, 1e-6, _MOST_INTERVAL_S)


def _path(value: object) -> Path | None:
    if value is not None and not isinstance(value, str | os.PathLike):
        raise OptionError(f"path must be a string, a path or None, not {value!r}")
    if value == "":
        raise OptionError("path is empty; give a folder name such as 'run.gilscope', or None")
    return None if value is None else Path(os.fsdecode(value))


def _edges(value: object) -> object:
    if value not in EDGES:
        raise OptionError(f"edges must be one of {', '.join(map(repr, EDGES))}, not {value!r}")
    return value


def _period(value: object) -> float | None:
    return None if value is None else seconds_between("period", value, _LEAST_PERIOD_S, _MOST_S)


def _interval(value: object) -> float | None:
    return None if value is None else valid_interval(value)


def _stacks_over(value: object) -> float:
    return seconds_between("stacks_over", value, 0.0, _MOST_S)


# ---- options ----


class Option:
    """One option of a trace.

    Args:
        name: parameter of `gilscope.trace`, and attribute of `Options`.
        default: of that parameter.
        check: returns the value to use, and raises an OptionError for one that cannot be used.
        readers: what takes it beside `gilscope.trace`: the command ``run``, the ``plugin`` of VizTracer, and
            ``children``, which get the value of their parent.
        help: one line for command lines.
        flags: on command lines; None is ``--name``.
        parse: other arguments of `argparse.ArgumentParser.add_argument`.
    """

    __slots__ = ("check", "default", "flags", "help", "name", "parse", "readers")

    def __init__(
        self,
        name: str,
        default: object,
        check: Callable[[object], object],
        readers: tuple[Reader, ...],
        help: str,
        flags: tuple[str, ...] | None = None,
        **parse: Any,
    ) -> None:
        self.name, self.default, self.check, self.readers, self.help = name, default, check, readers, help
        self.flags = flags or (f"--{name.replace('_', '-')}",)
        self.parse = parse


_TIME: dict[str, Any] = {"type": seconds, "metavar": "TIME"}
_ON: dict[str, Any] = {"action": "store_true"}
_OFF: dict[str, Any] = {"action": "store_false"}
_ALL: tuple[Reader, ...] = ("run", "plugin", "children")

OPTIONS = (
    Option(
        "path",
        DEFAULT_PATH,
        _path,
        ("run",),
        "folder to write (default: %(default)s, which is replaced)",
        ("-o", "--output"),
        metavar="OUT",
    ),
    Option(
        "edges", "auto", _edges, _ALL, "how edges are recorded (default: %(default)s)", choices=list(EDGES)
    ),
    Option("period", None, _period, _ALL, "time between two ticks, such as 1ms", **_TIME),
    Option("switch_interval", None, _interval, _ALL, "switch interval to set, such as 5ms", **_TIME),
    Option("overwrite", False, bool, ("run",), "replace a trace that is at OUT", **_ON),
    Option(
        "children", False, bool, ("run",), "also record the Python processes that the program starts", **_ON
    ),
    Option("quiet", False, bool, ("run",), "print no messages of gilscope", ("-q", "--quiet"), **_ON),
    Option("sites", True, bool, _ALL, "do not record lines of code", ("--no-sites",), **_OFF),
    Option(
        "stacks_over",
        WHOLE_STACKS_OVER_S,
        _stacks_over,
        _ALL,
        f"keep all callers of holds longer than this (default: {WHOLE_STACKS_OVER_S * 1e6:g}us)",
        **_TIME,
    ),
)
"""In the order of the parameters of `gilscope.trace`."""


class Options:
    """Valid values of all options.

    Args:
        **given: values by name; the others have their defaults.

    Raises:
        OptionError: if a value cannot be used.
        TypeError: if there is no such option.
    """

    path: Path | None
    edges: Edges
    period: float | None
    switch_interval: float | None
    overwrite: bool
    children: bool
    quiet: bool
    sites: bool
    stacks_over: float

    def __init__(self, **given: Any) -> None:
        replaces = given.get("path", DEFAULT_PATH) is DEFAULT_PATH
        for option in OPTIONS:
            setattr(self, option.name, option.check(given.pop(option.name, option.default)))
        if given:
            raise TypeError(f"no such option: {', '.join(given)}")
        self.overwrite = self.overwrite or replaces

    def of_children(self) -> dict[str, Any]:
        """Return the values that child processes take over; JSON can hold them."""
        return {option.name: getattr(self, option.name) for option in options_of("children")}

    def period_ns(self, *, exact: bool) -> int:
        """Return the period to use: the one asked for, or the default of these edges."""
        default = EXACT_PERIOD_S if exact else SAMPLED_PERIOD_S
        return round((default if self.period is None else self.period) * 1e9)


# ---- command lines ----


def options_of(reader: Reader) -> list[Option]:
    """Return the options that a reader takes."""
    return [option for option in OPTIONS if reader in option.readers]


def add_arguments(parser: argparse.ArgumentParser, reader: Reader) -> None:
    """Add the options that a command line takes."""
    for option in options_of(reader):
        parser.add_argument(
            *option.flags, dest=option.name, default=option.default, help=option.help, **option.parse
        )


def values_of(arguments: argparse.Namespace, reader: Reader) -> dict[str, Any]:
    """Return the options read from a command line, as arguments of `gilscope.trace`."""
    return {option.name: getattr(arguments, option.name) for option in options_of(reader)}
