"""Reading a spool: the raw records of one recording, batch by batch (format: ``csrc/README.md``)."""

import zlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from gilscope.errors import TraceFormatError
from gilscope.tables.files import open_regular

MAGIC = b"gilscope"
VERSION = 1
BATCH_MAGIC = 0x42534C47
SITES_MAGIC = 0x53534C47
LAP_BIT = np.uint64(1 << 63)

REQUEST, ACQUIRE, RELEASE, DROP_REQUEST, FORCED, LOST = range(1, 7)
THREAD, IDENT_LOW, IDENT_HIGH, NAME, TEXT, BEGIN, END, CPU_LOW, CPU_HIGH = range(7, 16)
INTERVAL, INTERVAL_WAS, LINE = range(16, 19)
MARK, REGION, REGION_END, MARK_NAME = range(19, 23)
GIL, GIL_END, GIL_HELD = range(23, 26)

STATE_RUN, STATE_WAIT, STATE_READY = 1, 2, 3

CLOCKS = ("monotonic", "tsc")
EXACT, SAMPLED, COUNTED = 1, 2, 4
TICK, LAST = 1, 2

_MOST_RECORDS = 65536
_MOST_DESCRIBED = 1 << 20
_MOST_OTHERS = 4096
_MOST_ZEROS = 1 << 28  # bytes: no file system reserves more ahead

_SITES_BEGIN = SITES_MAGIC.to_bytes(4, "little")

LATEST = 1 << 62
"""Nanoseconds on any clock, the year 2116: of two times the difference is no larger than 64 bits."""

HEADER = np.dtype(
    [
        ("magic", "S8"),
        ("version", "<u4"),
        ("clock", "<u4"),
        ("pid", "<u4"),
        ("interval_us", "<u4"),
        ("start_unix_ns", "<u8"),
        ("start_monotonic_ns", "<u8"),
        ("start_stamp", "<u8"),
        ("period_ns", "<u8"),
        ("flags", "<u4"),
        ("crc", "<u4"),
    ]
)
BATCH = np.dtype(
    [
        ("magic", "<u4"),
        ("crc", "<u4"),
        ("stamp", "<u8"),
        ("monotonic_ns", "<u8"),
        ("late_ns", "<u8"),
        ("switches", "<u8"),
        ("interval_us", "<u4"),
        ("pair_error_ns", "<u4"),
        ("records", "<u4"),
        ("cpus", "<u4"),
        ("states", "<u4"),
        ("flags", "<u2"),
        ("waiters", "<u2"),
    ]
)
SITES = np.dtype(
    [
        ("magic", "<u4"),
        ("crc", "<u4"),
        ("size", "<u4"),
        ("codes", "<u4"),
        ("sites", "<u4"),
        ("unused", "<u4"),
    ]
)
RECORD = np.dtype([("stamp", "<u8"), ("word", "<u8")])
CPU = np.dtype([("native_id", "<u4"), ("unused", "<u4"), ("cpu_ns", "<u8")])
STATE = np.dtype([("native_id", "<u4"), ("state", "<u4")])
CODE = np.dtype([(name, "<u4") for name in ("number", "first_line", "name", "file", "lines")])
SITE = np.dtype([("site", "<u4"), ("parent", "<u4"), ("code", "<u4"), ("offset", "<i4")])


