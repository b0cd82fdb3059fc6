"""``gilscope info``: prints what is known of a trace beside its tables."""

from __future__ import annotations

import argparse
import json

import gilscope
from gilscope.cli.arguments import add_trace

NAME = "info"
HELP = "print the metadata of a trace and the sizes of its tables"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the trace."""
    add_trace(parser)


def execute(args: argparse.Namespace) -> int:
    """Print metadata, rows per table and child processes as JSON."""
    from gilscope.tables import schema
    from gilscope.tables.processes import processes

    t = gilscope.load(args.trace)
    rows = {name: t.table(name).num_rows for name in schema.TABLES}
    print(json.dumps({**t.metadata, "rows": rows, "children": processes(t._tables)}, indent=2))
    return 0
