"""Where the program released the GIL: the stacks that the core described, as the table ``sites``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gilscope.convert.spool import ACQUIRE, CODE, RELEASE, REQUEST, SITE, Described
from gilscope.convert.transitions import Transitions
from gilscope.convert.writer import Writer
from gilscope.errors import TraceFormatError
from gilscope.tables.arrays import strings
from gilscope.tables.rows import NO_SITE, NULL
from gilscope.tables.spans import by_thread

Int = npt.NDArray[np.int64]

NOT_KEPT = "(callers not kept)"
"""Function of the row that stands for callers that were not kept."""

NUMBERS = range(4)
"""Numbers that are not sites (not known, no caller, callers not kept), and the first that is one."""
_, _OUTSIDE, _CUT, _FIRST = NUMBERS
_LAST_LINE = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class _Code:
    function: str
    file: str
    first_line: int
    table: bytes


class Sites:
    """Collects code objects and sites, and writes them when all are known."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._codes: list[_Code] = []
        self._sites: list[npt.NDArray[np.void]] = []
        self._count = 0

    def read(self, block: Described) -> None:
        """Read a block.

        Raises:
            TraceFormatError: if it holds what no recorder writes.
        """
        at = 0
        for _ in range(block.codes):
            at = self._read_code(block.content, at)
        if len(block.content) - at != block.sites * SITE.itemsize:
            raise _damaged(f"expected {block.sites} sites in {len(block.content) - at} bytes")
        self._read_sites(np.frombuffer(block.content, SITE, block.sites, at))

    def _read_code(self, content: bytes, at: int) -> int:
        if at + CODE.itemsize > len(content):
            raise _damaged("a code object goes on behind its end")
        number, first_line, *sizes = map(int, np.frombuffer(content, CODE, 1, at)[0])
        begin = at + CODE.itemsize
        ends = [begin + sum(sizes[: i + 1]) for i in range(3)]
        if number != len(self._codes) or ends[-1] > len(content):
            raise _damaged(f"expected code object {len(self._codes)}, whole, found {number}")
        name, file, table = (content[a:b] for a, b in zip([begin, *ends], ends, strict=False))
        self._codes.append(_Code(_text(name), _text(file), first_line, table))
        return begin + (ends[-1] - begin + 3) // 4 * 4

    def _read_sites(self, sites: npt.NDArray[np.void]) -> None:
        number = np.arange(len(sites)) + self._count + _FIRST
        parent = sites["parent"]
        fits = (sites["site"] == number) & (parent >= _OUTSIDE) & (parent < number)
        if not fits.all() or (sites["code"] >= len(self._codes)).any():
            raise _damaged("sites do not follow one another, or name a code object that is not there")
        self._sites.append(sites)
        self._count += len(sites)

    @property
    def known(self) -> bool:
        """Tell whether any site has been described."""
        return self._count > 0

    def numbers(self, site: Int) -> npt.NDArray[np.int32]:
        """Return the rows of sites that records name; `NO_SITE` for none, and for those never described."""
        row = site - _CUT
        return np.where((row >= 0) & (row <= self._count), row, NO_SITE).astype(np.int32)

    def close(self) -> None:
        """Write the table: a row for callers that were not kept, then each site."""
        if not self._count:
            return
        sites = np.concatenate(self._sites)
        codes = [self._codes[i] for i in sites["code"].tolist()]
        line = self._lines(sites)
        parent = np.concatenate(([NO_SITE], sites["parent"].astype(np.int64) - _CUT))
        self._writer.write(
            "sites",
            site=np.arange(len(parent)),
            parent=parent,
            function=strings([NOT_KEPT, *(code.function for code in codes)]),
            file=strings(["", *(code.file for code in codes)], np.arange(len(parent)) == 0),
            line=np.concatenate(([NULL], np.where(line > 0, line, NULL))),
            first_line=np.array([NULL, *(code.first_line for code in codes)]),
        )

    def _lines(self, sites: npt.NDArray[np.void]) -> Int:
        line = np.zeros(len(sites), np.int64)
        order = np.argsort(sites["code"], kind="stable")
        for which in np.split(order, np.flatnonzero(np.diff(sites["code"][order])) + 1):
            code = self._codes[int(sites["code"][which[0]])]
            start, of_line = lines(code.table, code.first_line)
            # Up to 3.12 the jump at the end of a loop may have no line: it belongs to the one before it.
            of_line = of_line[np.maximum.accumulate(np.where(of_line > 0, np.arange(len(of_line)), 0))]
            at = np.searchsorted(start, sites["offset"][which], side="right") - 1
            line[which] = np.where(at < 0, code.first_line, of_line[np.maximum(at, 0)])
        return line


