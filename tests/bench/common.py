"""What every benchmark shares: figures with bounds, statistics, fresh processes, recordings."""

from __future__ import annotations

import importlib
import json
import math
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gilscope.convert.folder import convert
from gilscope.record.options import Options
from gilscope.record.session import Session

if TYPE_CHECKING:
    from gilscope.record.options import Edges

ROOT = Path(__file__).parents[2]
_MARK = "gilscope-bench-answer:"
TARGET = "target: chosen for the first release, derived from nothing"
"""Origin of a bound that the project set itself."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a figure may be.

    Args:
        value: the limit, in the unit of the figure.
        origin: where it comes from: a definition, an invariant, or `TARGET`.
        least: whether it is the least the figure may be, else the most.
    """

    value: float
    origin: str
    least: bool = False

    def keeps(self, value: float) -> bool:
        """Return whether a figure is within the bound."""
        return value >= self.value if self.least else value <= self.value


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the output.

    Args:
        what: what was measured.
        value: the figure; None where it could not be measured, and the note says why.
        unit: its unit, empty for ratios and counts.
        bound: what it may be, or None where nothing was promised.
        note: conditions, spread, and what else helps to read the figure.
    """

    what: str
    value: float | None
    unit: str = ""
    bound: Bound | None = None
    note: str = ""

    @property
    def kept(self) -> bool | None:
        """Whether the bound is kept; None where there is none."""
        return None if self.bound is None or self.value is None else self.bound.keeps(self.value)

    def as_dict(self) -> dict[str, Any]:
        """Return the figure for JSON."""
        return {**asdict(self), "kept": self.kept}


class SkippedError(Exception):
    """A benchmark, or a part of one, cannot run here; the message says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the command line asked for.

    Args:
        pairs: how many pairs of a traced and a bare run.
        quick: small runs, to see that everything works; figures are rough.
    """

    pairs: int = 40
    quick: bool = False


# ---- statistics ----


def quantile(values: Sequence[float], share: float) -> float:
    """Return a quantile by linear interpolation between order statistics (NumPy's default)."""
    if not values:
        raise ValueError("a quantile of no values")
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return an interval that covers the true median, from order statistics (binomial, no other assumption).

    With fewer than six values no such interval exists at 95 %; then it is the whole range.
    """
    ordered, n = sorted(values), len(values)
    below = 0.0
    k = 0
    while k < n // 2 and below + math.comb(n, k) / 2**n <= (1 - confidence) / 2:
        below += math.comb(n, k) / 2**n
        k += 1
    k = max(k - 1, 0)
    return ordered[k], ordered[n - 1 - k]


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Return quartiles and the interval of the median as text."""
    low, high = median_interval(values)
    q1, q3 = quantile(values, 0.25), quantile(values, 0.75)
    return (
        f"quartiles {q1:.{digits}f} to {q3:.{digits}f}, "
        f"95 % of the median {low:.{digits}f} to {high:.{digits}f}, n {len(values)}"
    )


def shuffled(names: Sequence[str], seed: int) -> list[str]:
    """Return names in an order that depends on the seed alone."""
    order = list(names)
    random.Random(seed).shuffle(order)
    return order


def median(values: Sequence[float]) -> float:
    """Return the median as a float."""
    return float(statistics.median(values))


# ---- fresh processes ----


def fresh(
    function: Callable[..., Any], *args: Any, prefix: Sequence[str] = (), env: dict[str, str] | None = None
) -> Any:
    """Call a function of this package in a fresh Python process.

    Args:
        function: a module-level function; it returns what JSON can hold.
        args: what JSON can hold.
        prefix: a command to run the process under, such as ``perf record``.
        env: more environment variables.

    Raises:
        RuntimeError: the process failed; its error output is in the message.
    """
    command = [*prefix, sys.executable, "-c", "from tests.bench.common import answer; answer()"]
    command += [f"{function.__module__}:{function.__name__}", json.dumps(args)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
    )
    for line in reversed(done.stdout.splitlines()):
        if line.startswith(_MARK):
            return json.loads(line.removeprefix(_MARK))
    raise RuntimeError(f"{function.__name__} gave no answer (status {done.returncode}):\n{done.stderr}")


def answer() -> None:
    """Be the fresh process: call what the command line names and print the result."""
    module, _, name = sys.argv[1].partition(":")
    function = getattr(importlib.import_module(module), name)
    result = function(*json.loads(sys.argv[2]))
    print(_MARK + json.dumps(result), flush=True)


def pin_to_one_core() -> None:
    """Keep this process on one of the processors it may use."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def peak_mb() -> float:
    """Return the most memory this process ever had resident, in MB of a million bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


# ---- recordings ----


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="gilscope-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(slots=True)
class Recorded:
    """A recording whose spool has not been converted; complete once the block is over."""

    folder: Path
    spool: Path
    facts: dict[str, Any] = field(default_factory=dict)
    stopped: dict[str, Any] = field(default_factory=dict)

    def convert(self) -> dict[str, Any]:
        """Write the tables into the folder and return the metadata."""
        return convert(self.spool, self.folder, self.facts, quiet=True)


@contextmanager
def recording(
    folder: Path, edges: Edges = "exact", period: float | None = None, *, sites: bool = True
) -> Iterator[Recorded]:
    """Record as `gilscope.trace` does, without the conversion at the end.

    Args:
        folder: an existing folder; the trace becomes a folder inside it.
        edges: as in `gilscope.trace`.
        period: as in `gilscope.trace`.
        sites: as in `gilscope.trace`.
    """
    session = Session(
        Options(path=folder / "run.gilscope", edges=edges, period=period, quiet=True, sites=sites)
    )
    recorded = Recorded(session.destination.path, session.destination.spool, session.metadata.as_json())
    try:
        yield recorded
    finally:
        recorded.stopped.update(session.stop())
