"""Lines of the source files that a trace names, read with care, since the trace may be untrusted.

Nothing is read unless the user asked for source text. Then only regular files of at most `MOST_BYTES` are
read that are Python by name or first line, and only the lines around those asked for are returned.
"""

from __future__ import annotations

import io
import linecache
import os
import platform
import stat
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gilscope.errors import TraceFormatError
from gilscope.tables.files import open_regular

AROUND = 4
"""Lines shown before and after each."""
MOST_BYTES = 1 << 21
MOST_LETTERS = 200
"""Characters of a line; a longer one ends in dots."""
_MOST_BYTES_OF_LINE = 4 * MOST_LETTERS
"""Bytes of a line that are decoded."""
_SUFFIXES = (".py", ".pyw")


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Some lines of a source file.

    Args:
        lines: texts by their numbers, which begin at 1; empty where the file is not shown.
        doubt: why it is not shown, or why it may differ from what ran; empty if there is no doubt.
    """

    lines: dict[int, str]
    doubt: str


class _NotShownError(Exception):
    """A file is not shown; the message says why."""


def excerpt(file: str, wanted: Iterable[int], metadata: Mapping[str, Any]) -> Excerpt:
    """Return the lines of a file around some of them.

    Code that this process ran without a file (cells of a notebook) is found too, as tracebacks find it, if
    the trace was recorded in this process.

    Args:
        file: the name of the file in the code object.
        wanted: line numbers; they may lie beyond the end of the file.
        metadata: of the trace that names the file.

    Returns:
        The lines, and what is doubtful about them.

    Example:
        >>> from gilscope.report.excerpts import excerpt
        >>> excerpt("/etc/passwd", [1], {})
        Excerpt(lines={}, doubt='it is not Python by its name or its first line')
        >>> excerpt("<string>", [1], {}).doubt
        'it is not a file but text that the program ran'
    """
    try:
        kept = _kept_here(file, metadata)
        raw, changed_ns = (kept, 0) if kept is not None else _read(file)
        lines = raw.splitlines()  # of bytes: at "\n", "\r\n" and "\r", as Python does
        encoding = _encoding(lines[:2])
        last = max(wanted := list(wanted), default=0)
        shown = {n for line in wanted for n in range(line - AROUND, line + AROUND + 1)}
        texts = {n: _text(lines[n - 1], encoding) for n in sorted(shown) if 0 < n <= len(lines)}
    except _NotShownError as why:
        return Excerpt({}, str(why))
    if last > len(lines):
        return Excerpt(texts, f"it has {len(lines):,} lines now, but line {last:,} ran: it has changed")
    if changed_ns > metadata.get("start_unix_ns", changed_ns):
        return Excerpt(texts, "it was changed after the trace began: lines may have moved")
    return Excerpt(texts, "")


def _kept_here(file: str, metadata: Mapping[str, Any]) -> bytes | None:
    """Return text without a file that this process keeps for its tracebacks."""
    if (metadata.get("pid"), metadata.get("host")) != (os.getpid(), platform.node()):
        return None
    entry = linecache.cache.get(file)
    if entry is None or len(entry) < 4 or entry[1] is not None:  # [1]: when its file was changed
        return None
    return "".join(entry[2]).encode("utf-8", "replace")


def _read(file: str) -> tuple[bytes, int]:
    """Return the content of a file of Python source, and when it was last changed."""
    if file.startswith("<frozen "):
        raise _NotShownError("it is part of the interpreter")
    if file.startswith("<"):
        raise _NotShownError("it is not a file but text that the program ran")
    if not os.path.isabs(file):
        raise _NotShownError("its path is relative, and where the program ran is not known")
    try:
        path = Path(os.path.realpath(file))
        # Checked before it is opened, since opening some devices has side effects.
        if not stat.S_ISREG(path.stat().st_mode):
            raise _NotShownError("it is not a regular file")
        with open_regular(path) as opened:
            changed_ns = os.fstat(opened.fileno()).st_mtime_ns
            raw = opened.read(MOST_BYTES + 1)
    except TraceFormatError:
        raise _NotShownError("it is not a regular file") from None
    except OSError as error:
        raise _NotShownError(f"it cannot be read here: {error.strerror}") from None
    except ValueError:
        raise _NotShownError("its name is not valid for a file") from None
    if len(raw) > MOST_BYTES:
        raise _NotShownError(f"it is larger than {MOST_BYTES:,} bytes")
    if path.suffix not in _SUFFIXES and not _has_python_shebang(raw):
        raise _NotShownError("it is not Python by its name or its first line")
    return raw, changed_ns


def _has_python_shebang(raw: bytes) -> bool:
    return raw.startswith(b"#!") and b"python" in raw[:128].split(b"\n")[0]


def _encoding(first: list[bytes]) -> str:
    """Return the encoding that the first two lines of a source declare."""
    # CPython 3.15 decodes these lines to find out, and some codecs take very long for a long line.
    head = [line if len(line) <= _MOST_BYTES_OF_LINE else _cut(line) for line in first]
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(b"\n".join(head)).readline)
    except (SyntaxError, LookupError, UnicodeError) as error:
        raise _NotShownError(f"its encoding is unknown: {error}") from None
    return encoding


def _cut(line: bytes) -> bytes:
    """Return the beginning of a line, without half a character at its end."""
    return line[:_MOST_BYTES_OF_LINE].decode("utf-8", "ignore").encode()


def _text(line: bytes, encoding: str) -> str:
    """Return the part of a line that is shown, as text."""
    try:
        text = line[:_MOST_BYTES_OF_LINE].decode(encoding, "replace").expandtabs()
    except (LookupError, UnicodeError):
        raise _NotShownError(f"it cannot be read as {encoding}") from None
    return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]} ..."
