"""Several processes as one: on the clock of the first, each row with its process, or a row for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gilscope.tables.folder import CHILDREN_FOLDER
from gilscope.tables.stored import Tables

if TYPE_CHECKING:
    from typing import Any

    import pyarrow as pa


def begins_ns(first: Tables, other: Tables) -> int:
    """Return when a recording began, in nanoseconds since the beginning of the first one."""
    if other is first:
        return 0
    begins = [int(r.metadata.get("start_monotonic_ns", 0)) for r in (first, other)]
    return begins[1] - begins[0]


def joined(name: str, recordings: Sequence[Tables]) -> pa.Table:
    """Return a table of all of several recordings.

    Args:
        name: a key of `gilscope.tables.schema.TABLES`.
        recordings: of processes on one machine.

    Returns:
        The rows of each, in this order, with two columns in front, int32: ``pid``, and ``process``, the
        position of the recording. Instants are nanoseconds since the beginning of the first recording.
    """
    import pyarrow as pa

    parts = []
    for i, recording in enumerate(recordings):
        rows = _shifted(name, recording.table(name), begins_ns(recordings[0], recording))
        for column, value in (("process", i), ("pid", recording.metadata.get("pid"))):
            rows = rows.add_column(0, pa.field(column, pa.int32()), _repeated(value, rows.num_rows))
        parts.append(rows)
    return pa.concat_tables(parts)


def _repeated(value: int | None, times: int) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    from gilscope.tables.arrays import column

    return pa.nulls(times, pa.int32()) if value is None else column(np.full(times, value), pa.int32())


def _shifted(name: str, table: pa.Table, by_ns: int) -> pa.Table:
    import pyarrow.compute as pc

    from gilscope.tables.arrays import scalar
    from gilscope.tables.schema import DECLARED, Kind

    for column_name in DECLARED[name].names(Kind.INSTANT) if by_ns else ():
        i = table.schema.get_field_index(column_name)
        table = table.set_column(i, table.field(i), pc.add(table[i], scalar(by_ns)))
    return table


def processes(t: Tables) -> list[dict[str, Any]]:
    """Return a row per child process, in order of their beginnings.

    Keys: ``path`` (in the trace's folder), ``pid``, ``ppid``, ``argv``, ``start_ns`` (since the beginning of
    ``t``), ``duration_ns``, ``held_share`` (of its GILs, of its duration), ``threads``, ``complete``.
    """
    return [_child(t, child) for child in t.children]


def _child(t: Tables, child: Tables) -> dict[str, Any]:
    m = child.metadata
    held = sum(child.threads["run_ns"].to_pylist())
    return {
        "path": None if child.home is None else f"{CHILDREN_FOLDER}/{child.home.name}",
        **{key: m.get(key) for key in ("pid", "ppid", "argv")},
        "start_ns": begins_ns(t, child),
        "duration_ns": m["duration_ns"],
        "held_share": held / max(m["duration_ns"], 1),
        "threads": child.threads.num_rows,
        "complete": m["complete"],
    }


def folder_name(row: dict[str, Any]) -> str:
    """Return what the folder of a child process is called: its pid, which a number may follow."""
    return _last(row["path"])


def script(argv: list[str] | None) -> str:
    """Return the program that a process runs, without its arguments."""
    words = argv or [""]
    return " ".join(words[:2]) if words[0] in ("-c", "-m") else _last(words[0])


def _last(path: str | None) -> str:
    return (path or "").rpartition("/")[2]
