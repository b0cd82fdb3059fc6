"""`sweep`: runs the same work under several switch intervals, and finds the best one."""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from gilscope import analysis
from gilscope.analysis.gils import DEFAULT_INTERVAL_NS
from gilscope.analysis.switchinterval import LADDER
from gilscope.errors import OptionError, SweepError, TraceActiveError
from gilscope.progress import progress_bar
from gilscope.record.options import valid_interval
from gilscope.tracer import trace
from gilscope.traces import Trace
from gilscope.units import duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

INTERVALS = LADDER
"""Seconds; the default of `sweep`."""
RESAMPLES = 4000
_DRAWS = 200_000
_SEED = 20  # any: the same rows give the same interval
_CONFIDENCE = 0.95

Better = Literal["lower", "higher"]
Measured = dict[str, Any]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Best:
    """The switch interval that a sweep recommends.

    Args:
        interval: seconds.
        gain: how many times better than CPython's own 5 ms (or the first interval, if 5 ms was not swept).
        low: lower end of the 95 % interval of the gain, corrected for the number of intervals.
        high: upper end.
        words: the same as a sentence; "no difference beyond noise" if the interval of the gain includes 1.
    """

    interval: float
    gain: float
    low: float
    high: float
    words: str

    def __str__(self) -> str:
        return self.words


@dataclass
class Sweep:
    """The runs of a sweep.

    Args:
        rows: one dictionary per run, in the order of the runs.
        intervals: seconds, as given.
        better: whether lower or higher values of the metric are better.
        metric: name of the metric in reports and plots.
        complete: false if the sweep was interrupted.
    """

    rows: list[Measured] = field(default_factory=list)
    intervals: tuple[float, ...] = INTERVALS
    better: Better = "lower"
    metric: str = "wall time (s)"
    complete: bool = True

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per run, in order of time.

        Returns:
            Columns ``interval_ns`` (int64), ``repeat``, ``wall_ns``, ``metric`` (float64; seconds of wall
            time if none was given); for traced runs ``handoffs_per_s``, ``overhead_share``,
            ``held_share``, ``fairness``, and for each named thread N ``wait_p50_ns_N`` and ``wait_p99_ns_N``
            (float64); ``trace``: the path of the run's trace, if kept.
        """
        return pd.DataFrame(self.rows)

    def summary(self) -> pd.DataFrame:
        """Return one row per interval.

        Returns:
            Columns ``interval_ns``, ``runs``, ``metric`` (median), ``metric_low``, ``metric_high`` (its 95 %
            interval, by percentile bootstrap), and medians of the other columns of `to_pandas`.
        """
        runs = self.to_pandas()
        rows = []
        for interval, group in runs.groupby("interval_ns"):
            values = group["metric"].to_numpy(np.float64)
            low, high = _median_interval(values)
            row = {"interval_ns": interval, "runs": len(group), "metric": float(np.median(values))}
            row |= {"metric_low": low, "metric_high": high}
            others = group.drop(columns=["interval_ns", "repeat", "metric", "trace"], errors="ignore")
            rows.append(row | others.median().to_dict())
        return pd.DataFrame(rows)

    def best(self) -> Best:
        """Return the best interval, and its gain over CPython's own 5 ms.

        Runs are compared within a repeat, because they ran close to each other in time. The gain is the mean
        logarithm of their ratios, with an interval by Student's t at a level that is corrected for the number
        of intervals (Bonferroni).

        Raises:
            SweepError: if no repeat is complete, or there is only one interval.
        """
        table = (
            self.to_pandas().pivot_table(index="repeat", columns="interval_ns", values="metric")
            if self.rows
            else None
        )
        if table is None or len(table.dropna()) < 1 or table.shape[1] < 2:
            raise SweepError(
                "a best interval needs at least two intervals and one complete repeat of them", self
            )
        table = table.dropna()
        base = DEFAULT_INTERVAL_NS if DEFAULT_INTERVAL_NS in table else int(table.columns[0])
        gains = {int(c): self._log_gain(table, int(c), base) for c in table.columns if c != base}
        level = 1 - (1 - _CONFIDENCE) / len(gains)
        chosen = max(gains, key=lambda c: float(gains[c].mean()))
        gain = float(gains[chosen].mean())
        low, high = _mean_interval(gains[chosen], level)
        if low <= 0:
            return self._no_difference(base, gain, low, high)
        gain, low, high = (math.exp(x) for x in (gain, low, high))
        words = (
            f"{duration(chosen)}: {gain:.2f} times better than {duration(base)} "
            f"(95 %: {low:.2f} to {high:.2f}) in {self.metric}, {len(table)} repeats"
        )
        return Best(chosen / 1e9, gain, low, high, words)

    def _no_difference(self, base: int, gain: float, low: float, high: float) -> Best:
        gain, low, high = (math.exp(x) for x in (gain, low, high))
        words = (
            f"no difference beyond noise: keep {duration(base)} (the best of the others: {gain:.2f} times, "
            f"95 %: {low:.2f} to {high:.2f})"
        )
        return Best(base / 1e9, 1.0, low, high, words)

    def _log_gain(self, table: pd.DataFrame, interval: int, base: int) -> Floats:
        log = np.log(table[base].to_numpy(np.float64)) - np.log(table[interval].to_numpy(np.float64))
        return np.asarray(log if self.better == "lower" else -log)

    def report(self) -> str:
        """Return the summary and the best interval as text.

        Example:
            >>> import gilscope
            >>> result = gilscope.sweep(lambda: sum(range(1000)), [0.001, 0.005], repeats=2, quiet=True)
            >>> result.report().split()[0]
            'interval'
        """
        from gilscope.report import sweep as report

        lines = [] if self.complete else [f"Interrupted: {len(self.rows)} runs were completed.\n"]
        if self.rows:
            lines.append(report.render(self.summary(), self.metric))
        try:
            lines.append(f"{self.best()}\n")
        except SweepError as error:
            lines.append(f"{error}\n")
        return "".join(lines)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the metric and the waits against the interval; see `gilscope.plots.sweep`."""
        from gilscope import plots

        return plots.sweep(self.summary(), self.metric, ax)


