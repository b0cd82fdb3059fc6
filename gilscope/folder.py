"""Trace folders: made, replaced, filled from a spool, and opened again."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from gilscope.errors import TraceExistsError, TraceFormatError, TraceWriteError
from gilscope.recording import (
    CHILDREN_FOLDER,
    METADATA_FILE,
    SPOOL_FILE,
    WANTED_FILE,
    describe_file,
    read_metadata,
    write_metadata,
)

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from typing import Any

    from gilscope.tables import Totals


def is_trace(path: Path) -> bool:
    """Tell whether a path is a trace folder, whole or left behind."""
    return path.is_dir() and ((path / METADATA_FILE).exists() or (path / SPOOL_FILE).exists())


def temporary_folder() -> Path:
    """Make a folder that its user removes."""
    import tempfile

    return Path(tempfile.mkdtemp(prefix="gilscope-"))


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


class Destination:
    """The folder a trace is written to; what it replaces is kept until the trace is over.

    Args:
        path: the folder, or None for one that lives no longer than its user.
        overwrite: whether a trace that is there already may be replaced.
        children: make a folder in it for those of child processes.

    Raises:
        TraceExistsError: something is there that may not be replaced.
        TraceWriteError: the folder cannot be made.
    """

    def __init__(self, path: Path | None, *, overwrite: bool, children: bool = False) -> None:
        self._replaced: Path | None = None
        try:
            if path is None:
                self.path = temporary_folder()
            else:
                self.path = path.absolute()
                self._make_room(overwrite)
                self.path.mkdir()
        except OSError as error:
            self.undo()
            if isinstance(error, TraceExistsError):
                raise
            raise write_error(path or "the folder for temporary files", error) from error
        self._identity = self._now()
        if children:
            self._make_children()

    def _make_children(self) -> None:
        try:
            (self.path / CHILDREN_FOLDER).mkdir()
            (self.path / CHILDREN_FOLDER / WANTED_FILE).touch()
        except OSError as error:
            self.undo()
            raise write_error(self.path, error) from error

    def _make_room(self, overwrite: bool) -> None:
        if not os.path.lexists(self.path):
            return
        if not overwrite:
            raise TraceExistsError(
                errno.EEXIST,
                "exists already; say overwrite=True to replace it, or give another path",
                str(self.path),
            )
        if not is_trace(self.path):
            raise TraceExistsError(
                errno.EEXIST,
                "exists and is not a trace, so it is not replaced; give another path or remove it",
                str(self.path),
            )
        aside = self.path.with_name(f".{self.path.name}.old")
        if aside.exists():
            _remove(aside)  # left by a process that was killed
        os.rename(self.path, aside)
        self._replaced = aside

    def _now(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    @property
    def spool(self) -> Path:
        """Where the core writes."""
        return self.path / SPOOL_FILE

    def still_ours(self) -> bool:
        """Tell whether the folder is the one that was made, not another that took its place."""
        return self._now() == self._identity

    def commit(self) -> None:
        """The trace is on disk: what it replaced goes."""
        if self._replaced is not None:
            _remove(self._replaced)
            self._replaced = None

    def undo(self) -> None:
        """The trace could not begin: put everything back as it was."""
        if getattr(self, "_identity", None) is not None:
            _remove(self.path)
        if self._replaced is not None:
            os.rename(self._replaced, self.path)
            self._replaced = None


def write_error(path: Path | str, error: OSError) -> TraceWriteError:
    """Say in words that a trace cannot be written to ``path``, and what to do."""
    return TraceWriteError(
        error.errno,
        f"the trace cannot be written: {error.strerror}; give a path in a folder that exists, "
        "can be written and has room, or trace(None)",
        str(path),
    )


def convert(spool: Path, target: Path, facts: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Turn a spool into the tables and the metadata of a trace, written to ``target``.

    Args:
        spool: the spool file; it stays.
        target: a folder that exists. On failure no half-written table is left in it.
        facts: what the recorder knew when the trace began, keys of ``metadata.json``.
        quiet: show no progress.

    Returns:
        The metadata.

    Raises:
        TraceFormatError: the spool is damaged.
        OSError: the tables cannot be written.
    """
    from gilscope import schema
    from gilscope.progress import progress_bar
    from gilscope.spool import SpoolReader
    from gilscope.tables import Conversion

    try:
        with SpoolReader(spool) as reader:
            conversion = Conversion(reader, target, interval_argument=bool(facts.get("interval_argument")))
            with progress_bar("writing the trace", reader.size, quiet=quiet) as done:
                totals = conversion.run(done)
        metadata = _metadata(facts, totals)
        metadata["files"] = {
            f"{name}.arrow": describe_file(conversion.writer.file(name)) for name in schema.TABLES
        }
        write_metadata(target, metadata)
    except BaseException:
        for name in schema.TABLES:
            (target / f"{name}.arrow").unlink(missing_ok=True)
        raise
    return metadata


