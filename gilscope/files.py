"""Opening files that somebody else may have put there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from gilscope.errors import TraceFormatError

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from typing import BinaryIO


def _opener(path: str, flags: int) -> int:
    # Opening a FIFO would wait for a writer; there are none on Windows, nor the flag.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading; what is no regular file (a FIFO, a device, a folder) is refused.

    Raises:
        TraceFormatError: it is none.
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
