"""``gilscope export``: writes a trace as a file for another tool."""

from __future__ import annotations

import argparse
import sys

import gilscope
from gilscope import export
from gilscope.cli.arguments import add_trace, add_window, window_of
from gilscope.stacks import WEIGHTS

NAME = "export"
HELP = "write a trace as a file for another tool: timeline, flame graph, stacks or page"

_DEFAULT_FORMAT = "viztracer"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the trace, the file and its format, and what to write."""
    add_trace(parser)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _formats()
    default = export.FORMATS[_DEFAULT_FORMAT].default
    parser.add_argument(
        "-o", "--output", help=f"file to write (default: {default}); its suffix chooses the format"
    )
    parser.add_argument("--format", choices=export.FORMATS, help="format to write, whatever the suffix")
    add_window(parser)
    parser.add_argument(
        "--merge",
        action="store_true",
        default=None,
        help="add to the report of VizTracer at OUTPUT",
    )
    parser.add_argument("--weight", choices=WEIGHTS, help=f"what stacks weigh: {_weights()} (default: held)")
    parser.add_argument("--source", action="store_true", default=None, help="show lines of code on the page")


def _formats() -> str:
    lines = ["formats, their suffixes and their options:"]
    for name, kind in export.FORMATS.items():
        lines.append(f"  {name:<12}{', '.join(kind.suffixes)}: {kind.content}")
        if options := [f"--{option.replace('_', '-')}" for option in kind.options if option != "flows"]:
            lines.append(f"  {'':<12}{' '.join(options)}")
    return "\n".join(lines)


def _weights() -> str:
    return "; ".join(f"{name}: {meaning}" for name, meaning in WEIGHTS.items())


def execute(args: argparse.Namespace) -> int:
    """Write the file and print its path."""
    output = args.output or export.FORMATS[args.format or _DEFAULT_FORMAT].default
    left_out = export.write(
        gilscope.load(args.trace)._tables,
        output,
        format=args.format,
        merge=args.merge,
        window=window_of(args),
        max_slices=args.max_slices,
        weight=args.weight,
        source=args.source,
    )
    if left_out is not None:
        print(f"gilscope: {left_out}", file=sys.stderr)
    print(output)
    return 0
