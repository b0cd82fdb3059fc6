"""The spool's format: frozen by a golden file, tied to record.h, and read without trust."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gilscope.convert import sites, spool
from gilscope.convert.conversion import Conversion
from gilscope.convert.spool import Clock, SpoolReader
from gilscope.errors import TraceFormatError
from gilscope.tables import schema
from gilscope.tables.stored import Tables
from tests.support import invariants
from tests.support.drawn.spools import START_NS, Spool, appears

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
RECORD_H = ROOT / "gilscope" / "csrc" / "record.h"


def small() -> Spool:
    s = Spool().batch(0)
    s.batch(10, [(spool.BEGIN, 0, 0, 1), *appears(0, 7, 1), (spool.RELEASE, 0, 0, 5)])
    return s.batch(20, [(spool.ACQUIRE, 0, 0, 12), (spool.END, 0, 0, 18)]).last(21)


def read(path: Path) -> list[spool.Batch]:
    with SpoolReader(path) as reader:
        return list(reader.batches())


@pytest.mark.parametrize("name", ["golden", "golden-calls", "golden-marks", "golden-sites"])
def test_golden_spool_gives_golden_tables(tmp_path, name):
    """The format may only change together with `VERSION`: old spools must not be misread."""
    with SpoolReader(DATA / f"{name}.spool") as reader:
        totals = Conversion(reader, tmp_path, interval_argument=False).run()
    recording = Tables(tmp_path, {"duration_ns": totals.duration_ns, "edges": "exact"})
    expected = json.loads((DATA / f"{name}.json").read_text())

    for name, rows in expected.items():
        declared = schema.DECLARED[name]
        later = {c: None for c, column in declared.columns.items() if column.since > declared.since}
        assert recording.table(name).to_pylist() == [later | row for row in rows], name
    invariants.check(recording)


def test_records_of_kinds_that_a_later_version_adds_change_no_row(tmp_path):
    """The holds in which they occur are not cut."""

    def tables(name: str, *added: tuple[int, ...]) -> dict[str, list[dict]]:
        s = Spool().batch(0).batch(10, [(spool.BEGIN, 0, 0, 1), *appears(0, 7, 1), *added])
        s.batch(20, [*appears(1, 8, 3), (spool.REQUEST, 1, 5000, 3), (spool.RELEASE, 0, 0, 5)])
        s.batch(30, [(spool.ACQUIRE, 1, 0, 6), (spool.END, 1, 0, 18)])
        path = s.last(31).write(tmp_path / f"{name}.spool")
        (tmp_path / name).mkdir()
        with SpoolReader(path) as reader:
            totals = Conversion(reader, tmp_path / name, interval_argument=False).run()
        recording = Tables(tmp_path / name, {"duration_ns": totals.duration_ns, "edges": "exact"})
        return {table: recording.table(table).to_pylist() for table in schema.DECLARED}

    later = [(kind, 0, 5, 2) for kind in range(spool.GIL_HELD + 1, 32)]
    without = tables("without")
    assert [row["state"] for row in without["intervals"]].count("run") == 2
    assert tables("with", *later) == without


@pytest.mark.skipif(not RECORD_H.exists(), reason="the C sources are not beside the tests")
def test_constants_are_those_of_record_h():
    text = RECORD_H.read_text()
    values = {name: int(value, 0) for name, value in re.findall(r"GS_(\w+) = (\d+),", text)}
    defines = dict(re.findall(r"#define GS_(\w+)\s+(\S+)", text))

    assert len(values) > 20
    for name, value in values.items():
        if name.startswith(("CLOCK_",)):
            assert spool.CLOCKS[value] == name.removeprefix("CLOCK_").lower()
        else:
            assert getattr(spool, name) == value, name
    assert int(defines["VERSION"].rstrip("u")) == spool.VERSION
    assert int(defines["BATCH_MAGIC"].rstrip("u"), 16) == spool.BATCH_MAGIC
    assert defines["MAGIC"].strip('"').encode() == spool.MAGIC
    assert int(defines["SITES_MAGIC"].rstrip("u"), 16) == spool.SITES_MAGIC
    constants = ("NO_SITE", "OUTSIDE", "CUT_SITE", "FIRST_SITE")
    assert [int(defines[name].rstrip("u")) for name in constants] == [*sites.NUMBERS]
    structs = ("batch", "header", "record", "sites_block", "code", "site")
    dtypes = (spool.BATCH, spool.HEADER, spool.RECORD, spool.SITES, spool.CODE, spool.SITE)
    for struct, dtype in zip(structs, dtypes, strict=True):
        body = re.sub(
            r"/\*.*?\*/", "", re.search(rf"struct gs_{struct} {{(.*?)\n}};", text, re.S)[1], flags=re.S
        )
        fields = [
            f.strip() for group in re.findall(r"(?:uint\d+_t|char) ([^;]+);", body) for f in group.split(",")
        ]
        assert [f.removesuffix("[8]") for f in fields] == list(dtype.names)


def test_reads_what_was_written(tmp_path):
    batches = read(small().write(tmp_path / "s"))

    assert [len(b.records) for b in batches] == [0, 5, 2, 0]
    assert [b.last for b in batches] == [False, False, False, True]
    assert batches[1].monotonic_ns == START_NS + 10


@pytest.mark.parametrize("cut", range(64, len(small().data), 7))
def test_a_spool_cut_anywhere_gives_its_whole_batches(tmp_path, cut):
    whole = read(small().write(tmp_path / "whole"))
    path = tmp_path / "cut"
    path.write_bytes(small().data[:cut])

    batches = read(path)

    assert [b.monotonic_ns for b in batches] == [b.monotonic_ns for b in whole[: len(batches)]]
    assert not any(b.last for b in batches)


@given(st.integers(0, len(small().data) - 1), st.integers(0, 7))
def test_a_flipped_bit_is_found_or_costs_no_more_than_the_tail(tmp_path_factory, byte, bit):
    data = bytearray(small().data)
    data[byte] ^= 1 << bit
    path = tmp_path_factory.mktemp("flip") / "s"
    path.write_bytes(data)
    whole = [b.records.tobytes() for b in read(small().write(path.with_name("whole")))]

    try:
        found = [b.records.tobytes() for b in read(path)]
    except TraceFormatError as error:
        assert str(path) in str(error)
    else:
        assert found == whole[: len(found)]
        assert len(found) < len(whole)


def test_blocks_never_written_at_the_end_are_a_cut(tmp_path):
    path = tmp_path / "s"
    path.write_bytes(small().data[:-64] + bytes(4096))

    assert len(read(path)) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a gilscope spool"),
        (b"PK\x03\x04" + bytes(200), "not a gilscope spool"),
        (bytes(small().data[:8]) + b"\x63" + bytes(small().data[9:]), "written in format 99"),
    ],
)
def test_what_is_no_spool_is_refused(tmp_path, content, message):
    path = tmp_path / "s"
    path.write_bytes(content)

    with pytest.raises(TraceFormatError, match=message):
        read(path)


def test_batches_out_of_order_are_refused(tmp_path):
    with pytest.raises(TraceFormatError, match="older than the one before"):
        read(Spool().batch(20).batch(10).last(30).write(tmp_path / "s"))


def test_a_missing_spool_is_refused(tmp_path):
    with pytest.raises(TraceFormatError, match="cannot be opened"):
        SpoolReader(tmp_path / "none")


def test_stamps_are_converted_piecewise_linearly_and_beyond_the_last_pair():
    clock = Clock(1 << 60, 500, counts=True)
    clock.add((1 << 60) + 1000, 600, 0)
    clock.add((1 << 60) + 2000, 800, 0)

    found = clock.convert(np.array([0, 500, 1000, 1500, 2000, 3000], np.uint64) + np.uint64(1 << 60))

    assert found.tolist() == [0, 50, 100, 200, 300, 500]


def test_a_pair_read_while_the_sampler_was_preempted_is_not_used():
    clock = Clock(0, 0, counts=True)
    clock.add(1000, 1000, 20)
    clock.add(2000, 900_000, 800_000)
    clock.add(3000, 3000, 30)

    assert clock.convert(np.array([2000], np.uint64)).tolist() == [2000]
    assert clock.error_ns == 30
