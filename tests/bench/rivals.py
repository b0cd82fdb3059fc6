"""What gilscope and sampling profilers say of the same calls, each in a run of its own.

The program is `tests.bench.offenders`; its own clock says what is true of each run. Where others keep the
processors busy, the victim may wait for one of those too, and its clock cannot tell which: the figures want
an idle machine.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gilscope.progress import progress_bar
from gilscope.units import duration
from tests.bench import offenders
from tests.bench.common import Figure, Plan, SkippedError, scratch

PROGRAM = Path(offenders.__file__)
_SPY_HZ = 100
"""Samples a second: py-spy's own default."""

Stack = tuple[tuple[str, int], ...]
"""Name of the file and line of each frame."""


@dataclass(slots=True)
class Said:
    """What one tool says of the program in one run.

    Args:
        truth_ns: what the victim waited for each offender, by the program's own clock.
        wall_ns: how long the program took.
        columns: what the tool says of each offender, in ns, by what it calls that.
        note: how it came to that.
    """

    truth_ns: dict[str, int]
    wall_ns: int
    columns: dict[str, dict[str, float]] = field(default_factory=dict)
    note: str = ""


# ---- what the tools write ----


def spy_stacks(text: str) -> Iterator[tuple[Stack, int]]:
    """Read py-spy's raw format: ``function (file:line);...`` and how often it was seen."""
    for line in text.splitlines():
        frames, _, count = line.rpartition(" ")
        found = re.findall(r"\(([^()]*):(\d+)\)", frames)
        yield tuple((file.rpartition("/")[2], int(number)) for file, number in found), int(count)


def sampling_stacks(text: str) -> Iterator[tuple[Stack, int]]:
    """Read what ``profiling.sampling --collapsed`` writes: ``tid:N;file:function:line;...`` and a count."""
    for line in text.splitlines():
        frames, _, count = line.rpartition(" ")
        parts = [frame.rsplit(":", 2) for frame in frames.split(";")]
        yield tuple((p[0].rpartition("/")[2], int(p[2])) for p in parts if len(p) == 3), int(count)


def sampling_period_ns(said: str) -> float:
    """Return how far apart the samples were of which ``profiling.sampling`` tells on its output.

    Raises:
        SkippedError: it does not tell.
    """
    found = re.search(r"Captured ([\d,]+) samples in ([\d.]+) seconds", said)
    if not found:
        raise SkippedError("profiling.sampling does not say how many samples it took")
    return float(found[2]) * 1e9 / int(found[1].replace(",", ""))


def charged(stacks: Iterator[tuple[Stack, int]]) -> Counter[str]:
    """Return how many samples each offender got: those with one of its lines in them."""
    lines, seen = offenders.by_line(), Counter[str]()
    for stack, count in stacks:
        ours = {lines[line] for file, line in stack if file == PROGRAM.name and line in lines}
        for name in ours:
            seen[name] += count
    return seen


# ---- one run each ----


