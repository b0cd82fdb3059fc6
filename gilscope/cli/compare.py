"""``gilscope compare``: prints figures of two programs beside one another."""

from __future__ import annotations

import argparse

import gilscope

NAME = "compare"
HELP = "compare two traces, or repeated runs of two programs with confidence intervals"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the traces of both programs."""
    parser.add_argument("before", nargs="+", help="a trace, or several, of the program before")
    parser.add_argument("after", help="a trace of the program after")
    parser.add_argument(
        "--after", dest="more", nargs="+", default=[], metavar="TRACE", help="more traces of it"
    )


def execute(args: argparse.Namespace) -> int:
    """Print the comparison."""
    from gilscope.report import comparison

    before, after = args.before, [args.after, *args.more]
    print(comparison.render([gilscope.load(p) for p in before], [gilscope.load(p) for p in after]).rstrip())
    return 0
