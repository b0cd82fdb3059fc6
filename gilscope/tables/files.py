"""Files and folders: opened without trust, written whole or not at all, described, removed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gilscope.errors import TraceFormatError, TraceWriteError

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    import gzip
    from typing import IO, BinaryIO

    Sink = IO[bytes] | gzip.GzipFile


def _opener(path: str, flags: int) -> int:
    # Opening a FIFO would wait for a writer; Windows has neither FIFOs nor the flag.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading; what is no regular file (a FIFO, a device, a folder) is refused.

    Raises:
        TraceFormatError: if the file is not a regular file.
        OSError: it cannot be opened.

    Example:
        >>> try:
        ...     open_regular(Path("/dev/zero"))
        ... except TraceFormatError as error:
        ...     print(error)
        /dev/zero: expected a regular file; copy the whole folder of the trace again
    """
    refusal = f"{path}: expected a regular file; copy the whole folder of the trace again"
    try:
        file = open(path, "rb", opener=_opener)  # noqa: SIM115 (it is the caller's to close)
    except IsADirectoryError:
        raise TraceFormatError(refusal) from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise TraceFormatError(refusal)
    return file


def describe_file(path: Path) -> dict[str, int]:
    """Return a file's size and its CRC-32 (Arrow IPC files carry no checksum of their own)."""
    with open_regular(path) as file:
        return {"bytes": os.fstat(file.fileno()).st_size, "crc32": crc_of(file)}


def crc_of(file: BinaryIO) -> int:
    """Return the CRC-32 of the rest of a file."""
    import zlib

    crc = 0
    while piece := file.read(1 << 20):
        crc = zlib.crc32(piece, crc)
    return crc


def temporary_folder() -> Path:
    """Make a folder that the caller removes."""
    import tempfile

    return Path(tempfile.mkdtemp(prefix="gilscope-"))


def remove_folder(folder: Path) -> None:
    """Remove a folder and all that is in it; what cannot be removed stays."""
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def write_error(path: Path | str, error: OSError) -> TraceWriteError:
    """Raise an error that explains why a trace cannot be written to ``path``, and what to do."""
    return TraceWriteError(
        error.errno,
        f"the trace cannot be written: {error.strerror}; give a path in a folder that exists, "
        "can be written and has room, or trace(None)",
        str(path),
    )


@contextmanager
def write_errors(target: Path, what: str = "timeline") -> Iterator[None]:
    """Raise an error that explains why a file cannot be written.

    Raises:
        TraceWriteError: the block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise TraceWriteError(
            f"{target}: the {what} cannot be written: {error.strerror or error}; choose a folder that "
            "exists, is writable and has room"
        ) from error


@contextmanager
def replacing(target: Path) -> Iterator[Sink]:
    """Open a file beside the target that takes the target's place when all went well, else vanishes."""
    import gzip
    import secrets

    real = Path(os.path.realpath(target))
    draft = real.with_name(f".gilscope-{secrets.token_hex(8)}.tmp")
    try:
        with draft.open("xb") as raw:
            if target.name.endswith(".gz"):
                with gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed:
                    yield packed
            else:
                yield raw
        draft.replace(real)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def write_text(target: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all; lone surrogates of undecodable names become ``?``.

    Raises:
        TraceWriteError: if it cannot be written.
    """
    with write_errors(target, "file"), replacing(target) as file:
        file.write(text.encode("utf-8", "replace"))
