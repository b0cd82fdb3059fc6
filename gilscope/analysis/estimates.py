"""95 % intervals of estimates from sampled edges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gilscope.analysis.jain import fairness_index
from gilscope.analysis.observed import ObservedTrace
from gilscope.tables.spans import Floats, Int

WINDOWS = 20
_T_95 = 2.093  # Student's t, 97.5 %, WINDOWS - 1 degrees of freedom
_Z_95 = 1.96  # the normal distribution, 97.5 %
_SEED = 20  # any: the same trace gives the same interval
_RESAMPLES = 500
_RULE_OF_THREE = 3  # what n ticks never saw has a share below 3 / n (Hanley and Lippman-Hand 1983)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a part of a trace with sampled edges was sampled.

    Args:
        wall: nanoseconds of observed time.
        ticks: wake-ups of the sampler, at least 1.
        disturbed: share of time in which the sampler was on a processor.
    """

    wall: int
    ticks: int
    disturbed: float


def edges(sampling: ObservedTrace | Sampling) -> Int:
    """Return the edges of the windows of the batch means, in observed nanoseconds (of the part)."""
    return np.linspace(0, sampling.wall, WINDOWS + 1).astype(np.int64)


def half_widths(sampling: ObservedTrace | Sampling, covered: Int | Floats) -> Floats:
    """Return half the width of the 95 % interval of shares of time.

    It is the sampling error by batch means over windows of equal length (Student's t), at least 3/n for n
    ticks, plus the share of time in which the sampler was on a processor: it cannot see what it disturbs.

    Args:
        sampling: a trace with sampled edges, or part of one.
        covered: nanoseconds covered in each window of `edges`; shape (..., WINDOWS).
    """
    shares = covered / np.maximum(np.diff(edges(sampling)), 1)
    chance = _T_95 * shares.std(axis=-1, ddof=1) / np.sqrt(WINDOWS)
    return np.asarray(np.maximum(chance, _RULE_OF_THREE / sampling.ticks) + sampling.disturbed)


def add_interval(
    row: dict[str, object], name: str, sampling: ObservedTrace | Sampling, covered: Int, gils: int = 1
) -> None:
    """Add ``_low`` and ``_high`` of the figures ``<name>_ns`` and ``<name>_share`` to a row.

    Args:
        row: the row to add them to.
        name: name of the figure.
        sampling: a trace with sampled edges, or part of one.
        covered: nanoseconds covered in each window of `edges`, added up over GILs.
        gils: number of GILs.
    """
    whole = sampling.wall * gils
    half = float(half_widths(sampling, covered / gils))
    share = float(covered.sum()) / max(whole, 1)
    for end, value in (("low", max(share - half, 0.0)), ("high", min(share + half, 1.0))):
        row[f"{name}_share_{end}"] = value
        row[f"{name}_ns_{end}"] = value * whole


def wilson(trace: ObservedTrace, share: Floats, ticks: Int) -> tuple[Floats, Floats]:
    """Return the 95 % interval of shares, each seen in a number of ticks (Wilson 1927), widened as above.

    Ticks at random instants about a period apart count as independent.
    """
    n = np.maximum(ticks, 1)
    middle = (share + _Z_95**2 / (2 * n)) / (1 + _Z_95**2 / n)
    half = _Z_95 / (1 + _Z_95**2 / n) * np.sqrt(share * (1 - share) / n + _Z_95**2 / (4 * n**2))
    half = half + trace.disturbed
    # Rounding must not exclude a share of 0 or 1.
    low, high = np.minimum(middle - half, share), np.maximum(middle + half, share)
    return np.clip(low, 0, 1), np.clip(high, 0, 1)


def poisson(trace: ObservedTrace, mean: Floats, ticks: Int) -> tuple[Floats, Floats]:
    """Return the 95 % interval of mean numbers of threads, each seen in a number of ticks, widened as above.

    The number of threads that wait independently varies at most like a Poisson number of the same mean, whose
    standard error is sqrt(mean / ticks); as in Wilson's interval a quarter of a tick is added.
    """
    n = np.maximum(ticks, 1)
    half = _Z_95 * np.sqrt(mean / n + _Z_95**2 / (4 * n**2)) + trace.disturbed
    return np.maximum(mean - half, 0.0), mean + half


def fairness(trace: ObservedTrace, run: Int, wait: Int) -> tuple[float, float]:
    """Return the 95 % interval of Jain's index, by block bootstrap (Künsch 1989) over windows of `edges`.

    Args:
        trace: a trace with sampled edges.
        run: nanoseconds by thread and window.
        wait: likewise.
    """
    draws = np.random.default_rng(_SEED).integers(0, WINDOWS, (_RESAMPLES, WINDOWS))
    ran, waited = (ns[:, draws].sum(axis=-1).astype(np.float64) for ns in (run, wait))
    index = fairness_index(ran, waited)
    index = index[np.isfinite(index)]
    if not len(index):
        return float("nan"), float("nan")
    low, high = np.quantile(index, [0.025, 0.975])
    return max(float(low) - trace.disturbed, 0.0), min(float(high) + trace.disturbed, 1.0)
