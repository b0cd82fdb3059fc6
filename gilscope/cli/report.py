"""``gilscope report``: prints the report of a trace, or writes it as a page."""

from __future__ import annotations

import argparse
import os
import sys

import gilscope
from gilscope import export
from gilscope.cli.arguments import add_trace
from gilscope.errors import OptionError

NAME = "report"
HELP = "report which threads ran, which waited, and what the hand-offs cost"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the trace and the form of the report."""
    add_trace(parser)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--html", metavar="FILE", help="write one self-contained page with tables and plots")
    parser.add_argument(
        "--source",
        action="store_true",
        help="show lines of code on the page, read from the files that the trace names",
    )


def execute(args: argparse.Namespace) -> int:
    """Print the report, or write the page and print its path."""
    t = gilscope.load(args.trace)
    if args.html:
        export.write(t._tables, args.html, format="html", source=args.source)
        print(args.html)
        return 0
    if args.source:
        raise OptionError("--source shows lines of code on a page: add --html FILE")
    if args.json:
        print(t.report("json"))
        return 0
    from gilscope.report import text

    color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    print(text.render(t._tables, color=color).rstrip())
    return 0