def sweep(
    func: Callable[[], Any],
    intervals: Sequence[float] = INTERVALS,
    *,
    repeats: int = 7,
    metric: Callable[[Any], float] | None = None,
    better: Better = "lower",
    trace: bool = True,
    warmup: int = 1,
    keep: str | Path | None = None,
    quiet: bool = False,
) -> Sweep:
    """Run a function under several switch intervals, in random order, and measure each run.

    Each repeat runs every interval once, in a random order. After each run the former interval is restored.
    Ctrl-C ends the sweep and keeps the completed runs: then ``complete`` is false.

    Args:
        func: called without arguments.
        intervals: seconds.
        repeats: runs per interval.
        metric: computes the figure to compare from the result of ``func``; None compares wall time.
        better: whether lower or higher figures are better.
        trace: whether to trace each run; if not, only the figure itself is measured.
        warmup: number of runs before the first one that counts.
        keep: folder for the trace of each run, ``0.5ms-1.gilscope`` and so on; None keeps no traces.
        quiet: whether to hide the progress bar.

    Returns:
        The runs.

    Raises:
        OptionError: if an argument is out of range.
        SweepError: if ``func`` or ``metric`` raises; that error is its cause, and ``error.sweep`` has the
            runs before it.
        TraceActiveError: if a trace is active.

    Example:
        >>> import gilscope
        >>> result = gilscope.sweep(lambda: sum(range(1000)), [0.001, 0.005], repeats=2, quiet=True)
        >>> len(result.to_pandas())
        4
    """
    runner = _InProcess(func, metric, traced=trace, keep=folder_for(keep))
    name = "wall time (s)" if metric is None else getattr(metric, "__name__", "metric")
    result = Sweep([], checked(intervals, repeats, better, warmup), better, name)
    return run_all(result, runner, repeats=repeats, warmup=warmup, quiet=quiet)


