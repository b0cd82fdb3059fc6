"""What is true of every trace, checked on real ones."""

import numpy as np
import pandas as pd

from gilscope.tables import schema
from gilscope.tables.stored import Tables


def check(t: Tables) -> None:
    """Assert every invariant of design section 8 on a trace."""
    for name, columns in schema.TABLES.items():
        assert t.table(name).schema.equals(columns), name
    intervals = t.intervals.to_pandas()
    check_intervals(intervals, t.metadata["duration_ns"])
    check_threads(t, intervals)
    if t.metadata["edges"] == "exact":
        if not t.metadata.get("dropped"):
            check_waits_end_in_runs(intervals, t.metadata["duration_ns"])
        check_handoffs(t.handoffs.to_pandas(), intervals)


def check_intervals(intervals: pd.DataFrame, wall: int) -> None:
    """At most one run of each GIL at any instant; a thread's intervals do not overlap; all are inside it."""
    end = intervals.start_ns + intervals.duration_ns
    assert (intervals.start_ns >= 0).all()
    assert (intervals.duration_ns >= 0).all()
    assert (end <= wall).all()
    all_runs = intervals[intervals.state == "run"].sort_values(["start_ns", "duration_ns"], kind="stable")
    for _, runs in all_runs.groupby("interpreter"):
        assert (runs.start_ns.iloc[1:].to_numpy() >= end[runs.index].iloc[:-1].to_numpy()).all()
    for _, mine in intervals.groupby("thread"):
        mine = mine.sort_values(["start_ns", "duration_ns"])  # noqa: PLW2901
        assert (mine.start_ns.iloc[1:].to_numpy() >= end[mine.index].iloc[:-1].to_numpy()).all()


def check_threads(t: Tables, intervals: pd.DataFrame) -> None:
    """The sums per thread are those of the intervals, and each thread lives inside the trace."""
    threads = t.threads.to_pandas()
    assert threads.thread.tolist() == list(range(len(threads)))
    assert (threads.first_ns <= threads.last_ns).all()
    sums = intervals.groupby(["thread", "state"], observed=False).duration_ns.sum()
    for row in threads.itertuples():
        assert row.run_ns == sums.get((row.thread, "run"), 0)
        assert row.wait_ns == sums.get((row.thread, "wait"), 0)


def check_waits_end_in_runs(intervals: pd.DataFrame, wall: int) -> None:
    """Every wait ends where a run of the same thread begins, or at the end of the trace."""
    waits = intervals[intervals.state == "wait"]
    runs = intervals[intervals.state == "run"]
    end = waits.start_ns + waits.duration_ns
    asked, begins = (waits.interpreter, waits.thread, end), (runs.interpreter, runs.thread, runs.start_ns)
    assert (are_among(asked, begins) | (end == wall)).all()


Columns = tuple[pd.Series, ...]


def are_among(rows: Columns, found: Columns) -> np.ndarray:
    """Tell of each of some rows whether it is among others."""
    return pd.MultiIndex.from_arrays(rows).isin(pd.MultiIndex.from_arrays(found))


def check_handoffs(handoffs: pd.DataFrame, intervals: pd.DataFrame) -> None:
    """Each hand-off is a release by one thread, and the next acquire, by another."""
    runs = intervals[intervals.state == "run"]
    ends = (runs.interpreter, runs.thread, runs.start_ns + runs.duration_ns)
    begins = (runs.interpreter, runs.thread, runs.start_ns)
    h = handoffs
    assert (h.from_thread != h.to_thread).all()
    assert are_among((h.interpreter, h.from_thread, h.release_ns), ends).all()
    assert are_among((h.interpreter, h.to_thread, h.acquire_ns), begins).all()
    assert (h.gap_ns == h.acquire_ns - h.release_ns).all()
    assert (h.gap_ns >= 0).all()
    asked = handoffs.request_ns.dropna()
    assert (asked <= handoffs.acquire_ns[asked.index]).all()
    dropped = handoffs.drop_request_ns.dropna()
    assert handoffs.forced[dropped.index].all()
    assert (dropped <= handoffs.release_ns[dropped.index]).all()
