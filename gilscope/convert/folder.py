"""Turns a spool into a trace folder, and opens trace folders."""

from __future__ import annotations

import os
import weakref
from dataclasses import replace
from pathlib import Path

from gilscope.errors import TraceFormatError, warn_user
from gilscope.tables import notmeasured
from gilscope.tables.files import describe_file, remove_folder, temporary_folder, write_error
from gilscope.tables.folder import CHILDREN_FOLDER, METADATA_FILE, SPOOL_FILE, children_in
from gilscope.tables.metadata import Metadata, read_metadata, write_metadata
from gilscope.tables.stored import Tables

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from typing import Any

    from gilscope.convert.conversion import Totals


def convert(spool: Path, target: Path, facts: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Turn a spool into the tables and the metadata of a trace, written to ``target``.

    Args:
        spool: the spool file, which is not removed.
        target: a folder that exists. After a failure it holds no incomplete table.
        facts: what the recorder knew, as in ``metadata.json``.
        quiet: show no progress.

    Returns:
        The metadata.

    Raises:
        TraceFormatError: if the spool is damaged, or ``facts`` lack a key.
        OSError: if the tables cannot be written.
    """
    from gilscope.convert.conversion import Conversion
    from gilscope.convert.spool import SpoolReader
    from gilscope.progress import progress_bar
    from gilscope.tables import schema

    known = Metadata.from_json(facts)
    try:
        with SpoolReader(spool) as reader:
            conversion = Conversion(reader, target, interval_argument=known.interval_argument is True)
            with progress_bar("writing the trace", reader.size, quiet=quiet) as done:
                totals = conversion.run(done)
            known = replace(known, clock=reader.header.clock, period_s=reader.header.period_ns / 1e9)
        files = {f"{name}.arrow": describe_file(conversion.writer.file(name)) for name in schema.TABLES}
        metadata = _converted(known, totals, files).as_json()
        write_metadata(target, metadata)
    except BaseException:
        for name in schema.TABLES:
            (target / f"{name}.arrow").unlink(missing_ok=True)
        raise
    return metadata


def _converted(metadata: Metadata, totals: Totals, files: dict[str, dict[str, int]]) -> Metadata:
    """Return the metadata of a trace with tables."""
    sentences = notmeasured.of_conversion(
        dropped=totals.dropped, illegal=totals.illegal, complete=totals.complete, exact=metadata.exact
    )
    return replace(
        metadata.lacking(*sentences).without_interval_argument(),
        start_unix_ns=totals.start_unix_ns,
        start_monotonic_ns=totals.start_monotonic_ns,
        duration_ns=totals.duration_ns,
        ticks=totals.ticks,
        late_ticks=totals.late_ticks,
        transitions=totals.transitions if metadata.exact else None,
        dropped=totals.dropped,
        switches=totals.switches,
        clock_error_ns=totals.clock_error_ns,
        complete=totals.complete and metadata.complete is not False,
        files=files,
    )


def open_tables(path: Path) -> Tables:
    """Open a trace folder; an unfinished trace is converted into a temporary folder.

    Raises:
        TraceFormatError: if the path holds no trace, or a damaged one.
        TraceWriteError: if there is no room for the tables of an unfinished trace.
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
        return stored(path, metadata)
    try:
        temporary = temporary_folder()
    except OSError as error:
        raise write_error("the folder for temporary files", error) from error
    try:
        metadata = convert(path / SPOOL_FILE, temporary, metadata, quiet=False)
    except BaseException as error:
        remove_folder(temporary)
        if isinstance(error, OSError):
            raise write_error(temporary, error) from error
        raise
    return stored(temporary, metadata, home=path, temporary=True)


def stored(
    folder: Path, metadata: dict[str, Any], *, home: Path | None = None, temporary: bool = False
) -> Tables:
    """Return the tables of a converted trace, with those of its child processes.

    Args:
        folder: of the tables.
        metadata: of the trace.
        home: the folder that was recorded to; None for ``folder``.
        temporary: remove ``folder`` when the tables are no longer used.
    """
    place = home or folder
    tables = Tables(folder, metadata, home=home, children=lambda: _open_children(place))
    if temporary:
        weakref.finalize(tables, _remove_in, os.getpid(), folder)
    return tables


def _remove_in(pid: int, folder: Path) -> None:
    if os.getpid() == pid:  # not in a forked child, which exits too: the folder belongs to its parent
        remove_folder(folder)


def _open_children(home: Path) -> list[Tables]:
    found = []
    for folder in children_in(home / CHILDREN_FOLDER):
        try:
            found.append(open_tables(folder))
        except TraceFormatError as error:
            warn_user(f"left out: {error}")
    return sorted(found, key=lambda t: (t.metadata.get("start_monotonic_ns", 0), str(t.home)))


def _check_metadata(path: Path, metadata: dict[str, Any], *, whole: bool) -> None:
    from gilscope.tables.checks import check_metadata

    try:
        check_metadata(metadata, whole=whole)
    except ValueError as error:
        raise TraceFormatError(f"{path / METADATA_FILE}: {error}; record the trace again") from None