def _run(folder: Path, rounds: int, before: Sequence[str] = ()) -> tuple[Said, str]:
    """Run the program, with a command before it; return what its clock says, and what was printed.

    Raises:
        SkippedError: it ended otherwise than well; the message is the last that was said.
    """
    out = folder / "clock.json"
    command = [*before, str(PROGRAM), str(out), str(rounds)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode or not out.exists():
        said = (done.stderr + done.stdout).strip().splitlines() or [f"status {done.returncode}"]
        raise SkippedError(said[-1])
    clock = json.loads(out.read_text())
    return Said(clock["waited_ns"], clock["wall_ns"]), done.stdout


def bare(folder: Path, rounds: int) -> Said:
    """Run the program alone."""
    return _run(folder, rounds, [sys.executable])[0]


def gilscope(folder: Path, rounds: int) -> Said:
    """Run the program under gilscope."""
    from gilscope import analysis

    trace = folder / "run.gilscope"
    said, _ = _run(folder, rounds, [sys.executable, "-m", "gilscope", "run", "-q", "-o", str(trace)])
    rows = analysis.sites(trace, frame="program")
    rows = rows[rows["file"] == str(PROGRAM)]
    names = rows["line"].map(offenders.by_line())
    for column in ("held", "inflicted"):
        found = rows[f"{column}_ns"].groupby(names).sum()
        said.columns[column] = {name: float(found.get(name, 0)) for name in offenders.OFFENDERS}
    return said


def py_spy(folder: Path, rounds: int) -> Said:
    """Run the program under ``py-spy record --gil``.

    Raises:
        SkippedError: py-spy is not there, or cannot look at this Python.
    """
    command = shutil.which("py-spy", path=sysconfig.get_path("scripts")) or shutil.which("py-spy")
    if command is None:
        raise SkippedError("py-spy is not installed: `pip install py-spy`")
    raw = folder / "spy.txt"
    how = ["record", "--gil", "--format", "raw", "--rate", str(_SPY_HZ), "--output", str(raw), "--"]
    said, _ = _run(folder, rounds, [command, *how, sys.executable])
    return _estimated(said, spy_stacks(raw.read_text()), 1e9 / _SPY_HZ)


def sampling(folder: Path, rounds: int) -> Said:
    """Run the program under ``profiling.sampling --mode gil``.

    Raises:
        SkippedError: this Python has none.
    """
    if sys.version_info < (3, 15):
        raise SkippedError("profiling.sampling comes with CPython 3.15")
    raw = folder / "sampling.txt"
    how = ["run", "--mode", "gil", "--all-threads", "--collapsed", "--output", str(raw)]
    said, printed = _run(folder, rounds, [sys.executable, "-m", "profiling.sampling", *how])
    return _estimated(said, sampling_stacks(raw.read_text()), sampling_period_ns(printed))


def _estimated(said: Said, stacks: Iterator[tuple[Stack, int]], period_ns: float) -> Said:
    """Let each sample stand for the time between two.

    Raises:
        SkippedError: if no offender has a sample.
    """
    seen = charged(stacks)
    if not seen:
        raise SkippedError("it ran to its end, but saw none of the calls")
    said.columns["held"] = {name: seen[name] * period_ns for name in offenders.OFFENDERS}
    said.note = f"{seen.total()} samples, {1e9 / period_ns:.0f} a second"
    return said


TOOLS = {"gilscope": gilscope, "py-spy --gil": py_spy, "profiling.sampling --mode gil": sampling}


def off(said_ns: float, truth_ns: float) -> float | None:
    """Return by how many percent something is too much; None where there is no truth."""
    return 100 * (said_ns / truth_ns - 1) if truth_ns else None


def beside(name: str, said: dict[str, Said]) -> Iterator[Figure]:
    """Return what each tool says of one offender."""
    [line, *_] = [line for line, owner in offenders.by_line().items() if owner == name]
    for tool, of in said.items():
        truth = of.truth_ns[name]
        for column, found in of.columns.items():
            note = f"{duration(found[name])}; by the program's own clock {duration(truth)}"
            what = f"{name} ({PROGRAM.name}:{line}), {column}: {tool}"
            yield Figure(what, off(found[name], truth), "% off", note=note)


def run(plan: Plan) -> Iterator[Figure]:
    """Let each tool look at the same program, and put beside each other what they say."""
    rounds = 1 if plan.quick else 3
    said, absent = dict[str, Said](), dict[str, str]()
    with progress_bar("rivals", len(TOOLS) + 1) as done:
        with scratch() as folder:
            alone = bare(folder, rounds)
        done(1)
        for i, (tool, look) in enumerate(TOOLS.items()):
            try:
                with scratch() as folder:
                    said[tool] = look(folder, rounds)
            except SkippedError as why:
                absent[tool] = str(why)
            done(i + 2)
    for name in offenders.OFFENDERS:
        yield from beside(name, said)
    for tool, of in said.items():
        note = ", ".join(filter(None, (f"bare {duration(alone.wall_ns)}, one run each", of.note)))
        yield Figure(f"wall time / bare: {tool}", of.wall_ns / alone.wall_ns, note=note)
    for tool, why in absent.items():
        yield Figure(tool, None, note=why)