def checked(intervals: Iterable[float], repeats: int, better: str, warmup: int) -> tuple[float, ...]:
    """Validate the arguments of `sweep`, and return the intervals without duplicates.

    Raises:
        OptionError: if an argument is out of range.
    """
    if better not in ("lower", "higher"):
        raise OptionError(f"better must be 'lower' or 'higher', not {better!r}")
    for name, value, least in (("repeats", repeats, 1), ("warmup", warmup, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise OptionError(f"{name} must be a whole number of at least {least}, not {value!r}")
    found = tuple(dict.fromkeys(valid_interval(value) for value in intervals))
    if not found:
        raise OptionError("intervals is empty; give seconds such as [0.0005, 0.005]")
    return found


def folder_for(keep: str | Path | None) -> Path | None:
    """Create the folder for traces if it is missing, and return it; None if none is to be kept.

    Raises:
        OptionError: if it cannot be created.
    """
    if keep is None:
        return None
    folder = Path(keep)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"keep={str(keep)!r} cannot be created as a folder: {error.strerror}") from error
    return folder


Runner = Callable[[float, int], Measured]
"""Does one run with an interval (seconds) in a repeat (-1: a warm-up) and returns the measured figures."""


def run_all(result: Sweep, runner: Runner, *, repeats: int, warmup: int, quiet: bool) -> Sweep:
    """Do all runs of a sweep; each appends its row.

    Raises:
        SweepError: if a run fails; its message names the run, and ``error.sweep`` has the runs before it.
    """
    order = random.Random(_SEED)
    plan = [(order.choice(result.intervals), -1) for _ in range(warmup)]
    for repeat in range(repeats):
        plan += [(i, repeat) for i in order.sample(result.intervals, len(result.intervals))]
    with progress_bar("sweep", len(plan), quiet=quiet) as done:
        for n, (interval, repeat) in enumerate(plan):
            try:
                row = runner(interval, repeat)
            except KeyboardInterrupt:
                result.complete = False
                break
            except TraceActiveError:
                raise
            except Exception as error:
                what = "warm-up" if repeat < 0 else f"repeat {repeat + 1}"
                raise SweepError(
                    f"{what} with a switch interval of {duration(interval * 1e9)} failed: "
                    f"{type(error).__name__}: {error}; {len(result.rows)} runs before it are in error.sweep",
                    result,
                ) from error
            if repeat >= 0:
                result.rows.append({"interval_ns": round(interval * 1e9), "repeat": repeat} | row)
            done(n + 1)
    return result


def run_name(interval: float, repeat: int) -> str:
    """Return the name of a run's trace."""
    return f"{duration(interval * 1e9).replace(' ', '')}-{repeat + 1}.gilscope"


@dataclass(frozen=True)
class _InProcess:
    """Runs a function in this process."""

    func: Callable[[], Any]
    metric: Callable[[Any], float] | None
    traced: bool
    keep: Path | None

    def __call__(self, interval: float, repeat: int) -> Measured:
        row: Measured = {}
        with _interval(interval):
            if self.traced:
                kept = self.keep / run_name(interval, repeat) if self.keep and repeat >= 0 else None
                with trace(kept, overwrite=True, quiet=True) as t:
                    value, seconds = _timed(self.func)
                row = figures(t) | ({"trace": str(kept)} if kept else {})
            else:
                value, seconds = _timed(self.func)
        measured = seconds if self.metric is None else float(self.metric(value))
        return {"wall_ns": round(seconds * 1e9), "metric": measured} | row


def _timed(func: Callable[[], Any]) -> tuple[Any, float]:
    begun = time.perf_counter()
    value = func()
    return value, time.perf_counter() - begun


@contextmanager
def _interval(seconds: float) -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def figures(t: Trace) -> Measured:
    """Return the figures of a sweep's row that come from the run's trace."""
    o = analysis.overhead(t).iloc[0]
    row: Measured = {name: float(o[name]) for name in ("handoffs_per_s", "overhead_share", "held_share")}
    row["fairness"] = float(analysis.fairness(t)["fairness"].iloc[0])
    threads = analysis.threads(t)
    for thread in threads[~threads.thread_name.duplicated(keep=False)].itertuples():
        row[f"wait_p50_ns_{thread.thread_name}"] = thread.wait_p50_ns
        row[f"wait_p99_ns_{thread.thread_name}"] = thread.wait_p99_ns
    return row


def _median_interval(values: Floats) -> tuple[float, float]:
    draws = np.random.default_rng(_SEED).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(np.median(values[draws], axis=1), [0.025, 0.975])
    return float(low), float(high)


def _mean_interval(values: Floats, level: float) -> tuple[float, float]:
    """Return the interval of a mean by Student's t; infinite for a single value."""
    n = len(values)
    if n < 2:
        return -math.inf, math.inf
    # The quantile comes from draws: precise to 1 %, without a library of distributions.
    draws = np.abs(np.random.default_rng(_SEED).standard_t(n - 1, _DRAWS))
    half = float(np.quantile(draws, level)) * float(values.std(ddof=1)) / math.sqrt(n)
    return float(values.mean()) - half, float(values.mean()) + half
