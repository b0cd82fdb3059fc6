"""``metadata.json`` of a trace: written whole or not at all, read without trust."""

from __future__ import annotations

import os
from pathlib import Path

from gilscope.errors import TraceFormatError
from gilscope.tables.files import open_regular
from gilscope.tables.folder import METADATA_FILE

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from typing import Any

_MOST_METADATA = 1 << 24  # bytes; argv is the longest part, and kernels allow 2 MB of it
_DEEPEST = 32


def gilscope_version() -> str:
    """Return the version of the installed distribution; ``unknown`` where sources are used as they lie."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("gilscope")
    except PackageNotFoundError:
        return "unknown"


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
