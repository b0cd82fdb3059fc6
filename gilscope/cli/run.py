"""``gilscope run``: runs a program under a trace."""

from __future__ import annotations

import argparse

import gilscope
from gilscope.cli.arguments import extend_usage
from gilscope.cli.program import run_program
from gilscope.errors import OptionError
from gilscope.record import options

NAME = "run"
HELP = "run a script or a module as python would, and record a trace"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the trace, and the program."""
    options.add_arguments(parser, "run")
    extend_usage(parser, "(SCRIPT | -m MODULE) [ARG ...]")
    parser.add_argument("-m", dest="module", nargs=argparse.REMAINDER, help="run a module as a script")
    parser.add_argument("script", nargs=argparse.REMAINDER, help="script to run, and its arguments")


def execute(args: argparse.Namespace) -> int:
    """Run the program, whose exit status is returned."""
    command = args.module if args.module is not None else args.script
    if command[:1] == ["--"]:
        command = command[1:]
    if not command:
        raise OptionError("nothing to run: give a script, or -m and a module")
    tracing = gilscope.trace(**options.values_of(args, "run"))
    return run_program(tracing, command, module=args.module is not None)
