"""Reading traces from disk without trust gives a trace, a valid prefix of one, or a TraceFormatError."""

import json
import random
import shutil

import pyarrow as pa
import pytest

import gilscope
from gilscope.errors import TraceFormatError
from gilscope.tables import schema
from gilscope.tables.files import describe_file
from gilscope.tables.metadata import write_metadata
from tests.support.processes.programs import run_threads, spin


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "run.gilscope"
    with gilscope.trace(path):
        run_threads(lambda: spin(0.02), lambda: spin(0.02))
    return path


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy.gilscope")


def touch_all(path) -> None:
    """Read everything there is in a trace."""
    t = gilscope.load(path)
    for name in schema.TABLES:
        t.table(name).to_pandas()
        list(t.batches(name))
    t.report()


def test_a_whole_trace_reads(copy):
    touch_all(copy)


@pytest.mark.parametrize("what", ["missing", "file", "empty folder", "strange json", "list", "deep"])
def test_a_path_without_a_trace(tmp_path, what):
    path = tmp_path / "x"
    if what == "file":
        path.write_text("hello")
    elif what != "missing":
        path.mkdir()
        content = {"strange json": "{", "list": "[]", "deep": "[" * 100_000}.get(what)
        if content is not None:
            (path / "metadata.json").write_text(content)
    with pytest.raises(TraceFormatError, match=str(path)):
        gilscope.load(path)


@pytest.mark.parametrize("name", [*schema.TABLES])
@pytest.mark.parametrize("damage", ["missing", "cut", "empty", "flipped", "swapped"])
def test_damaged_tables_are_named(copy, name, damage):
    file = copy / f"{name}.arrow"
    data = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    elif damage == "swapped":
        other = "threads" if name != "threads" else "samples"
        shutil.copy(copy / f"{other}.arrow", file)
    else:
        data[len(data) // 2] ^= 16
        file.write_bytes({"cut": data[:-40], "empty": b"", "flipped": data}[damage])
    with pytest.raises(TraceFormatError, match=f"{name}.arrow"):
        touch_all(copy)


def test_flipped_bits_anywhere_in_a_trace_are_found(whole, tmp_path):
    rng = random.Random(20)
    files = sorted(whole.iterdir())
    for i in range(60):
        path = shutil.copytree(whole, tmp_path / f"{i}.gilscope")
        file = path / rng.choice(files).name
        data = bytearray(file.read_bytes())
        at = rng.randrange(len(data))
        data[at] ^= 1 << rng.randrange(8)
        file.write_bytes(data)
        try:
            touch_all(path)
        except TraceFormatError as error:
            assert str(path) in str(error)
        else:
            # White space of the metadata has no meaning.
            assert file.name == "metadata.json"
            assert json.loads(data) == json.loads((whole / file.name).read_bytes()), (
                f"seed 20, {file.name}, {at}"
            )


def test_a_table_with_other_columns_is_refused(copy):
    metadata = json.loads((copy / "metadata.json").read_text())
    with pa.ipc.new_file(str(copy / "samples.arrow"), pa.schema([("x", pa.int8())])) as writer:
        writer.write_table(pa.table({"x": pa.array([1], pa.int8())}))
    metadata["files"]["samples.arrow"] = describe_file(copy / "samples.arrow")
    metadata.pop("crc32")
    write_metadata(copy, metadata)
    with pytest.raises(TraceFormatError, match=r"expected the columns \['time_ns'.*found \['x'\]"):
        gilscope.load(copy).table("samples")


def test_a_trace_moved_elsewhere_loads(copy, tmp_path):
    moved = copy.rename(tmp_path / "other name")
    touch_all(moved)


def test_any_arrow_reader_opens_the_files(whole):
    with pa.OSFile(str(whole / "handoffs.arrow")) as f:
        assert pa.ipc.open_file(f).read_all().num_rows > 0