class LastReleases:
    """Remembers where each thread last released, and so where it asks for the GIL and goes on with it.

    A wait has no site of its own. Nor has a release outside all Python frames, as the last one of a thread,
    or a hold that is on when the trace ends: it belongs to where it began.
    """

    def __init__(self) -> None:
        self._site = np.empty(0, np.int32)  # by thread

    def fill(self, t: Transitions) -> None:
        """Give whatever has no site the one of its thread's last release.

        Args:
            t: transitions of one GIL in order; those before them have been given to this function before.
        """
        grown = int(t.thread.max(initial=-1)) + 1 - len(self._site)
        self._site = np.concatenate((self._site, np.full(max(grown, 0), NO_SITE, np.int32)))
        own = np.flatnonzero((t.kind == RELEASE) | (t.kind == REQUEST) | (t.kind == ACQUIRE))
        own = own[by_thread(t.thread[own])]
        thread = t.thread[own]
        releases = (t.kind[own] == RELEASE) & (t.site[own] != NO_SITE)
        # In each thread's own stretch, the position of the last release so far.
        last = np.maximum.accumulate(np.where(releases, np.arange(len(own)), -1))
        mine = (last >= 0) & (thread[np.maximum(last, 0)] == thread)
        site = np.where(mine, t.site[own[np.maximum(last, 0)]], self._site[thread])
        t.site[own] = site
        self._site[thread] = site  # of several, NumPy keeps the last


def lines(table: bytes, first_line: int) -> tuple[Int, Int]:
    r"""Return where in a code object each line begins.

    Args:
        table: its ``co_linetable``, in the format of CPython since 3.11 (``Objects/locations.md`` in its
            sources). Of a damaged one what can be read is returned.
        first_line: its ``co_firstlineno``.

    Returns:
        Two int64 arrays of one length: offsets of instructions in bytes, ascending from 0, and the line from
        there on, 0 where the code has none.

    Example:
        >>> sorted({*lines(compile("a\nb", "f", "exec").co_linetable, 1)[1].tolist()})
        [0, 1, 2]
    """
    start, line = np.array(list(_entries(table, first_line)) or [(0, first_line)], np.int64).T
    return start, line


def _entries(table: bytes, line: int) -> Iterator[tuple[int, int]]:
    """Yield the offset and the line of each entry of a location table."""
    offset, at = 0, 0
    while at < len(table):
        kind, length = table[at] >> 3 & 15, (table[at] & 7) + 1
        at += 1
        if kind in (13, 14):  # no column, or the long form: the line's change is a number of its own
            delta, at = _signed(table, at)
            line += delta
        elif kind in (10, 11, 12):
            line += kind - 10
        yield offset, 0 if kind == 15 else min(max(line, 0), _LAST_LINE)
        offset += 2 * length
        while at < len(table) and not table[at] & 0x80:  # columns
            at += 1


def _signed(table: bytes, at: int) -> tuple[int, int]:
    """Read a number of six bits a byte, the lowest first; its lowest bit is the sign."""
    value = shift = 0
    more = True
    while more and at < len(table):
        value |= (table[at] & 63) << shift
        more = bool(table[at] & 64)
        shift += 6
        at += 1
    return (-(value >> 1) if value & 1 else value >> 1), at


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _damaged(what: str) -> TraceFormatError:
    return TraceFormatError(f"the spool describes sites as no recorder does: {what}; record again")
