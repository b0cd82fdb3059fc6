"""A finished recording: its tables, read from the Arrow files only when asked for, and its metadata."""

from __future__ import annotations

import os
from pathlib import Path

from gilscope.errors import TraceFormatError
from gilscope.files import open_regular

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any, BinaryIO

    import pyarrow as pa

METADATA_FILE = "metadata.json"
SPOOL_FILE = "spool.bin"
CHILDREN_FOLDER = "children"
WANTED_FILE = "wanted"
"""In the folder of the children: there, and empty, as long as they are to record."""
_MOST_METADATA = 1 << 24  # bytes; argv is the longest part, and kernels allow 2 MB of it
_DEEPEST = 32

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
    def home(self) -> Path | None:
        """The folder that was recorded to; tables of what was not finished lie in a temporary one."""
        return self._folder

    @property
    def children(self) -> Sequence[Recording]:
        """The recordings of child processes, in order of their beginnings."""
        return ()

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
            name: a key of `gilscope.schema.TABLES`.

        Raises:
            TraceFormatError: the file is missing, damaged, or has other columns.
        """
        from gilscope import schema

        if name not in self._tables:
            if self._folder is None or self._is_later(name):
                self._tables[name] = schema.TABLES[name].empty_table()
            else:
                self._tables[name] = self._guard(name, lambda: self._read(name))
        return self._tables[name]

    def _read(self, name: str) -> pa.Table:
        from gilscope import schema, soundness

        with self._open(name) as reader:
            table = schema.completed(name, reader.read_all())
        self._check_rows(name, table)
        soundness.check_table(name, table)
        return table

    def _check_rows(self, name: str, rows: pa.Table | pa.RecordBatch) -> None:
        from gilscope import soundness

        n_threads = len(rows if name == "threads" else self.threads)
        n_sites = len(rows) if name == "sites" else len(self.sites) if name == "intervals" else 0
        length_ns = self._metadata.get("duration_ns", soundness.LATEST_NS)
        soundness.check_rows(name, rows, n_threads, n_sites, length_ns)

    def batches(self, name: str) -> Iterator[pa.RecordBatch]:
        """Yield a table's record batches one after the other, never holding the whole table.

        Raises:
            TraceFormatError: the file is missing, damaged, or has other columns.
        """
        small = name == "threads" or self._is_later(name)
        if self._folder is None or name in self._tables or small:
            yield from self.table(name).to_batches()
            return
        with self._guard(name, lambda: self._open(name)) as reader:
            while batch := self._guard(name, lambda: self._next(name, reader)):
                yield batch

    def _next(self, name: str, reader: pa.RecordBatchReader) -> pa.RecordBatch | None:
        from gilscope import schema

        try:
            batch = schema.completed(name, reader.read_next_batch())
        except StopIteration:
            return None
        self._check_rows(name, batch)
        return batch

    def keep(self) -> None:
        """Open every table now: what is open can be read when its folder has been replaced or removed."""
        from gilscope import schema

        for name in schema.TABLES:
            self.table(name)

    def _is_later(self, name: str) -> bool:
        """Tell whether a trace is older than a table: whoever wrote it had no such file to write."""
        return f"{name}.arrow" not in self._metadata.get("files", {f"{name}.arrow"})

    def _file(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{name}.arrow"

    def _open(self, name: str) -> pa.RecordBatchReader:
        from gilscope import schema
        from gilscope.arrowfile import open_batches

        path = self._file(name)
        with open_regular(path) as file:
            self._check(path, file)
            reader = open_batches(file)
        if not reader.schema.equals(schema.TABLES[name]) and not reader.schema.equals(schema.first(name)):
            raise TraceFormatError(
                f"{path}: expected the columns {schema.TABLES[name].names} of gilscope's table "
                f"{name!r}, found {reader.schema.names}; the file belongs to another program or version"
            )
        return reader

    def _check(self, path: Path, file: BinaryIO) -> None:
        """Compare a file with the size and checksum that the metadata has of it, once."""
        expected = self._metadata.get("files", {}).get(path.name)
        if path.name in self._checked or expected is None:
            return
        size = os.fstat(file.fileno()).st_size
        # Of another size there is no need to read it all, however large it is.
        found = {"bytes": size, "crc32": _crc(file) if size == expected["bytes"] else 0}
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


def describe_file(path: Path) -> dict[str, int]:
    """Return a file's size and its CRC-32 (Arrow IPC files carry no checksum of their own)."""
    with open_regular(path) as file:
        return {"bytes": os.fstat(file.fileno()).st_size, "crc32": _crc(file)}


def _crc(file: BinaryIO) -> int:
    import zlib

    crc = 0
    while piece := file.read(1 << 20):
        crc = zlib.crc32(piece, crc)
    return crc


def _metadata_crc(metadata: dict[str, Any]) -> int:
    import json
    import zlib

    rest = {key: value for key, value in metadata.items() if key != "crc32"}
    return zlib.crc32(json.dumps(rest, sort_keys=True, allow_nan=False).encode())


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
    file = folder / METADATA_FILE
    try:
        content, crc = _parse(file)
    except (FileNotFoundError, NotADirectoryError):
        raise TraceFormatError(
            f"{folder}: no {METADATA_FILE} in it, so this is no trace; expected a folder written by "
            "gilscope.trace()"
        ) from None
    except TraceFormatError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise TraceFormatError(f"{file}: cannot be read as JSON: {error}") from error
    if content.pop("crc32", None) != crc:
        raise TraceFormatError(
            f"{file}: damaged: its checksum does not fit its content; copy the folder again, or record again"
        )
    return content


def _parse(file: Path) -> tuple[dict[str, Any], int]:
    """Return a JSON object and the checksum it should have."""
    import json

    with open_regular(file) as opened:
        raw = opened.read(_MOST_METADATA + 1)
    if len(raw) > _MOST_METADATA:
        raise ValueError(f"expected at most {_MOST_METADATA} bytes, found more")
    content = json.loads(raw.decode("utf-8"))
    if not isinstance(content, dict):
        raise TraceFormatError(f"{file}: expected a JSON object, found {type(content).__name__}")
    if not _is_shallow(content, _DEEPEST):
        raise ValueError(f"expected at most {_DEEPEST} levels, found more")
    return content, _metadata_crc(content)


def _is_shallow(value: object, levels: int) -> bool:
    """Tell whether values are nested so little that whoever writes them again can."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_shallow(v, levels - 1) for v in inside)
