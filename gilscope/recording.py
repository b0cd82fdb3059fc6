"""A finished recording: its tables, read from the Arrow files only when asked for, and its metadata."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from gilscope.errors import TraceFormatError

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    import pyarrow as pa

METADATA_FILE = "metadata.json"
SPOOL_FILE = "spool.bin"

# What this module needs is imported where it is first needed: `import gilscope` must cost a traced program
# next to nothing.


class Recording:
    """The tables and the metadata of one trace, wherever they lie.

    Tables of a trace on disk are memory-mapped: a table larger than memory can be read in batches.

    Args:
        folder: folder with one Arrow IPC file per table, or None when ``tables`` holds them all.
        metadata: the content of ``metadata.json``.
        tables: tables held in memory, for recordings made by hand.

    Example:
        >>> from gilscope.recording import Recording
        >>> Recording(None, {"edges": "exact"}).intervals.num_rows
        0
    """

    def __init__(
        self,
        folder: Path | None,
        metadata: dict[str, Any],
        tables: Mapping[str, pa.Table] | None = None,
    ) -> None:
        self._folder = folder
        self._metadata = metadata
        self._tables: dict[str, pa.Table] = dict(tables or {})
        self._checked: set[str] = set()

    @property
    def metadata(self) -> dict[str, Any]:
        """What was recorded, where, how, and what could not be measured."""
        return self._metadata

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

    def table(self, name: str) -> pa.Table:
        """Return a whole table by its name.

        Args:
            name: a key of `gilscope.schema.TABLES`.

        Raises:
            TraceFormatError: the file is missing, damaged, or has other columns.
        """
        from gilscope import schema

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
        if self._folder is None or name in self._tables:
            yield from self.table(name).to_batches()
            return
        with self._open(name) as reader:
            for i in range(reader.num_record_batches):
                yield self._guard(name, functools.partial(reader.get_batch, i))

    def _file(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{name}.arrow"

    def _open(self, name: str) -> pa.ipc.RecordBatchFileReader:
        import pyarrow as pa

        from gilscope import schema

        file = self._file(name)
        self._guard(name, lambda: self._check(file))
        reader = self._guard(name, lambda: pa.ipc.open_file(pa.memory_map(str(file))))
        if not reader.schema.equals(schema.TABLES[name]):
            raise TraceFormatError(
                f"{file}: expected the columns {schema.TABLES[name].names} of gilscope's table "
                f"{name!r}, found {reader.schema.names}; the file belongs to another program or version"
            )
        return reader

    def _check(self, file: Path) -> None:
        """Compare a file with the size and checksum that the metadata has of it, once."""
        expected = self._metadata.get("files", {}).get(file.name)
        if file.name in self._checked or expected is None:
            return
        found = describe_file(file)
        if found != expected:
            raise TraceFormatError(
                f"{file}: damaged: expected {expected['bytes']} bytes with CRC-32 {expected['crc32']:08x}, "
                f"found {found['bytes']} bytes with CRC-32 {found['crc32']:08x}; record the trace again or "
                "copy the folder again"
            )
        self._checked.add(file.name)

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
            raise TraceFormatError(f"{self._file(name)}: not a readable Arrow IPC file: {error}") from error


def describe_file(file: Path) -> dict[str, int]:
    """Return a file's size and its CRC-32 (Arrow IPC files carry no checksum of their own)."""
    import zlib

    crc = size = 0
    with file.open("rb") as f:
        while piece := f.read(1 << 20):
            crc = zlib.crc32(piece, crc)
            size += len(piece)
    return {"bytes": size, "crc32": crc}


def _metadata_crc(metadata: dict[str, Any]) -> int:
    import json
    import zlib

    rest = {key: value for key, value in metadata.items() if key != "crc32"}
    return zlib.crc32(json.dumps(rest, sort_keys=True).encode())


def write_metadata(folder: Path, metadata: dict[str, Any]) -> None:
    """Write ``metadata.json`` into a trace folder, whole or not at all."""
    import json

    text = json.dumps({**metadata, "crc32": _metadata_crc(metadata)}, indent=2)
    temporary = folder / f"{METADATA_FILE}.new"
    temporary.write_text(text + "\n", encoding="utf-8")
    os.replace(temporary, folder / METADATA_FILE)


def read_metadata(folder: Path) -> dict[str, Any]:
    """Read ``metadata.json`` of a trace folder.

    Raises:
        TraceFormatError: it is missing, not JSON, not an object, or damaged.
    """
    import json

    file = folder / METADATA_FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise TraceFormatError(
            f"{folder}: no {METADATA_FILE} in it, so this is no trace; expected a folder written by "
            "gilscope.trace()"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise TraceFormatError(f"{file}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise TraceFormatError(f"{file}: expected a JSON object, found {type(content).__name__}")
    if content.pop("crc32", None) != _metadata_crc(content):
        raise TraceFormatError(
            f"{file}: damaged: its checksum does not fit its content; copy the folder again, or record again"
        )
    if not isinstance(content.get("files", {}), dict):
        raise TraceFormatError(f"{file}: expected 'files' to be an object")
    return content
