"""What tests of `gilscope.analysis` share: every helper, and rows as the slow twin has them."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st

from gilscope import analysis
from tests.support.drawn.rows import Trace

a_window = st.sampled_from([1e-9, 3e-9, 1e-6, 1e-3, 0.005, 0.1])
A_HELPER = {
    "threads": analysis.threads,
    "overhead": analysis.overhead,
    "overhead by thread": lambda t: analysis.overhead(t, by="thread"),
    "overhead by interpreter": lambda t: analysis.overhead(t, by="interpreter"),
    "overhead by window": lambda t: analysis.overhead(t, by=0.001),
    "handoffs": analysis.handoffs,
    "holds": analysis.holds,
    "long holds": lambda t: analysis.holds(t, over=0.001),
    "blame": analysis.blame,
    "convoys": analysis.convoys,
    "timeline": lambda t: analysis.timeline(t, 0.001),
    "fairness": analysis.fairness,
    "fairness by window": lambda t: analysis.fairness(t, 0.001),
    "compare": lambda t: analysis.compare(t, t),
    "findings": analysis.findings,
}
each_helper = pytest.mark.parametrize("helper", A_HELPER.values(), ids=A_HELPER.keys())


def plain(value):
    """Return a cell as the slow twin has it."""
    if isinstance(value, list | dict):
        return value
    if pd.isna(value):
        return None
    return value.item() if isinstance(value, np.generic) else value


def rows(frame: pd.DataFrame) -> list[dict]:
    columns = [[plain(v) for v in frame[c]] for c in frame.columns]
    return [dict(zip(frame.columns, cells, strict=True)) for cells in zip(*columns, strict=True)]


def agree(frame: pd.DataFrame, expected: list[dict]) -> None:
    """Assert that rows are the same: whole numbers exactly, others to the last digits."""
    found = rows(frame)
    assert len(found) == len(expected)
    for mine, twin in zip(found, expected, strict=True):
        assert mine.keys() == twin.keys()
        for column, value in twin.items():
            if isinstance(value, float) and mine[column] is not None:
                loose = 1e-9 if any(p in column for p in ("p50", "p90", "p99", "max")) else 1e-12
                assert math.isclose(mine[column], value, rel_tol=loose), column
            else:
                assert mine[column] == value, column


def fitting(window: float, trace: Trace) -> float:
    """Return a window that makes some, but not too many windows of a trace."""
    return max(window, trace.duration / 12e9)
