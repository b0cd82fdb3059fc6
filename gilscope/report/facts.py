"""The facts of a report, derived once: `text`, `json` and `html` lay them out.

Figures are those of `gilscope.analysis`, in the order in which a report shows them. Tables stay DataFrames,
since they may be large; `rows` makes dictionaries of those rows that are shown.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from gilscope import analysis
from gilscope.analysis.inputs import AnyTrace, as_tables
from gilscope.tables.processes import processes
from gilscope.units import duration

if TYPE_CHECKING:
    from gilscope.tables.stored import Tables

Row = dict[str, Any]
"""A row of a table by its columns; unknown values are None."""

_WINDOWS = 100
_MOST_INTERVALS = 4  # values of the switch interval that are listed
_WAIT_PARTS = ("patience", "response", "gap")


def rows(frame: pd.DataFrame) -> list[Row]:
    """Return the rows of a frame; null and infinite values are None.

    Example:
        >>> rows(pd.DataFrame({"slowdown": [1.5, math.inf, math.nan]}))
        [{'slowdown': 1.5}, {'slowdown': None}, {'slowdown': None}]
    """
    plain = frame.astype(object)
    found: list[Row] = plain.where(frame.notna(), None).to_dict("records")
    # pandas 2.2 keeps NaN in a column that has nulls as a value, which `notna` passes.
    return [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        for row in found
    ]


@dataclass(frozen=True)
class Blame:
    """How long each thread waited while each other one held the GIL, in nanoseconds.

    Args:
        waiters: names of the threads that waited, one per row.
        holders: names of the threads that held the GIL, one per column; the last column is ``free``.
        waited: the matrix.
        hottest: its largest cell, of all threads; at least 1.
    """

    waiters: list[str]
    holders: list[str]
    waited: list[list[int]]
    hottest: float


@dataclass(frozen=True)
class Facts:
    """The facts of one trace; each is derived when it is first read.

    Args:
        tables: of the trace.

    Example:
        >>> import gilscope
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> facts_of(t).overhead["wall_ns"] == t.metadata["duration_ns"]
        True
    """

    tables: Tables

    # ---- the trace ----

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata of the trace."""
        return self.tables.metadata

    @property
    def exact(self) -> bool:
        """Whether each transition was recorded, not sampled."""
        return bool(self.metadata.get("edges", "exact") == "exact")

    @property
    def duration_ns(self) -> int:
        """Length of the trace in nanoseconds."""
        return int(self.metadata.get("duration_ns", 0))

    @property
    def switch_interval(self) -> str:
        """The values of the switch interval in order of time, as text; of many the first ones."""
        values = [duration(ns) for ns in self.tables.switch_intervals["interval_ns"].to_pylist()]
        if len(values) > _MOST_INTERVALS:
            values = [*values[: _MOST_INTERVALS - 1], f"... ({len(values)} values)"]
        return ", then ".join(values)

    @functools.cached_property
    def notes(self) -> list[str]:
        """What the trace could not measure, sentences without their full stops."""
        notes = list(self.metadata.get("not_measured", []))
        lost = self.overhead["lost_ns"]
        if lost:
            notes.append(f"the figures leave out {duration(lost)} in which transitions were lost")
        return notes

    # ---- the GIL ----

    @functools.cached_property
    def overhead(self) -> Row:
        """The row of `gilscope.analysis.overhead`: all GILs added up."""
        [row] = rows(analysis.overhead(self.tables))
        return row

    @functools.cached_property
    def gils(self) -> pd.DataFrame:
        """One row per GIL, by interpreter."""
        return analysis.overhead(self.tables, "interpreter")

    @property
    def busiest_gils(self) -> pd.DataFrame:
        """The GILs, the one held longest first."""
        return self.gils.sort_values("held_ns", ascending=False, kind="stable")

    @functools.cached_property
    def waiting(self) -> tuple[float, dict[str, float]] | None:
        """All waiting in nanoseconds, and the share of each part of it; None if no thread waited."""
        found = rows(analysis.switch_interval(self.tables, []))
        if not found or not found[0]["wait_ns"]:
            return None
        [row] = found
        return row["wait_ns"], {part: row[f"{part}_ns"] / row["wait_ns"] for part in _WAIT_PARTS}

    @functools.cached_property
    def switch_interval_estimates(self) -> pd.DataFrame:
        """What other switch intervals would change."""
        return analysis.switch_interval(self.tables)

    @functools.cached_property
    def handoff_quantiles(self) -> dict[str, Row]:
        """Quantiles of the times of a hand-off: ``p50``, ``p90``, ``p99`` and ``max``."""
        frame = analysis.handoffs(self.tables)[["patience_ns", "response_ns", "gap_ns", "wait_ns"]]
        found = frame.astype("Float64").quantile([0.5, 0.9, 0.99, 1.0])
        return dict(zip(("p50", "p90", "p99", "max"), rows(found), strict=True))

    @property
    def window_s(self) -> float:
        """Seconds of a window of `timeline` and `fairness`."""
        return max(self.duration_ns / _WINDOWS, 1) / 1e9

    @property
    def timeline(self) -> pd.DataFrame:
        """How the GIL spent its time, by window."""
        return analysis.timeline(self.tables, self.window_s)

    @property
    def fairness(self) -> pd.DataFrame:
        """How evenly threads shared the GIL, by window."""
        return analysis.fairness(self.tables, self.window_s)

    # ---- threads ----

    @functools.cached_property
    def threads(self) -> pd.DataFrame:
        """One row per thread, in order of appearance."""
        return analysis.threads(self.tables)

    @functools.cached_property
    def busiest(self) -> pd.DataFrame:
        """The threads, those first that held the GIL or waited for it longest."""
        frame = self.threads
        busy = frame.assign(busy=frame.run_ns + frame.wait_ns)
        return busy.sort_values("busy", ascending=False, kind="stable").drop(columns="busy")

    def other_threads(self, shown: int) -> Row | None:
        """Return the threads after the busiest ones, added up; None if there are no others.

        Returns:
            ``n``, ``run_share``, ``wait_share`` and ``off_share`` (of their lives), ``acquires`` and
            ``longest_ns`` (hold).
        """
        rest = self.busiest[shown:]
        if not len(rest):
            return None
        life = max(rest.life_ns.sum(), 1)
        shares = {f"{word}_share": rest[f"{word}_ns"].sum() / life for word in ("run", "wait", "off")}
        return {
            "n": len(rest),
            **shares,
            "acquires": rest.acquires.sum(),
            "longest_ns": rest.longest_ns.max(),
        }

    @functools.cached_property
    def blame_matrix(self) -> pd.DataFrame:
        """The matrix of `gilscope.analysis.blame`, between threads.

        Raises:
            OptionError: if the matrix is too large.
        """
        return analysis.blame(self.tables)

    def blame(self, most: int) -> Blame:
        """Return which threads made which threads wait, without bounds.

        Args:
            most: how many threads have a row or a column of their own; the others are added up.

        Raises:
            OptionError: if the matrix is too large.
        """
        matrix = self.blame_matrix
        matrix = matrix[[c for c in matrix.columns if not str(c).endswith(("_low", "_high"))]]
        names = dict(zip(self.threads.thread, self.threads.thread_name, strict=True))
        few = _fewer_holders(_fewer_waiters(matrix, most), matrix, most)
        return Blame(
            waiters=[names.get(thread, str(thread)) for thread in few.index],
            holders=[names.get(thread, str(thread)) for thread in few.columns],
            waited=few.to_numpy().tolist(),
            hottest=max(float(matrix.to_numpy().max()), 1.0) if len(matrix) else 1.0,
        )

    # ---- holds, lines, findings ----

    @functools.cached_property
    def findings(self) -> pd.DataFrame:
        """The findings, the costliest first."""
        return analysis.findings(self.tables)

    @functools.cached_property
    def holds(self) -> pd.DataFrame:
        """The holds of the GIL, the longest first."""
        return analysis.holds(self.tables)

    @functools.cached_property
    def convoys(self) -> pd.DataFrame:
        """The convoys, the costliest first."""
        return analysis.convoys(self.tables)

    @property
    def located(self) -> bool:
        """Whether the trace has lines of code."""
        return bool(self.tables.sites.num_rows)

    @functools.cached_property
    def lines(self) -> pd.DataFrame:
        """The lines of the program, the costliest for others first; empty if the trace has no lines."""
        return analysis.sites(self.tables, frame="program") if self.located else pd.DataFrame()

    def costly_lines(self, share: float, *costs: str) -> pd.DataFrame:
        """Return the lines of which one of some columns is at least a share of the trace's length."""
        if not len(self.lines):
            return self.lines
        return self.lines[self.lines[list(costs)].max(axis=1) >= share * self.duration_ns]

    @functools.cached_property
    def keeps(self) -> pd.DataFrame:
        """The calls that ignored drop requests, the costliest first; empty if the trace has no lines."""
        return analysis.keeps_gil(self.tables) if self.located else pd.DataFrame()

    # ---- child processes ----

    @functools.cached_property
    def children(self) -> list[Row]:
        """One row per child process, in order of their beginnings; see `gilscope.tables.processes`."""
        return processes(self.tables)

    @property
    def busiest_children(self) -> list[Row]:
        """The child processes, those first that held their GIL longest."""
        return sorted(self.children, key=lambda row: -row["held_share"] * row["duration_ns"])

    @property
    def child_command(self) -> str:
        """The command that reports the busiest child process."""
        return f"gilscope report {self.tables.home or 'TRACE'}/{self.busiest_children[0]['path']}"


def facts_of(t: AnyTrace) -> Facts:
    """Return the facts of a trace, its path, or its tables.

    Raises:
        OptionError: if ``t`` is not one of these.
    """
    return Facts(as_tables(t))


def _fewer_waiters(matrix: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return the rows of the threads that waited longest, and one that adds up the others."""
    kept = matrix.sum(axis=1).nlargest(most).index.sort_values()
    if len(kept) == len(matrix):
        return matrix
    rest = matrix.drop(index=kept).sum().to_frame(f"{len(matrix) - len(kept)} others").T
    return pd.concat([matrix.loc[kept], rest])


def _fewer_holders(few: pd.DataFrame, matrix: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return the columns of the threads that made others wait longest, one of the others, and ``free``."""
    holders = [c for c in matrix.columns if c != "free"]
    kept = sorted(sorted(holders, key=lambda c: -int(matrix[c].sum()))[:most])
    out = few[kept].copy()
    if len(kept) < len(holders):
        out[f"{len(holders) - len(kept)} others"] = few[holders].sum(axis=1) - few[kept].sum(axis=1)
    out["free"] = few["free"]
    return out
