"""Traces made on purpose to do harm by their tables: Arrow files with every checksum right."""

import io
import os
import struct

import numpy as np
import pyarrow as pa
import pytest

import gilscope
from gilscope.errors import TraceFormatError
from gilscope.tables import schema
from gilscope.tables.arrowfile import open_batches
from tests.fuzz import files as f
from tests.fuzz.mutations import arrow
from tests.fuzz.seeds import RECORDED, seeds

pytestmark = pytest.mark.once


def table_of(files: f.Files, name: str) -> pa.Table:
    return pa.ipc.open_file(pa.py_buffer(files[f"{name}.arrow"])).read_all()


def with_file(name: str, data: bytes) -> f.Files:
    return f.mend({**seeds()[RECORDED], f"{name}.arrow": data})


def with_column(name: str, column: str, values: list[object]) -> f.Files:
    table = table_of(seeds()[RECORDED], name)
    values = (values * table.num_rows)[: table.num_rows]
    at = table.column_names.index(column)
    return with_file(
        name, arrow(table.set_column(at, column, pa.array(values, schema.TABLES[name].field(column).type)))
    )


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_a_bomb_is_not_unpacked(load, compression):
    zeros = pa.table([pa.array(np.zeros(1 << 23, np.int64))] * 4, schema=schema.TABLES["samples"])
    bomb = arrow(zeros, compression)
    assert len(bomb) < zeros.nbytes / 100
    before = pa.total_allocated_bytes()

    with pytest.raises(TraceFormatError, match=r"samples.*compressed"):
        _ = load(with_file("samples", bomb)).samples
    assert pa.total_allocated_bytes() - before < len(bomb) + 4096


def test_a_compressed_dictionary_is_found(load):
    table = table_of(seeds()[RECORDED], "intervals")
    words = pa.array(["run", "wait", *["x" * 1000] * 1000])
    state = pa.chunked_array(
        [pa.DictionaryArray.from_arrays(pa.array([0] * table.num_rows, pa.int16()), words)]
    )
    padded = arrow(pa.table({"state": state}), "zstd")

    with pytest.raises(TraceFormatError, match="compressed"):
        _ = load(with_file("intervals", padded)).intervals


def test_offsets_that_point_outside_are_refused(load):
    table = table_of(seeds()[RECORDED], "threads")
    lengths = [len(name) for name in table["name"].to_pylist()]
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32).tobytes()
    data = arrow(table)
    assert data.count(offsets) == 1

    with pytest.raises(TraceFormatError, match=r"threads\.arrow"):
        _ = load(
            with_file(
                "threads", data.replace(offsets, offsets[:4] + struct.pack("<i", 1 << 30) + offsets[8:])
            )
        ).threads


def test_names_that_are_no_text_are_refused(load):
    data = arrow(table_of(seeds()[RECORDED], "threads"))
    assert b"MainThread" in data

    with pytest.raises(TraceFormatError, match=r"threads\.arrow"):
        _ = load(with_file("threads", data.replace(b"MainThread", b"\xff\xfeinThread"))).threads


def test_words_that_are_not_in_the_dictionary_are_refused(load):
    table = table_of(seeds()[RECORDED], "intervals")
    codes = np.concatenate([np.asarray(c.indices) for c in table["state"].chunks]).astype(np.int8).tobytes()
    data = arrow(table.combine_chunks())
    assert codes in data

    with pytest.raises(TraceFormatError, match=r"intervals\.arrow"):
        _ = load(with_file("intervals", data.replace(codes, b"\x7f" * len(codes)))).intervals


WRONG = [
    ("threads", "thread", [1]),
    ("threads", "thread", [None]),
    ("intervals", "thread", [2**31 - 1]),
    ("intervals", "thread", [-1]),
    ("intervals", "thread", [None]),
    ("intervals", "state", [None]),
    ("intervals", "state", ["sleep"]),
    ("intervals", "interpreter", [-1]),
    ("intervals", "start_ns", [-1]),
    ("intervals", "duration_ns", [2**60]),
    ("intervals", "duration_ns", [2**63 - 1]),
    ("handoffs", "to_thread", [9]),
    ("handoffs", "waiters", [-1]),
    ("handoffs", "acquire_ns", [2**40]),
    ("threads", "last_ns", [2**40]),
    ("switch_intervals", "interval_ns", [-5]),
    ("switch_intervals", "source", ["elsewhere"]),
    ("samples", "time_ns", [5, 4]),
    ("samples", "dropped", [-1]),
    ("intervals", "site", [1 << 20]),
    ("intervals", "site", [-1]),
    ("sites", "site", [5]),
    ("sites", "parent", [None, 1]),
    ("sites", "parent", [None, 1 << 20]),
    ("sites", "line", [-3]),
]


@pytest.mark.parametrize(("name", "column", "values"), WRONG)
def test_values_that_no_trace_has_are_refused(load, name, column, values):
    t = load(with_column(name, column, values))

    with pytest.raises(TraceFormatError, match=rf"{name}\.arrow: .*{column}"):
        t.table(name)


def test_batches_are_looked_at_like_whole_tables(load):
    t = load(with_column("intervals", "thread", [99]))

    with pytest.raises(TraceFormatError, match="'thread': expected values from 0"):
        list(t.batches("intervals"))


def test_an_index_that_repeats_a_batch_is_not_believed(load):
    """The index at the end of an Arrow file may list a batch as often as it likes; batches are read once."""
    samples = table_of(seeds()[RECORDED], "samples")
    data = arrow(samples)
    footer_size = struct.unpack("<i", data[-10:-6])[0]
    nonsense = data[: -10 - footer_size] + b"\xff" * footer_size + data[-10:]

    assert load(with_file("samples", nonsense)).samples.equals(samples)


def test_a_file_of_another_size_is_not_read(tmp_path):
    path = f.write(seeds()[RECORDED], tmp_path / "t")
    os.truncate(path / "intervals.arrow", 1 << 42)

    with pytest.raises(TraceFormatError, match=r"intervals\.arrow: damaged: .* found 4398046511104 bytes"):
        _ = gilscope.load(path).intervals


def test_a_compressed_table_that_says_so_late_is_found(tmp_path):
    """Not the first batch but the last is compressed."""
    plain, packed = io.BytesIO(), io.BytesIO()
    table = pa.table([pa.array(range(1000), pa.int64())] * 4, schema=schema.TABLES["samples"])
    for out, compression in ((plain, None), (packed, "zstd")):
        with pa.ipc.new_stream(
            out, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)
        ) as writer:
            writer.write_table(table)
    first = [m.serialize().to_pybytes() for m in messages(plain.getvalue())]
    late = [m.serialize().to_pybytes() for m in messages(packed.getvalue())][1:]
    data = b"ARROW1\0\0" + b"".join([*first, *late]) + b"\xff\xff\xff\xff\0\0\0\0"

    (tmp_path / "late").write_bytes(data)
    with (tmp_path / "late").open("rb") as file, pytest.raises(ValueError, match="compressed"):
        open_batches(file)


def messages(data: bytes):
    reader = pa.ipc.MessageReader.open_stream(pa.py_buffer(data))
    while True:
        try:
            yield reader.read_next_message()
        except StopIteration:
            return
