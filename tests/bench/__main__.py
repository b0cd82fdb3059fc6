"""``python -m tests.bench [NAME ...]``: prints every figure beside its bound."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from tests.bench import machine
from tests.bench.common import Figure, Plan, SkippedError

NAMES = {
    "event": "cost of a transition",
    "accuracy": "exact edges against known answers",
    "referee": "exact edges against perf uprobes",
    "sampled": "sampled edges against exact ones",
    "program": "cost to the program: traced / bare wall time at fixed work",
    "sampler": "the sampler thread",
    "memory": "memory and disk while recording",
    "convert": "conversion to tables, on one core",
    "analysis": "the helpers of gilscope.analysis on long traces",
    "import": "import gilscope",
    "export": "timelines for the viewer",
    "rivals": "what gilscope and sampling profilers say of ten calls that keep the GIL",
}
_MODULES = {"import": "importing"}
_VERDICT = {True: "[green]kept[/]", False: "[bold red]MISSED[/]", None: ""}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Print what gilscope costs and how exact it is, beside what was promised.",
        epilog="; ".join(f"{name}: {about}" for name, about in NAMES.items()),
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(NAMES)}; none: all")
    parser.add_argument(
        "--pairs", type=int, default=None, help="traced runs per workload (40; twice as many of writers)"
    )
    parser.add_argument("--quick", action="store_true", help="small runs: rough figures in two minutes")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures to this file too")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in NAMES]
    if unknown:
        parser.error(f"no benchmark named {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if given.pairs is not None and given.pairs < 1:
        parser.error(f"--pairs must be at least 1, not {given.pairs}")
    return given


def _number(value: float) -> str:
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _row(figure: Figure) -> tuple[str, str, str, str, str, str]:
    bound, origin = "", ""
    if figure.bound:
        bound, origin = (
            f"{'>=' if figure.bound.least else '<='} {_number(figure.bound.value)}",
            figure.bound.origin,
        )
    value = "not measured" if figure.value is None else f"{_number(figure.value)} {figure.unit}".strip()
    return figure.what, value, bound, _VERDICT[figure.kept], origin, figure.note


def _show(console: Console, name: str, figures: list[Figure], conditions: str) -> None:
    table = Table(box=box.SIMPLE, title=f"{name}: {NAMES[name]}", title_justify="left", caption=conditions)
    table.add_column("measured", overflow="fold")
    table.add_column("figure", justify="right", no_wrap=True)
    table.add_column("promised", justify="right", no_wrap=True)
    table.add_column("")
    table.add_column("where the promise comes from", overflow="fold")
    table.add_column("", overflow="fold", style="dim")
    for figure in figures:
        table.add_row(*_row(figure))
    console.print(table)


def _run_one(console: Console, name: str, plan: Plan) -> dict[str, Any]:
    module = importlib.import_module(f"tests.bench.{_MODULES.get(name, name)}")
    others, before, begun = machine.Others(), machine.load(), time.monotonic()
    result: dict[str, Any] = {"figures": []}
    try:
        figures = list(module.run(plan))
    except SkippedError as why:
        console.print(f"{name}: [yellow]skipped[/]: {why}\n", highlight=False)
        return {**result, "skipped": str(why)}
    except Exception:
        console.print(f"{name}: [bold red]failed[/]")
        console.print(traceback.format_exc(), markup=False, highlight=False)
        return {**result, "failed": traceback.format_exc()}
    conditions = f"{time.monotonic() - begun:.0f} s; load {before} before; {others.text()}"
    _show(console, name, figures, conditions)
    return {"figures": [figure.as_dict() for figure in figures], "conditions": conditions}


def main() -> int:
    """Run the benchmarks that the command line names; return 1 when one could not be carried out."""
    given = _arguments()
    plan = Plan(given.pairs or (10 if given.quick else 40), given.quick)
    console = Console(width=None if sys.stdout.isatty() else 160)
    facts = machine.facts()
    for key, value in facts.items():
        console.print(f"{key:12} {value}", highlight=False)
    console.print()
    results = {name: _run_one(console, name, plan) for name in given.names or NAMES}
    every = [figure for result in results.values() for figure in result["figures"]]
    promised = [figure for figure in every if figure["kept"] is not None]
    kept = sum(figure["kept"] for figure in promised)
    console.print(f"{len(every)} figures, {len(promised)} with a bound, {kept} of them kept", highlight=False)
    if given.json:
        text = json.dumps({"machine": facts, "quick": plan.quick, "benchmarks": results}, indent=2)
        given.json.write_text(text + "\n")
    return int(any("failed" in result for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
