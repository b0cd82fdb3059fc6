"""Lines of the source files that a trace names, read with care: it may be a trace from somebody else.

Nothing is read unless the user asked for source text. Then only what is a regular file, of a size that source
has, and Python by its name or first line; no more than the lines around those asked for are returned.
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
"""Of a line; what is longer ends in dots."""
_MOST_BYTES_OF_LINE = 4 * MOST_LETTERS
"""Looked at, whatever its codec does with them."""
_SUFFIXES = (".py", ".pyw")


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Some lines of a source file.

    Args:
        lines: texts by their numbers, which begin at 1; empty where the file is not shown.
        doubt: why it is not shown, or why it may not be what ran; empty where all is well.
    """

    lines: dict[int, str]
    doubt: str


class _NotShownError(Exception):
    """A file is not shown; the message says why."""


def excerpt(file: str, wanted: Iterable[int], metadata: Mapping[str, Any]) -> Excerpt:
    """Return the lines of a file around some of them.

    What this process itself ran without a file (a notebook's cells) is found too, as tracebacks find it, for
    traces of this very process.

    Args:
        file: its name, as a code object has it.
        wanted: numbers of lines; they may lie beyond its end.
        metadata: of the trace that names it.

    Returns:
        The lines, and what is to be said of them.

    Example:
        >>> from gilscope.report.excerpts import excerpt
        >>> excerpt("/etc/passwd", [1], {})
        Excerpt(lines={}, doubt='it is not Python by its name or its first line')
        >>> excerpt("<string>", [1], {}).doubt
        'it is no file, but text that the program ran'
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
        return Excerpt(texts, f"it has {len(lines):,} lines now, and line {last:,} ran: it is another text")
    if changed_ns > metadata.get("start_unix_ns", changed_ns):
        return Excerpt(texts, "it was changed after the trace began: lines may have moved")
    return Excerpt(texts, "")


def _kept_here(file: str, metadata: Mapping[str, Any]) -> bytes | None:
    """Return a text without a file that this process keeps for its tracebacks."""
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
        raise _NotShownError("it is no file, but text that the program ran")
    if not os.path.isabs(file):
        raise _NotShownError("its path is relative, and where the program ran is not known")
    try:
        path = Path(os.path.realpath(file))
        # Before it is opened: opening some devices does something.
        if not stat.S_ISREG(path.stat().st_mode):
            raise _NotShownError("it is no regular file")
        with open_regular(path) as opened:
            changed_ns = os.fstat(opened.fileno()).st_mtime_ns
            raw = opened.read(MOST_BYTES + 1)
    except TraceFormatError:
        raise _NotShownError("it is no regular file") from None
    except OSError as error:
        raise _NotShownError(f"it cannot be read here: {error.strerror}") from None
    except ValueError:
        raise _NotShownError("its name is none that a file can have") from None
    if len(raw) > MOST_BYTES:
        raise _NotShownError(f"it is larger than {MOST_BYTES:,} bytes")
    if path.suffix not in _SUFFIXES and not _says_python(raw):
        raise _NotShownError("it is not Python by its name or its first line")
    return raw, changed_ns


def _says_python(raw: bytes) -> bool:
    return raw.startswith(b"#!") and b"python" in raw[:128].split(b"\n")[0]


def _encoding(first: list[bytes]) -> str:
    """Return the encoding that the first two lines of a source declare."""
    # CPython 3.15 decodes these lines to find out, and some codecs take for ever with a long one.
    head = [line if len(line) <= _MOST_BYTES_OF_LINE else _cut(line) for line in first]
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(b"\n".join(head)).readline)
    except (SyntaxError, LookupError, UnicodeError) as error:
        raise _NotShownError(f"its encoding cannot be told: {error}") from None
    return encoding


def _cut(line: bytes) -> bytes:
    """Return the beginning of a line, without half a character at its end."""
    return line[:_MOST_BYTES_OF_LINE].decode("utf-8", "ignore").encode()


def _text(line: bytes, encoding: str) -> str:
    """Return as much of a line as is shown, as text."""
    try:
        text = line[:_MOST_BYTES_OF_LINE].decode(encoding, "replace").expandtabs()
    except (LookupError, UnicodeError):
        raise _NotShownError(f"it cannot be read as {encoding}") from None
    return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]} ..."
