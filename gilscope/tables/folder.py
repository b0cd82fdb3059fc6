"""The folder of a trace on disk: what its files are called, and where those of child processes are."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from collections.abc import Iterator

METADATA_FILE = "metadata.json"
SPOOL_FILE = "spool.bin"
CHILDREN_FOLDER = "children"
WANTED_FILE = "wanted"
"""In the folder of the children: exists, and is empty, as long as children are to record."""


def is_trace(path: Path) -> bool:
    """Return whether a path is a trace folder, finished or not."""
    return path.is_dir() and ((path / METADATA_FILE).exists() or (path / SPOOL_FILE).exists())


def children_in(root: Path) -> Iterator[Path]:
    """Yield the trace folders of child processes that have begun to record, in no order.

    Args:
        root: folder ``children`` of a trace; it may be missing.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        yield from (folder for folder in root.iterdir() if _holds_records(folder))


def _holds_records(folder: Path) -> bool:
    """Return whether a child has recorded anything: a full disk or a kill may leave less."""
    spool_or_table = (folder / SPOOL_FILE, folder / "threads.arrow")
    return is_trace(folder) and not folder.is_symlink() and any(file.exists() for file in spool_or_table)
