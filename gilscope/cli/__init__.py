"""The command ``gilscope``: one module a command.

A module of a command has the names of `Command`; add it to `COMMANDS`.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys

import gilscope
from gilscope.cli import compare, doctor, export, info, report, run, sweep, view
from gilscope.errors import GilscopeError
from gilscope.units import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    class Command(Protocol):
        """What a module of a command has."""

        NAME: str
        HELP: str  # a phrase without a full stop, as argparse shows it beside the name

        def add_arguments(self, parser: argparse.ArgumentParser) -> None:
            """Add the command's arguments to its parser."""

        def execute(self, args: argparse.Namespace) -> int:
            """Run the command and return its exit status."""


COMMANDS: tuple[Command, ...] = (run, report, info, view, export, compare, sweep, doctor)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; its result has the command's function as ``execute``."""
    parser = argparse.ArgumentParser(
        prog="gilscope", description="See who holds the GIL, who waits for it, and what every hand-off costs."
    )
    parser.add_argument("--version", action="version", version=f"gilscope {gilscope.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        description = f"{command.HELP[0].upper()}{command.HELP[1:]}."
        own = commands.add_parser(command.NAME, help=command.HELP, description=description)
        command.add_arguments(own)
        own.set_defaults(execute=command.execute)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: of the command line; None for those of this process.

    Returns:
        The exit status: 2 for wrong arguments and for errors of gilscope, which are printed.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    given, program_arguments = _split(given)
    args = make_parser().parse_args(given)
    args.program_arguments = program_arguments
    try:
        status: int = args.execute(args)
    except GilscopeError as error:
        # The message may quote a trace that another person made: send no control characters to the terminal.
        lines = map(printable, f"gilscope: {error}".split("\n"))
        print("\n".join(lines), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The interpreter flushes stdout when it exits, which would print another BrokenPipeError.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _split(given: list[str]) -> tuple[list[str], list[str]]:
    """Separate the arguments that follow ``--``, which argparse would read as those of `sweep` itself."""
    if given[:1] != [sweep.NAME] or "--" not in given:
        return given, []
    end = given.index("--")
    return given[:end], given[end + 1 :]
