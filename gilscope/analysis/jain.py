"""Jain's index: how evenly something is shared (Jain, Chiu and Hawe 1984)."""

from __future__ import annotations

import numpy as np

from gilscope.tables.spans import Floats, Int, Mask


def jains_index(amount: Int | Floats, counts: Mask | None = None) -> Floats:
    """Return (sum x)**2 / (n sum x**2): 1 where all have the same, 1/n where one has everything.

    Args:
        amount: what each one has; shape (n, ...).
        counts: of the same shape, false for those to leave out; None counts all.

    Returns:
        The index over the first axis, of the remaining shape; NaN where none counts or none has anything.

    Example:
        >>> jains_index(np.array([1.0, 1.0, 0.0, 0.0])).item()
        0.5
    """
    counts = np.ones(amount.shape, np.bool_) if counts is None else counts
    x = np.where(counts, amount, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(x.sum(axis=0) ** 2 / (counts.sum(axis=0) * (x**2).sum(axis=0)))


def fairness_index(run: Int | Floats, wait: Int | Floats) -> Floats:
    """Return Jain's index of run / (run + wait) over the threads that ran or waited.

    Args:
        run: time each thread ran; shape (threads, ...).
        wait: time each thread waited, of the same shape and unit.

    Returns:
        Of the remaining shape; NaN where no thread wanted the GIL, or none got it.

    Example:
        >>> fairness_index(np.array([3, 1, 0]), np.array([1, 3, 0])).item()
        0.8
    """
    wanted = run + wait
    with np.errstate(divide="ignore", invalid="ignore"):
        return jains_index(run / wanted, wanted > 0)
