"""Traces made to do harm by what their files are, and by their metadata, with every checksum right."""

import json
import os
import socket
from pathlib import Path

import pytest

import gilscope
from gilscope.errors import TraceFormatError
from tests.fuzz import files as f
from tests.fuzz.mutations import NASTY_VALUES
from tests.fuzz.seeds import RECORDED, seeds

pytestmark = pytest.mark.once

# ---- things that are no files ----


def fifo(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as s:
        # A path for a socket has to be short.
        here = os.open(path.parent, os.O_RDONLY)
        s.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)


NO_FILES = {
    "folder": Path.mkdir,
    "fifo": fifo,
    "socket": listening,
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "nowhere": lambda path: path.symlink_to("nowhere"),
    "loop": lambda path: path.symlink_to(path.name),
}


@pytest.mark.parametrize("name", ["metadata.json", "spool.bin", "intervals.arrow", "threads.arrow"])
@pytest.mark.parametrize("what", NO_FILES)
def test_what_is_no_file_is_refused_at_once(tmp_path, name, what):
    path = f.write(seeds()[RECORDED], tmp_path / "t")
    (path / name).unlink(missing_ok=True)
    NO_FILES[what](path / name)

    with pytest.raises(TraceFormatError, match=str(path)):
        _ = gilscope.load(path).intervals


def test_a_folder_that_is_no_folder(tmp_path):
    fifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("fifo", "loop", "x" * 300, "nul\0"):
        with pytest.raises(TraceFormatError):
            gilscope.load(tmp_path / name)


# ---- metadata ----

USED = sorted(json.loads(seeds()[RECORDED][f.METADATA]).keys() - {"crc32"})


@pytest.mark.parametrize("key", USED)
def test_a_key_of_any_kind_is_refused_or_used(tmp_path, key):
    whole = json.loads(seeds()[RECORDED][f.METADATA])
    done = 0
    for i, value in enumerate(NASTY_VALUES):
        path = f.write(f.with_metadata(seeds()[RECORDED], {**whole, key: value}), tmp_path / str(i))
        try:
            t = gilscope.load(path)
            t.report().encode()
            t.report(format="json")
        except TraceFormatError as error:
            assert str(path) in str(error)
        else:
            done += 1
    assert done < len(NASTY_VALUES)  # NaN is refused in any key


@pytest.mark.parametrize(
    "key", ["duration_ns", "edges", "files", "gilscope_version", "not_measured", "python_version"]
)
def test_a_missing_key_is_named(load, key):
    content = f.metadata(seeds()[RECORDED])
    del content[key]

    with pytest.raises(TraceFormatError, match=key):
        load(f.with_metadata(seeds()[RECORDED], content))


def test_a_table_without_a_checksum_is_refused(load):
    content = f.metadata(seeds()[RECORDED])
    del content["files"]["samples.arrow"]

    with pytest.raises(TraceFormatError, match=r"samples\.arrow"):
        load(f.with_metadata(seeds()[RECORDED], content))


@pytest.mark.parametrize("depth", [33, 500, 900])
def test_deep_metadata_is_refused(load, depth):
    deep: object = 1
    for _ in range(depth):
        deep = [deep]

    with pytest.raises(TraceFormatError, match="levels"):
        load(f.with_metadata(seeds()[RECORDED], {**f.metadata(seeds()[RECORDED]), "deep": deep}))


def test_metadata_without_end_is_not_read(tmp_path):
    path = f.write(seeds()[RECORDED], tmp_path / "t")
    os.truncate(path / f.METADATA, 1 << 40)

    with pytest.raises(TraceFormatError, match="at most 16777216 bytes"):
        gilscope.load(path)
