"""``gilscope export``: writes a trace as a file for another tool."""

from __future__ import annotations

import argparse
import sys

import gilscope
from gilscope.cli.arguments import add_trace, add_window, window_of

NAME = "export"
HELP = "write the timeline as a file for vizviewer"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the trace, the file, and the part to write."""
    add_trace(parser)
    parser.add_argument("-o", "--output", default="timeline.json.gz", help="ends in .json or .json.gz")
    add_window(parser)
    parser.add_argument(
        "--merge", action="store_true", help="add the lanes to the report of VizTracer at OUTPUT"
    )


def execute(args: argparse.Namespace) -> int:
    """Write the file and print its path."""
    left_out = gilscope.load(args.trace).write_timeline(
        args.output, merge=args.merge, window=window_of(args), max_slices=args.max_slices
    )
    if left_out is not None:
        print(f"gilscope: {left_out}", file=sys.stderr)
    print(args.output)
    return 0
