"""``gilscope sweep``: runs a script under several switch intervals."""

from __future__ import annotations

import argparse
import signal

from gilscope.cli.arguments import extend_usage
from gilscope.errors import OptionError
from gilscope.units import times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gilscope.sweeping.sweeps import Sweep

NAME = "sweep"
HELP = "run a script under several switch intervals and report which is best"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the script, the intervals, and what to measure."""
    parser.epilog = "Intervals are tried in random order, each in a fresh process."
    parser.add_argument(
        "--intervals", type=times, metavar="TIMES", help="such as 0.1ms,5ms (default: 50us to 100ms)"
    )
    parser.add_argument("--repeats", type=int, default=7, help="runs per interval (default: %(default)s)")
    parser.add_argument(
        "--warmup", type=int, default=1, help="runs before those that count (default: %(default)s)"
    )
    parser.add_argument(
        "--metric", choices=["wall", "last-line"], default="wall", help="what to compare (default: wall time)"
    )
    parser.add_argument(
        "--better",
        choices=["lower", "higher"],
        default="lower",
        help="(default: %(default)s)",
    )
    parser.add_argument("--no-trace", action="store_true", help="only set the interval and measure")
    parser.add_argument("--keep", metavar="DIR", help="keep the trace of each run in this folder")
    parser.add_argument("--plot", metavar="FILE", help="draw the result, such as sweep.png")
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress bar")
    parser.add_argument("script", metavar="SCRIPT", help="script to run; its arguments follow --")
    extend_usage(parser, "[-- ARG ...]")


def execute(args: argparse.Namespace) -> int:
    """Run the sweep and print its result."""
    from gilscope.sweeping import sweeps
    from gilscope.sweeping.script import Script

    intervals = sweeps.checked(args.intervals or sweeps.INTERVALS, args.repeats, args.better, args.warmup)
    last_line = args.metric == "last-line"
    keep = sweeps.folder_for(args.keep)
    command = [args.script, *args.program_arguments]
    runner = Script(command, last_line=last_line, traced=not args.no_trace, keep=keep)
    result = sweeps.Sweep([], intervals, args.better, "metric" if last_line else "wall time (s)")
    sweeps.run_all(result, runner, repeats=args.repeats, warmup=args.warmup, quiet=args.quiet)
    print(result.report().rstrip())
    if args.plot:
        _draw(result, args.plot)
    return 0 if result.complete else 128 + signal.SIGINT


def _draw(result: Sweep, path: str) -> None:
    try:
        result.plot().get_figure(root=True).savefig(path)  # type: ignore[union-attr]
    except (OSError, ValueError) as error:
        raise OptionError(f"--plot {path}: the picture cannot be written: {error}") from error
