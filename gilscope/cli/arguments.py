"""Arguments that several commands share."""

from __future__ import annotations

import argparse

from gilscope.errors import OptionError
from gilscope.record.options import DEFAULT_PATH
from gilscope.units import times


def add_trace(parser: argparse.ArgumentParser) -> None:
    """Add the trace to read."""
    parser.add_argument("trace", nargs="?", default=DEFAULT_PATH, help="a trace (default: %(default)s)")


def add_window(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a part of a timeline."""
    parser.add_argument(
        "--window", type=times, metavar="FROM,TO", help="times in the trace, such as 1.5s,2s (default: all)"
    )
    parser.add_argument(
        "--max-slices", type=int, metavar="N", help="maximum number of intervals to show (default: 2,000,000)"
    )


def window_of(args: argparse.Namespace) -> tuple[float, float] | None:
    """Return the window that was asked for, in seconds; None for the whole trace.

    Raises:
        OptionError: if the option has another number of times than two.
    """
    if args.window is None:
        return None
    if len(args.window) != 2:
        raise OptionError(f"--window: expected two times with a comma between them, got {len(args.window)}")
    return (args.window[0], args.window[1])


def extend_usage(parser: argparse.ArgumentParser, rest: str) -> None:
    """Append to the generated usage text the arguments that argparse cannot describe.

    Args:
        parser: with all arguments that the generated text is to show.
        rest: what follows them, on a line of its own.
    """
    parser.color = False  # type: ignore[attr-defined]  # 3.14 would put color codes into the text
    generated = parser.format_usage().rstrip()
    begin = generated.index(parser.prog)
    parser.usage = f"{generated[begin:]}\n{' ' * (begin + len(parser.prog))} {rest}"
