"""Tables of several processes as one: on the clock of the first, each row with its process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gilscope.recording import Recording

if TYPE_CHECKING:
    import pyarrow as pa


def begins_ns(first: Recording, other: Recording) -> int:
    """Return when a recording began, in nanoseconds since the beginning of the first one."""
    if other is first:
        return 0
    begins = [int(r.metadata.get("start_monotonic_ns", 0)) for r in (first, other)]
    return begins[1] - begins[0]


def joined(name: str, recordings: Sequence[Recording]) -> pa.Table:
    """Return a table of all of several recordings.

    Args:
        name: a key of `gilscope.schema.TABLES`.
        recordings: of processes on one machine.

    Returns:
        The rows of each, in this order, with two columns in front, int32: ``pid``, and ``process``, the
        position of the recording. Instants are nanoseconds since the beginning of the first recording.
    """
    import pyarrow as pa

    parts = []
    for i, recording in enumerate(recordings):
        rows = _shifted(recording.table(name), begins_ns(recordings[0], recording))
        for column, value in (("process", i), ("pid", recording.metadata.get("pid"))):
            rows = rows.add_column(0, pa.field(column, pa.int32()), _repeated(value, rows.num_rows))
        parts.append(rows)
    return pa.concat_tables(parts)


def _repeated(value: int | None, times: int) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    from gilscope.arrays import column

    return pa.nulls(times, pa.int32()) if value is None else column(np.full(times, value), pa.int32())


def _shifted(table: pa.Table, by_ns: int) -> pa.Table:
    import pyarrow.compute as pc

    from gilscope.arrays import scalar
    from gilscope.soundness import INSTANTS

    for i, field in enumerate(table.schema):
        if field.name in INSTANTS and by_ns:
            table = table.set_column(i, field, pc.add(table[field.name], scalar(by_ns)))
    return table
