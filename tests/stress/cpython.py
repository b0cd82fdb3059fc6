"""CPython's own tests of threads, processes and signals end under `gilscope run` as they end without it.

Usage: ``python -m tests.stress.cpython [--quick] [--folder FOLDER] [NAME ...]``, with an interpreter that
carries the package ``test`` and has gilscope installed; a NAME is that of a test file, such as
``test_threading``.

Each file runs bare, and then traced, in a process of its own; what became of each test case is compared.
Ctrl-C ends it after what has been compared so far. The exit status is 1 where something differs, or nothing
was compared.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

NAMES = (
    "test_threading",
    "test_thread",
    "test_threadedtempfile",
    "test_queue",
    "test_concurrent_futures",
    "test_asyncio",
    "test_fork1",
    "test_multiprocessing_fork",
    "test_signal",
    "test_subprocess",
)
QUICK = ("test_thread", "test_queue", "test_fork1", "test_threadedtempfile")
TIMEOUT_S = 1800

Outcomes = dict[str, str]


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of a test file did.

    Args:
        status: of the process.
        outcomes: of each test case: ``ok``, ``skipped``, ``failure`` or ``error``.
        seconds: how long it took.
        log: what it printed.
    """

    status: int
    outcomes: Outcomes
    seconds: float
    log: Path


def carried(name: str = "libregrtest") -> bool:
    """Tell whether this interpreter carries one of its own tests, or what runs them."""
    return bool(importlib.util.find_spec("test")) and bool(importlib.util.find_spec(f"test.{name}"))


def outcomes(report: Path) -> Outcomes:
    """Read what became of each test case from a report in JUnit's format; a run that died left none."""
    if not report.exists():
        return {}
    found: Outcomes = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        parts = {child.tag for child in case}
        found[case.get("name", "")] = next((p for p in ("error", "failure", "skipped") if p in parts), "ok")
    return found


def run(name: str, folder: Path, *, traced: bool) -> Run:
    """Run one test file in a process of its own, bare or traced.

    Args:
        name: such as ``test_threading``.
        folder: where log, report and trace go.
        traced: whether under ``gilscope run``.
    """
    how = "traced" if traced else "bare"
    report, log = folder / f"{name}.{how}.xml", folder / f"{name}.{how}.log"
    tracer = ["-m", "gilscope", "run", "-q", "--overwrite", "-o", str(folder / f"{name}.gilscope")]
    command = [*(tracer if traced else []), "-m", "test", "-v", "--junit-xml", str(report), name]
    begin = time.monotonic()
    with log.open("wb") as out:
        status = subprocess.run(
            [sys.executable, *command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            check=False,
            env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
        ).returncode
    return Run(status, outcomes(report), time.monotonic() - begin, log)


def differences(bare: Run, traced: Run) -> list[str]:
    """Say of each test case that ended otherwise how it did, and of the process."""
    said = [
        f"{case}: {bare.outcomes.get(case, 'missing')} bare, {traced.outcomes.get(case, 'missing')} traced"
        for case in sorted(bare.outcomes.keys() | traced.outcomes.keys())
        if bare.outcomes.get(case) != traced.outcomes.get(case)
    ]
    if not bare.outcomes:
        said.append("no test case ran")
    if bare.status != traced.status:
        said.append(f"exit status: {bare.status} bare, {traced.status} traced")
    return said


def row(name: str, bare: Run, traced: Run, differ: list[str]) -> str:
    """Return one line of the table."""
    counts = Counter(traced.outcomes.values())
    kinds = ", ".join(
        f"{counts[kind]} {kind}" for kind in ("ok", "skipped", "failure", "error") if counts[kind]
    )
    verdict = f"{len(differ)} DIFFER" if differ else "same"
    times = f"{bare.seconds:6.1f} s {traced.seconds:6.1f} s"
    return f"{name:28} {len(traced.outcomes):5} {times}  {verdict:10} {kinds}"


def compare(names: tuple[str, ...], folder: Path) -> tuple[int, int]:
    """Run test files bare and traced, print a table; return the numbers of cases and of differences."""
    print(f"{'CPython ' + sys.version.split()[0]:28} {'cases':>5} {'bare':>8} {'traced':>8}", flush=True)
    cases = differing = 0
    for name in names:
        if not carried(name):
            print(f"{name:28} is not carried by this interpreter", flush=True)
            continue
        if sys.stderr.isatty():
            print(f"{name} ...", end="\r", file=sys.stderr, flush=True)
        bare, traced = run(name, folder, traced=False), run(name, folder, traced=True)
        differ = differences(bare, traced)
        print(row(name, bare, traced, differ), flush=True)
        for line in differ:
            print(f"    {line}", flush=True)
        cases, differing = cases + len(bare.outcomes), differing + len(differ)
    return cases, differing


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress.cpython", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="test files (default: all ten)")
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}")
    parser.add_argument("--folder", type=Path, help="where logs and traces stay (default: a temporary one)")
    args = parser.parse_args()
    if not carried():
        print(f"{sys.executable} carries no package 'test'; use a CPython built from source", file=sys.stderr)
        return 2
    folder = args.folder or Path(tempfile.mkdtemp(prefix="gilscope-cpython-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"logs: {folder}")
    # A shell starts what runs in its background with Ctrl-C ignored, and that is inherited: test_threading
    # would wait for ever for the one that it sends to itself.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        cases, differing = compare(tuple(args.names) or (QUICK if args.quick else NAMES), folder)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print(f"{cases} test cases, {differing} differences")
    return int(cases == 0 or differing > 0)


if __name__ == "__main__":
    sys.exit(main())
