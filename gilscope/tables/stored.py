"""The tables of one trace, read from their Arrow files only when asked for, and its metadata."""

from __future__ import annotations

import os
from pathlib import Path

from gilscope.errors import TraceFormatError
from gilscope.tables.files import crc_of, open_regular

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any, BinaryIO

    import pyarrow as pa

# What this module needs is imported where it is first needed: `import gilscope` must cost a traced program
# next to nothing.


class Tables:
    """The tables and the metadata of one trace, wherever they lie.

    Tables of a trace on disk are memory-mapped: a table larger than memory can be read in batches.

    Args:
        folder: folder with one Arrow IPC file per table, or None when ``tables`` holds them all.
        metadata: the content of ``metadata.json``.
        tables: tables held in memory, for traces made by hand.
        home: the folder that was recorded to; None for ``folder``. The tables of a recording that was not
            finished lie in a temporary folder.
        children: opens the tables of child processes.

    Example:
        >>> from gilscope.tables.stored import Tables
        >>> Tables(None, {"edges": "exact"}).intervals.num_rows
        0
    """

    def __init__(
        self,
        folder: Path | None,
        metadata: dict[str, Any],
        tables: Mapping[str, pa.Table] | None = None,
        *,
        home: Path | None = None,
        children: Callable[[], Sequence[Tables]] = tuple,
    ) -> None:
        self.folder = folder
        self.metadata = metadata
        self.home = home or folder
        self._tables: dict[str, pa.Table] = dict(tables or {})
        self._checked: set[str] = set()
        self._open_children = children
        self._children: Sequence[Tables] | None = None

    @property
    def children(self) -> Sequence[Tables]:
        """The tables of child processes, in order of their beginnings; opened when first asked for."""
        if self._children is None:
            self._children = self._open_children()
        return self._children

    @property
    def threads(self) -> pa.Table:
        """One row per thread that took or asked for the GIL, in order of appearance."""
        return self.table("threads")

    @property
    def intervals(self) -> pa.Table:
        """One row per ``run`` or ``wait`` interval of a thread."""
        return self.table("intervals")

    @property
    def handoffs(self) -> pa.Table:
        """One row per change of the GIL's holder."""
        return self.table("handoffs")

    @property
    def switch_intervals(self) -> pa.Table:
        """One row per value of the switch interval seen in force on the main interpreter's GIL."""
        return self.table("switch_intervals")

    @property
    def samples(self) -> pa.Table:
        """One row per tick of the sampler; ``switches`` are those of the main interpreter's GIL."""
        return self.table("samples")

    @property
    def sites(self) -> pa.Table:
        """One row per place in the program where the GIL was let go, with its caller; see ``intervals``."""
        return self.table("sites")

    @property
    def marks(self) -> pa.Table:
        """One row per mark, and per region: what the program itself named."""
        return self.table("marks")

    def table(self, name: str) -> pa.Table:
        """Return a whole table by its name.

        Args:
            name: a key of `gilscope.tables.schema.TABLES`.

        Raises:
            TraceFormatError: the file is missing, damaged, or has other columns.
        """
        from gilscope.tables import schema

        if name not in self._tables:
            if self.folder is None or self._is_later(name):
                self._tables[name] = schema.TABLES[name].empty_table()
            else:
                self._tables[name] = self._guard(name, lambda: self._read(name))
        return self._tables[name]

    def _read(self, name: str) -> pa.Table:
        from gilscope.tables import checks, schema

        with self._open(name) as reader:
            table = schema.completed(name, reader.read_all())
        self._check_rows(name, table)
        checks.check_table(name, table)
        return table

    def _check_rows(self, name: str, rows: pa.Table | pa.RecordBatch) -> None:
        from gilscope.tables import checks, schema

        n_rows = {
            other: len(rows if other == name else self.table(other))
            for other in schema.DECLARED[name].refers_to
        }
        checks.check_rows(name, rows, n_rows, self.metadata.get("duration_ns", checks.LATEST_NS))

    def batches(self, name: str) -> Iterator[pa.RecordBatch]:
        """Yield a table's record batches one after the other, never holding the whole table.

        Raises:
            TraceFormatError: the file is missing, damaged, or has other columns.
        """
        from gilscope.tables import schema

        whole = schema.DECLARED[name].numbered is not None  # its rows refer to rows of other batches
        if self.folder is None or name in self._tables or whole or self._is_later(name):
            yield from self.table(name).to_batches()
            return
        with self._guard(name, lambda: self._open(name)) as reader:
            while batch := self._guard(name, lambda: self._next(name, reader)):
                yield batch

    def _next(self, name: str, reader: pa.RecordBatchReader) -> pa.RecordBatch | None:
        from gilscope.tables import schema

        try:
            batch = schema.completed(name, reader.read_next_batch())
        except StopIteration:
            return None
        self._check_rows(name, batch)
        return batch

    def keep(self) -> None:
        """Open every table now: what is open can be read when its folder has been replaced or removed."""
        from gilscope.tables import schema

        for name in schema.TABLES:
            self.table(name)

    def _is_later(self, name: str) -> bool:
        """Return whether a trace is older than a table: its writer knew no such table."""
        return f"{name}.arrow" not in self.metadata.get("files", {f"{name}.arrow"})

    def _file(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{name}.arrow"

    def _open(self, name: str) -> pa.RecordBatchReader:
        from gilscope.tables import schema
        from gilscope.tables.arrowfile import open_batches

        path = self._file(name)
        with open_regular(path) as file:
            self._check(path, file)
            reader = open_batches(file)
        if not any(reader.schema.equals(version) for version in schema.versions(name)):
            raise TraceFormatError(
                f"{path}: expected the columns {schema.TABLES[name].names} of gilscope's table "
                f"{name!r}, found {reader.schema.names}; the file belongs to another program or version"
            )
        return reader

    def _check(self, path: Path, file: BinaryIO) -> None:
        """Compare a file with the size and checksum that the metadata has of it, once."""
        expected = self.metadata.get("files", {}).get(path.name)
        if path.name in self._checked or expected is None:
            return
        size = os.fstat(file.fileno()).st_size
        # Of another size there is no need to read it all, however large it is.
        found = {"bytes": size, "crc32": crc_of(file) if size == expected["bytes"] else 0}
        if found != expected:
            raise TraceFormatError(
                f"{path}: damaged: expected {expected['bytes']} bytes with CRC-32 {expected['crc32']:08x}, "
                f"found {found['bytes']} bytes with CRC-32 {found['crc32']:08x}; record the trace again or "
                "copy the folder again"
            )
        self._checked.add(path.name)

    def _guard(self, name: str, read: Callable[[], Any]) -> Any:
        """Call ``read`` and turn what Arrow raises about a damaged file into a TraceFormatError."""
        import pyarrow as pa

        try:
            return read()
        except TraceFormatError:
            raise
        except FileNotFoundError:
            raise TraceFormatError(
                f"{self._file(name)}: the table {name!r} is missing from this trace; record it again, "
                "or copy the whole folder"
            ) from None
        except (pa.ArrowException, OSError, EOFError, ValueError) as error:
            raise TraceFormatError(f"{self._file(name)}: not a readable table: {error}") from error