def _metadata(facts: dict[str, Any], totals: Totals) -> dict[str, Any]:
    not_measured = list(facts.get("not_measured", []))
    exact = facts.get("edges") == "exact"
    if totals.dropped:
        not_measured.append(
            f"{totals.dropped} transitions found the ring full and were dropped; intervals are cut there, "
            "and shares near these instants are too low (table samples, column dropped, says when)"
        )
    if totals.illegal:
        not_measured.append(
            f"{totals.illegal} transitions do not fit the ones before them; intervals are cut there"
        )
    if not totals.complete:
        not_measured.append("the recording was cut short: what came after its end here is not in it")
    if not exact:
        not_measured.append(
            "edges are sampled: intervals shorter than the period may be missing, and gaps, requests and "
            "kinds of release are not seen"
        )
    return {
        **{key: value for key, value in facts.items() if key != "interval_argument"},
        "start_unix_ns": totals.start_unix_ns,
        "start_monotonic_ns": totals.start_monotonic_ns,
        "duration_ns": totals.duration_ns,
        "ticks": totals.ticks,
        "late_ticks": totals.late_ticks,
        "transitions": totals.transitions if exact else None,
        "dropped": totals.dropped,
        "switches": totals.switches,
        "clock_error_ns": totals.clock_error_ns,
        "complete": totals.complete and bool(facts.get("complete", True)),
        "not_measured": not_measured,
    }


def open_folder(path: Path) -> tuple[Path, dict[str, Any], bool]:
    """Open a trace folder; one that its process could not finish is converted beside it, in a temporary one.

    Returns:
        The folder with the tables, the metadata, and whether the folder is temporary.

    Raises:
        TraceFormatError: the path holds no trace, or a damaged one.
        TraceWriteError: there is no room for the tables of one that was not finished.
    """
    if not os.path.lexists(path):
        raise TraceFormatError(f"{path}: no such trace; expected a folder written by gilscope.trace()")
    metadata = read_metadata(path)
    whole = not os.path.lexists(path / SPOOL_FILE)
    if whole and "duration_ns" not in metadata:
        raise TraceFormatError(
            f"{path}: neither tables (and their duration_ns) nor a spool in it: the recording was "
            "never begun or lost its files"
        )
    _check_metadata(path, metadata, whole=whole)
    if whole:
        return path, metadata, False
    try:
        temporary = temporary_folder()
    except OSError as error:
        raise write_error("the folder for temporary files", error) from error
    try:
        return temporary, convert(path / SPOOL_FILE, temporary, metadata, quiet=False), True
    except BaseException as error:
        _remove(temporary)
        if isinstance(error, OSError):
            raise write_error(temporary, error) from error
        raise


def _check_metadata(path: Path, metadata: dict[str, Any], *, whole: bool) -> None:
    from gilscope.soundness import check_metadata

    try:
        check_metadata(metadata, whole=whole)
    except ValueError as error:
        raise TraceFormatError(f"{path / METADATA_FILE}: {error}; record the trace again") from None
