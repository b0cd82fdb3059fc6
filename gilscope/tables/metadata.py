"""``metadata.json`` of a trace: its keys, written whole or not at all, read without trust."""

from __future__ import annotations

import os
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path

from gilscope.errors import TraceFormatError
from gilscope.tables import notmeasured
from gilscope.tables.files import open_regular
from gilscope.tables.folder import METADATA_FILE

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from dataclasses import Field
    from typing import Any

    from gilscope._core import Stopped

    # Names of types, which `gilscope.tables.checks` reads.
    Text = str
    Texts = list[str]
    Flag = bool
    Count = int
    CountOrNull = int | None
    Pid = int
    Length = int  # ns
    Seconds = float
    Edges = str  # "exact" or "sampled"
    Files = dict[str, dict[str, int]]  # bytes and crc32, by name

_ABSENT: Any = object()
_ABSENT_UNTIL_CONVERTED: Any = object()
_MOST_METADATA = 1 << 24  # bytes; argv is the longest part, and kernels allow 2 MB of it
_DEEPEST = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """Every key of ``metadata.json``, with its type; made when a recording begins, replaced as more is known.

    A key without a default is in the file from the beginning of a recording on, one that is absent until
    converted as soon as there are tables. Every other key may be missing.

    Args:
        others: keys of other versions, which are passed on.
    """

    gilscope_version: Text
    python_version: Text
    python_build: Text = _ABSENT
    gil_enabled: Flag = _ABSENT
    platform: Text = _ABSENT
    host: Text = _ABSENT
    pid: Pid = _ABSENT
    ppid: Pid = _ABSENT
    started: CountOrNull = _ABSENT
    trace_number: Count = _ABSENT
    argv: Texts = _ABSENT
    edges: Edges
    edges_reason: Text = _ABSENT
    period_s: Seconds = _ABSENT
    clock: Text = _ABSENT
    library_paths: Texts = _ABSENT
    interval_argument: Flag = _ABSENT
    sampler_cpu_ns: Count = _ABSENT
    spool_bytes: Count = _ABSENT
    start_unix_ns: Count = _ABSENT
    start_monotonic_ns: Count = _ABSENT
    duration_ns: Length = _ABSENT_UNTIL_CONVERTED
    ticks: Count = _ABSENT
    late_ticks: Count = _ABSENT
    transitions: CountOrNull = _ABSENT
    dropped: Count = _ABSENT
    switches: Count = _ABSENT
    clock_error_ns: Count = _ABSENT
    complete: Flag = _ABSENT
    not_measured: Texts
    files: Files = _ABSENT_UNTIL_CONVERTED
    others: dict[str, Any] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        """Whether edges are exact."""
        return self.edges == "exact"

    def lacking(self, *sentences: str) -> Metadata:
        """Add sentences to ``not_measured``."""
        return replace(self, not_measured=[*self.not_measured, *sentences])

    def ended(self, stopped: Stopped, *, gil_on: bool) -> Metadata:
        """Add what is known when the recording has ended.

        Args:
            stopped: what the core returned.
            gil_on: whether this Python has a GIL now.
        """
        return replace(
            self.lacking(*notmeasured.of_recording(stopped, exact=self.exact, gil_on=gil_on)),
            complete=stopped["error"] == 0,
            sampler_cpu_ns=stopped["sampler_cpu_ns"],
            spool_bytes=stopped["spool_bytes"],
        )

    def without_interval_argument(self) -> Metadata:
        """Drop the key that only a conversion needs."""
        return replace(self, interval_argument=_ABSENT)

    def as_json(self) -> dict[str, Any]:
        """Return the keys that are not absent."""
        values = {key.name: getattr(self, key.name) for key in keys()}
        absent = (_ABSENT, _ABSENT_UNTIL_CONVERTED)
        return {k: v for k, v in values.items() if not any(v is a for a in absent)} | self.others

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Metadata:
        """Take over keys as they are.

        Raises:
            TraceFormatError: if a key is missing that is there from the beginning of a recording on.
        """
        rest = dict(content)
        for key in keys():
            if is_required(key, whole=False) and key.name not in rest:
                raise TraceFormatError(
                    f"{METADATA_FILE}: expected a key {key.name!r}; record the trace again"
                )
        known = {key.name: rest.pop(key.name) for key in keys() if key.name in rest}
        return cls(**known, others=rest)


def keys() -> list[Field[Any]]:
    """Return the fields of `Metadata` that are keys of ``metadata.json``."""
    return [key for key in fields(Metadata) if key.name != "others"]


def is_required(key: Field[Any], *, whole: bool) -> bool:
    """Return whether every trace has this key or, if ``whole``, every trace with tables."""
    return key.default is MISSING or (whole and key.default is _ABSENT_UNTIL_CONVERTED)


def gilscope_version() -> str:
    """Return the version of the installed distribution; ``unknown`` if sources are used without one."""
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
        TraceFormatError: if it is missing, not JSON, not an object, or damaged.
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
    """Return whether values are nested at most this deep; JSON that is nested deeper cannot be written."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_shallow(v, levels - 1) for v in inside)
