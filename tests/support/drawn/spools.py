"""Spool files made by hand, for stories the recorder cannot be made to tell."""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gilscope.convert import spool

START_NS = 1_000_000
"""CLOCK_MONOTONIC when a made spool was opened."""


@dataclass
class Spool:
    """A spool under construction; stamps are CLOCK_MONOTONIC nanoseconds, ``START_NS`` plus a time.

    Each record is (kind, thread, arg, time), and behind it the number of a GIL that is not the main one's.
    """

    flags: int = spool.EXACT
    interval_us: int = 5000
    clock: int = 0
    data: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        header = np.zeros(1, spool.HEADER)
        header["magic"], header["version"], header["clock"] = spool.MAGIC, spool.VERSION, self.clock
        header["pid"], header["interval_us"], header["flags"] = 4242, self.interval_us, self.flags
        header["start_monotonic_ns"] = header["start_stamp"] = START_NS
        header["period_ns"] = 10_000_000
        header["crc"] = zlib.crc32(header.tobytes()[:-4])
        self.data += header.tobytes()

    def batch(
        self,
        time: int,
        records: Iterable[tuple[int, ...]] = (),
        *,
        states: Iterable[tuple[int, int]] = (),
        cpus: Iterable[tuple[int, int]] = (),
        flags: int = spool.TICK,
        **fields: int,
    ) -> "Spool":
        """Append a batch taken at ``time``; ``fields`` are further ones of `spool.BATCH`."""
        rows = [
            (START_NS + t | 1 << 63, kind | sum(gil) << 5 | thread << 12 | arg << 32)
            for kind, thread, arg, t, *gil in records
        ]
        parts = (
            np.array(rows, spool.RECORD),
            np.array([(native_id, 0, ns) for native_id, ns in cpus], spool.CPU),
            np.array(list(states), spool.STATE),
        )
        head = np.zeros(1, spool.BATCH)
        head["magic"], head["flags"] = spool.BATCH_MAGIC, flags
        head["stamp"] = head["monotonic_ns"] = START_NS + time
        head["interval_us"] = self.interval_us
        for name, value in fields.items():
            head[name] = value
        for name, part in zip(("records", "cpus", "states"), parts, strict=True):
            head[name] = len(part)
        payload = b"".join(part.tobytes() for part in parts)
        head["crc"] = zlib.crc32(payload, zlib.crc32(head.tobytes()[8:]))
        self.data += head.tobytes() + payload
        return self

    def describe(
        self,
        codes: Iterable[tuple[int, int, str, str, bytes]] = (),
        sites: Iterable[tuple[int, int, int, int]] = (),
        fields: Mapping[str, int] | None = None,
    ) -> "Spool":
        """Append a block that describes sites.

        Args:
            codes: number, first line, name, file and location table of code objects.
            sites: number, parent, code object and offset.
            fields: of `spool.SITES`, where they are to be others.
        """
        parts, codes, sites = [], list(codes), list(sites)
        for number, first_line, *texts in codes:
            raw = [t.encode() if isinstance(t, str) else t for t in texts]
            parts.append(np.array([(number, first_line, *map(len, raw))], spool.CODE).tobytes())
            text = b"".join(raw)
            parts.append(text.ljust((len(text) + 3) // 4 * 4, b"\0"))
        payload = b"".join([*parts, np.array(sites, spool.SITE).tobytes()])
        head = np.zeros(1, spool.SITES)
        head["magic"], head["size"] = spool.SITES_MAGIC, len(payload)
        head["codes"], head["sites"] = len(codes), len(sites)
        for name, value in (fields or {}).items():
            head[name] = value
        head["crc"] = zlib.crc32(payload, zlib.crc32(head.tobytes()[8:]))
        self.data += head.tobytes() + payload
        return self

    def last(self, time: int) -> "Spool":
        """Append the batch that ends a whole spool."""
        return self.batch(time, flags=spool.LAST)

    def write(self, path: Path) -> Path:
        """Write the spool to a file."""
        path.write_bytes(self.data)
        return path


def appears(
    thread: int, native_id: int, time: int, ident: int = 0x7F00_0000_1000
) -> list[tuple[int, int, int, int]]:
    """Return the records with which a thread enters a trace."""
    return [
        (spool.THREAD, thread, native_id, time),
        (spool.IDENT_LOW, thread, ident & 0xFFFFFFFF, time),
        (spool.IDENT_HIGH, thread, ident >> 32, time),
    ]


def says(speaker: int, native_id: int, name: str, time: int) -> list[tuple[int, int, int, int]]:
    """Return the records with which a thread tells the name of one."""
    text = name.encode()
    pieces = [text[i : i + 4].ljust(4, b"\0") for i in range(0, len(text), 4)]
    return [
        (spool.NAME, speaker, native_id, time),
        (spool.IDENT_LOW, speaker, 0x2000, time),
        (spool.IDENT_HIGH, speaker, 0x7F00, time),
        *((spool.TEXT, speaker, int.from_bytes(p, "little"), time) for p in pieces),
    ]
