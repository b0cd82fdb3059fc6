"""Blocks that describe sites become rows; location tables say the lines that CPython says."""

import gc
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gilscope.convert import spool
from gilscope.convert.conversion import Conversion
from gilscope.convert.sites import lines
from gilscope.convert.spool import SpoolReader
from gilscope.errors import TraceFormatError
from gilscope.tables.stored import Tables
from tests.support.drawn.spools import Spool, appears
from tests.support.drawn.traces import calm

MODULE = (0, 1, "<module>", "prog.py", b"\x80\x00")
BODY = (1, 3, "f", "prog.py", b"")


def converted(s, folder):
    folder.mkdir(exist_ok=True)
    with SpoolReader(s.write(folder / "spool.bin")) as reader:
        totals = Conversion(reader, folder, interval_argument=False).run()
    return Tables(folder, {"duration_ns": totals.duration_ns, "edges": "exact"})


def spool_with(s, first, second):
    """Let a thread release at one site, ask, take, and release at another."""
    begun = [(spool.BEGIN, 0, 0, 1), *appears(0, 7, 1), (spool.RELEASE, 0, first, 5)]
    s.batch(10, [*begun, (spool.REQUEST, 0, 5000, 6), (spool.ACQUIRE, 0, 0, 9)])
    return s.batch(20, [(spool.RELEASE, 0, second, 12), (spool.END, 0, 0, 18)]).last(21)


def test_what_is_described_becomes_rows(tmp_path):
    s = Spool().describe([MODULE, BODY], [(3, 1, 0, 0), (4, 3, 1, 2), (5, 2, 1, 4)])

    found = converted(spool_with(s, 4, 5), tmp_path)

    assert found.sites.to_pylist() == [
        row(0, None, "(callers not kept)", None, None, None),
        row(1, None, "<module>", "prog.py", 1, 1),
        row(2, 1, "f", "prog.py", 3, 3),
        row(3, 0, "f", "prog.py", 3, 3),
    ]
    rows = [(r["state"], r["start_ns"], r["site"]) for r in found.intervals.to_pylist()]
    # Released at 4, asked there, released at 5.
    assert rows == [("run", 0, 2), ("wait", 5, 2), ("run", 8, 3)]


def test_an_instruction_without_a_line_belongs_to_the_one_before(tmp_path):
    none, next_line = b"\xf8", b"\xd8\x00\x00"
    code = (0, 3, "f", "prog.py", none + next_line + none + none)
    s = Spool().describe([code], [(3, 1, 0, 0), (4, 1, 0, 2), (5, 1, 0, 4), (6, 1, 0, 6)])

    found = converted(spool_with(s, 3, 6), tmp_path)

    assert found.sites["line"].to_pylist() == [None, None, 4, 4, 4]


def row(site, parent, function, file, line, first_line):
    keys = ("site", "parent", "function", "file", "line", "first_line")
    return dict(zip(keys, (site, parent, function, file, line, first_line), strict=True))


def test_a_site_that_was_never_described_is_not_known(tmp_path):
    found = converted(spool_with(Spool().describe([MODULE], [(3, 1, 0, 0)]), 3, 99), tmp_path)
    assert found.intervals["site"].to_pylist() == [1, 1, 1]  # the last hold began at the only site there is
    alone = converted(spool_with(Spool(), 3, 4), tmp_path / "alone")
    assert alone.intervals["site"].to_pylist() == [None, None, None]
    assert alone.sites.num_rows == 0


@pytest.mark.parametrize(
    ("codes", "sites", "fields"),
    [
        ([(1, 1, "f", "p", b"")], [], {}),  # not the next number
        ([MODULE], [(4, 1, 0, 0)], {}),
        ([MODULE], [(3, 0, 0, 0)], {}),  # called from nowhere known
        ([MODULE], [(3, 3, 0, 0)], {}),  # called from itself
        ([MODULE], [(3, 4, 0, 0)], {}),
        ([MODULE], [(3, 1, 1, 0)], {}),  # of code that is not there
        ([MODULE], [(3, 1, 0, 0)], {"sites": 2}),
        ([MODULE], [(3, 1, 0, 0)], {"sites": 0}),
        ([MODULE], [(3, 1, 0, 0)], {"codes": 2}),
        ([], [], {"codes": (1 << 32) - 1}),
        ([], [], {"sites": (1 << 32) - 1}),
    ],
)
def test_what_no_recorder_describes_is_refused(tmp_path, codes, sites, fields):
    with pytest.raises(TraceFormatError, match="describes sites as no recorder does"):
        converted(spool_with(Spool().describe(codes, sites, fields), 3, 3), tmp_path)


def test_a_block_of_absurd_size_is_refused(tmp_path):
    with pytest.raises(TraceFormatError, match="larger than any recorder writes"):
        converted(spool_with(Spool().describe([MODULE], [], {"size": 1 << 30}), 3, 3), tmp_path)


def test_a_block_that_was_cut_short_ends_the_spool(tmp_path):
    whole = spool_with(Spool(), 0, 0)
    begin = len(whole.data)
    whole.describe([MODULE], [(3, 1, 0, 0)])
    for size in range(begin, len(whole.data)):
        cut = Spool()
        cut.data = whole.data[:size]
        # The last batch ended it; what follows is not looked at. Without one, it is half a block.
        assert converted(cut, tmp_path / str(size)).intervals.num_rows == 3
    bare = Spool().describe([MODULE], [(3, 1, 0, 0)])
    for size in range(len(Spool().data), len(bare.data)):
        (tmp_path / "cut").write_bytes(bare.data[:size])
        with SpoolReader(tmp_path / "cut") as reader:
            assert list(reader.batches()) == []


@calm
@given(st.binary(max_size=60), st.integers(0, 2**31 - 1))
def test_any_bytes_are_a_location_table_of_some_lines(table, first_line):
    start, line = lines(table, first_line)

    assert start[0] == 0
    assert (start[1:] > start[:-1]).all()
    assert (line >= 0).all()


def test_lines_are_those_that_cpython_says():
    """Of each function that is loaded here, at each instruction."""
    checked = 0
    codes = [o.__code__ for o in gc.get_objects() if isinstance(o, types.FunctionType)]
    for code in codes[:3000]:
        start, line = lines(code.co_linetable, code.co_firstlineno)
        for begin, end, expected in code.co_lines():
            for offset in range(begin, end, 2):
                found = line[start.searchsorted(offset, "right") - 1]
                assert (found or None) == expected, (code, offset)
                checked += 1
    assert checked > 10_000
