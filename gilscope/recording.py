"""A finished recording: its tables, read from the Arrow files only when asked for, and its metadata."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from gilscope import schema
from gilscope.errors import TraceFormatError

METADATA_FILE = "metadata.json"


class Recording:
    """The tables and the metadata of one trace, wherever they lie.

    Tables of a trace on disk are memory-mapped: a table larger than memory can be read in batches.

    Args:
        path: folder with one Arrow IPC file per table, or None when ``tables`` holds them all.
        metadata: the content of ``metadata.json``.
        tables: tables held in memory, for recordings made by hand.

    Example:
        >>> from gilscope.recording import Recording
        >>> Recording(None, {"edges": "exact"}).intervals.num_rows
        0
    """

    def __init__(
        self,
        path: Path | None,
        metadata: dict[str, Any],
        tables: Mapping[str, pa.Table] | None = None,
    ) -> None:
        self._folder = path
        self._metadata = metadata
        self._tables: dict[str, pa.Table] = dict(tables or {})

    @property
    def metadata(self) -> dict[str, Any]:
        """What was recorded, where, how, and what could not be measured."""
        return self._metadata

    @property
    def threads(self) -> pa.Table:
        """One row per thread that took or asked for the GIL (see the README for the columns)."""
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
        """One row per value of the switch interval seen in force."""
        return self.table("switch_intervals")

    @property
    def samples(self) -> pa.Table:
        """One row per tick of the sampler."""
        return self.table("samples")

    def table(self, name: str) -> pa.Table:
        """Return a whole table by its name.

        Args:
            name: a key of `gilscope.schema.TABLES`.

        Raises:
            TraceFormatError: the file is missing, damaged, or has other columns.
        """
        if name not in self._tables:
            if self._folder is None:
                self._tables[name] = schema.TABLES[name].empty_table()
            else:
                with self._open(name) as reader:
                    self._tables[name] = self._guard(name, reader.read_all)
        return self._tables[name]

    def batches(self, name: str) -> Iterator[pa.RecordBatch]:
        """Yield a table's record batches one after the other, never holding the whole table.

        Raises:
            TraceFormatError: the file is missing, damaged, or has other columns.
        """
        if self._folder is None:
            yield from self.table(name).to_batches()
            return
        with self._open(name) as reader:
            for i in range(reader.num_record_batches):
                yield self._guard(name, lambda i=i: reader.get_batch(i))

    def num_rows(self, name: str) -> int:
        """Return how many rows a table has, without reading its columns."""
        return self.table(name).num_rows

    def _file(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{name}.arrow"

    def _open(self, name: str) -> pa.ipc.RecordBatchFileReader:
        reader = self._guard(name, lambda: pa.ipc.open_file(pa.memory_map(str(self._file(name)))))
        if not reader.schema.equals(schema.TABLES[name]):
            raise TraceFormatError(
                f"{self._file(name)}: expected the columns {schema.TABLES[name].names} of gilscope's table "
                f"{name!r}, found {reader.schema.names}; the file belongs to another program or version"
            )
        return reader

    def _guard(self, name: str, read: Any) -> Any:
        """Call ``read`` and turn what Arrow raises about a damaged file into a TraceFormatError."""
        try:
            return read()
        except FileNotFoundError:
            raise TraceFormatError(
                f"{self._file(name)}: the table {name!r} is missing from this trace; record it again, "
                "or copy the whole folder"
            ) from None
        except (pa.ArrowInvalid, pa.ArrowException, OSError, EOFError) as error:
            raise TraceFormatError(f"{self._file(name)}: not a readable Arrow IPC file: {error}") from error


def read_metadata(folder: Path) -> dict[str, Any]:
    """Read ``metadata.json`` of a trace folder.

    Raises:
        TraceFormatError: it is missing, not JSON, or not an object.
    """
    file = folder / METADATA_FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TraceFormatError(
            f"{folder}: no {METADATA_FILE} in it, so this is not a trace; expected a folder written by "
            "gilscope.trace()"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise TraceFormatError(f"{file}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise TraceFormatError(f"{file}: expected a JSON object, found {type(content).__name__}")
    return content