def is_about_a_gil(kind: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Select the records that say which GIL a number stands for, and in which state it is."""
    return (kind >= GIL) & (kind <= GIL_HELD)


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a spool: facts about the whole recording."""

    clock: str
    pid: int
    interval_us: int
    start_unix_ns: int
    start_monotonic_ns: int
    start_stamp: int
    period_ns: int
    exact: bool
    sampled: bool
    counted: bool


@dataclass(frozen=True, slots=True)
class Described:
    """A block that describes sites.

    ``content`` holds ``codes`` `CODE`, each with its texts behind it, and then ``sites`` `SITE`.
    """

    codes: int
    sites: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """One look of the sampler, or one drain of the ring between two looks.

    ``records``, ``cpus`` and ``states`` are NumPy arrays of the dtypes `RECORD`, `CPU` and `STATE`;
    ``described`` are the blocks that stood before it.
    """

    stamp: int
    monotonic_ns: int
    pair_error_ns: int
    late_ns: int
    switches: int
    interval_us: int
    waiters: int
    tick: bool
    last: bool
    records: npt.NDArray[np.void]
    cpus: npt.NDArray[np.void]
    states: npt.NDArray[np.void]
    described: tuple[Described, ...] = ()


class SpoolReader:
    """Reads a spool from front to back; use it as a context manager.

    A spool that its process could not finish ends in the middle of a batch: that batch is left out, and
    no batch with ``last`` comes. Damage anywhere else is an error.

    Args:
        path: the spool file.

    Raises:
        TraceFormatError: the file is no spool, has another version, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file: BinaryIO = open_regular(path)
        except OSError as error:
            raise TraceFormatError(f"{path}: cannot be opened: {error.strerror}") from error
        self.size = path.stat().st_size
        self.position = HEADER.itemsize
        self._last_ns = 0
        try:
            self.header = self._read_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "SpoolReader":
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def _damaged(self, at: int, what: str) -> TraceFormatError:
        return TraceFormatError(f"{self.path}: damaged at byte {at}: {what}")

    def _read_header(self) -> Header:
        raw = self._file.read(HEADER.itemsize)
        if len(raw) < HEADER.itemsize or not raw.startswith(MAGIC):
            raise TraceFormatError(f"{self.path}: not a gilscope spool (it does not begin with {MAGIC!r})")
        h = np.frombuffer(raw, HEADER)[0]
        if h["version"] != VERSION:
            raise TraceFormatError(
                f"{self.path}: written in format {h['version']}, this gilscope reads format {VERSION}; "
                "use the gilscope that recorded it"
            )
        if zlib.crc32(raw[:-4]) != h["crc"]:
            raise self._damaged(0, "the header's checksum does not fit")
        times = [int(h[name]) for name in ("start_unix_ns", "start_monotonic_ns", "period_ns")]
        if h["clock"] >= len(CLOCKS) or max(times) > LATEST:
            raise self._damaged(0, "the header holds what no recorder writes")
        return Header(
            clock=CLOCKS[h["clock"]],
            pid=int(h["pid"]),
            interval_us=int(h["interval_us"]),
            start_unix_ns=int(h["start_unix_ns"]),
            start_monotonic_ns=int(h["start_monotonic_ns"]),
            start_stamp=int(h["start_stamp"]),
            period_ns=int(h["period_ns"]),
            exact=bool(h["flags"] & EXACT),
            sampled=bool(h["flags"] & SAMPLED),
            counted=bool(h["flags"] & COUNTED),
        )

    def batches(self) -> Iterator[Batch]:
        """Yield every whole batch in order."""
        while (batch := self._read_batch()) is not None:
            yield batch
            if batch.last:
                return

    def _read_begin(self) -> tuple[list[Described], bytes] | None:
        """Read blocks that describe sites, and how the batch behind them begins; None: one is cut short."""
        blocks: list[Described] = []
        while (raw := self._file.read(SITES.itemsize))[:4] == _SITES_BEGIN and len(raw) == SITES.itemsize:
            at = self.position
            h = np.frombuffer(raw, SITES)[0]
            size = int(h["size"])
            if size > _MOST_DESCRIBED:
                raise self._damaged(at, "a block of sites is larger than any recorder writes")
            content = self._file.read(size)
            self.position = at + SITES.itemsize + size
            if len(content) < size or zlib.crc32(content, zlib.crc32(raw[8:])) != h["crc"]:
                if self.position >= self.size:
                    return None
                raise self._damaged(at, "the checksum of a block of sites does not fit")
            blocks.append(Described(int(h["codes"]), int(h["sites"]), content))
        return blocks, raw

    def _read_batch(self) -> Batch | None:
        begin = self._read_begin()
        if begin is None:
            return None
        described, raw = begin
        at = self.position
        raw += self._file.read(BATCH.itemsize - len(raw))
        if len(raw) < BATCH.itemsize:
            return None
        h = np.frombuffer(raw, BATCH)[0]
        records, cpus, states = int(h["records"]), int(h["cpus"]), int(h["states"])
        if h["magic"] != BATCH_MAGIC or records > _MOST_RECORDS or max(cpus, states) > _MOST_OTHERS:
            if self._only_zeros_follow(raw):
                return None
            raise self._damaged(at, "no batch begins here")
        size = records * RECORD.itemsize + cpus * CPU.itemsize + states * STATE.itemsize
        payload = self._file.read(size)
        self.position = at + BATCH.itemsize + size
        whole = len(payload) == size
        if not whole or zlib.crc32(payload, zlib.crc32(raw[8:])) != h["crc"]:
            if self.position >= self.size:
                return None
            raise self._damaged(at, "the batch's checksum does not fit")
        if h["monotonic_ns"] < self._last_ns:
            raise self._damaged(at, "the batch is older than the one before it")
        if max(int(h[name]) for name in ("monotonic_ns", "late_ns", "switches")) > LATEST:
            raise self._damaged(at, "the batch holds what no recorder writes")
        self._last_ns = int(h["monotonic_ns"])
        flags = int(h["flags"])
        at_cpus = records * RECORD.itemsize
        at_states = at_cpus + cpus * CPU.itemsize
        return Batch(
            stamp=int(h["stamp"]),
            monotonic_ns=int(h["monotonic_ns"]),
            pair_error_ns=int(h["pair_error_ns"]),
            late_ns=int(h["late_ns"]),
            switches=int(h["switches"]),
            interval_us=int(h["interval_us"]),
            waiters=int(h["waiters"]),
            tick=bool(flags & TICK),
            last=bool(flags & LAST),
            records=np.frombuffer(payload, RECORD, records),
            cpus=np.frombuffer(payload, CPU, cpus, at_cpus),
            states=np.frombuffer(payload, STATE, states, at_states),
            described=tuple(described),
        )

    def _only_zeros_follow(self, begun: bytes) -> bool:
        """Tell whether a crashed machine left blocks that were reserved but never written."""
        seen = 0
        while begun and seen < _MOST_ZEROS:
            if begun.count(0) != len(begun):
                return False
            seen += len(begun)
            begun = self._file.read(1 << 20)
        return not begun


class Clock:
    """Turns stamps into CLOCK_MONOTONIC nanoseconds, piecewise linearly between pairs of both.

    Args:
        stamp: a first instant on the stamps' clock.
        monotonic_ns: the same instant on CLOCK_MONOTONIC.
        counts: whether stamps are counter values; else they are nanoseconds already.
    """

    _GOOD_NS = 1000  # a pair read while the sampler was preempted is less exact than its neighbours

    def __init__(self, stamp: int, monotonic_ns: int, *, counts: bool) -> None:
        self._base = np.uint64(stamp)
        self.start_monotonic_ns = monotonic_ns
        self._counts = counts
        self._stamps = [0.0]
        self._times = [0.0]
        self.error_ns = 0

    def add(self, stamp: int, monotonic_ns: int, error_ns: int) -> None:
        """Add a later pair and the bound of its error."""
        if not self._counts or (error_ns > self._GOOD_NS and len(self._stamps) > 1):
            return
        x = float(stamp - int(self._base))
        if x <= self._stamps[-1]:
            return
        self._stamps.append(x)
        self._times.append(float(monotonic_ns - self.start_monotonic_ns))
        self.error_ns = max(self.error_ns, error_ns)

    def forget(self, stamp: int | None) -> None:
        """Drop pairs that stamps to come do not need.

        Args:
            stamp: the last one before them: pairs may be much later, of a sampler that came late. None: all
                before the last pair but one.
        """
        before = (
            len(self._stamps)
            if stamp is None
            else bisect_right(self._stamps, float(int(stamp) - int(self._base)))
        )
        n = max(min(before - 1, len(self._stamps) - 2), 0)
        del self._stamps[:n], self._times[:n]

    def convert(self, stamps: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Return nanoseconds since `start_monotonic_ns` for an array of stamps."""
        x = (stamps - self._base).astype(np.int64)
        if not self._counts:
            return np.clip(x, -LATEST, LATEST)
        if len(self._stamps) < 2:
            return np.zeros(len(x), np.int64)
        xf = x.astype(np.float64)
        y = np.interp(xf, self._stamps, self._times)
        slope = (self._times[-1] - self._times[-2]) / (self._stamps[-1] - self._stamps[-2])
        beyond = xf > self._stamps[-1]
        y[beyond] = self._times[-1] + (xf[beyond] - self._stamps[-1]) * slope
        # A stamp that no clock gave may lie anywhere.
        return np.rint(np.clip(y, -LATEST, LATEST)).astype(np.int64)
