"""A spool becomes a folder of tables, whole or not at all; folders are opened."""

import os

import pytest

from gilscope.convert.folder import convert, open_tables, stored
from gilscope.errors import TraceFormatError, TraceWriteError
from gilscope.tables import schema
from gilscope.tables.files import describe_file
from gilscope.tables.folder import CHILDREN_FOLDER, SPOOL_FILE
from gilscope.tables.metadata import read_metadata, write_metadata
from tests.support.drawn.spools import Spool

FACTS = {"gilscope_version": "1", "python_version": "3.14.0", "edges": "exact", "not_measured": ["before"]}


@pytest.fixture
def spool(tmp_path):
    """A spool without threads that ends after 400 ns."""
    file = tmp_path / "a spool"
    file.write_bytes(Spool().last(400).data)
    return file


@pytest.fixture
def target(tmp_path):
    (tmp_path / "run.gilscope").mkdir()
    return tmp_path / "run.gilscope"


def unfinished(folder, spool):
    """Make what a process that was killed leaves."""
    folder.mkdir(parents=True, exist_ok=True)
    write_metadata(folder, FACTS)
    (folder / SPOOL_FILE).write_bytes(spool.read_bytes())
    return folder


def test_a_spool_becomes_tables_and_metadata(spool, target):
    metadata = convert(spool, target, FACTS | {"interval_argument": True, "of the future": 7}, quiet=True)
    assert metadata == read_metadata(target)
    assert metadata["files"] == {f"{n}.arrow": describe_file(target / f"{n}.arrow") for n in schema.TABLES}
    assert {p.name for p in target.iterdir()} == {"metadata.json", *metadata["files"]}
    assert (metadata["complete"], metadata["not_measured"]) == (True, ["before"])
    assert (metadata["clock"], metadata["period_s"]) == ("monotonic", 0.01)
    assert metadata["of the future"] == 7
    assert "interval_argument" not in metadata
    assert spool.exists()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_conversion_that_fails_leaves_no_table(spool, target, monkeypatch, error):
    def fail(_file):
        raise error

    monkeypatch.setattr("gilscope.convert.folder.describe_file", fail)
    with pytest.raises(type(error)):
        convert(spool, target, FACTS, quiet=True)
    assert list(target.iterdir()) == []


def test_facts_that_lack_a_key_are_refused(spool, target):
    with pytest.raises(TraceFormatError, match="python_version"):
        convert(spool, target, {k: v for k, v in FACTS.items() if k != "python_version"}, quiet=True)
    assert list(target.iterdir()) == []


def test_an_unfinished_trace_is_converted_elsewhere(spool, target):
    unfinished(target, spool)
    tables = open_tables(target)
    assert (tables.home, tables.folder != target) == (target, True)
    assert tables.table("threads").num_rows == 0
    assert {p.name for p in target.iterdir()} == {"metadata.json", SPOOL_FILE}
    folder = tables.folder
    del tables
    assert not folder.exists()


def test_no_room_for_the_tables_of_an_unfinished_trace(spool, target, monkeypatch):
    unfinished(target, spool)

    def fail():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gilscope.convert.folder.temporary_folder", fail)
    with pytest.raises(TraceWriteError, match="No space left on device"):
        open_tables(target)


def test_neither_tables_nor_a_spool(target):
    write_metadata(target, FACTS)
    with pytest.raises(TraceFormatError, match=r"neither tables .* nor a spool"):
        open_tables(target)


def test_metadata_that_do_not_fit_are_refused(spool, target):
    unfinished(target, spool)
    write_metadata(target, FACTS | {"pid": "one"})
    with pytest.raises(TraceFormatError, match=r"metadata\.json: key 'pid': expected a process id"):
        open_tables(target)


def test_children_are_opened_and_damaged_ones_left_out(spool, target):
    metadata = convert(spool, target, FACTS, quiet=True)
    unfinished(target / CHILDREN_FOLDER / "7", spool)
    unfinished(target / CHILDREN_FOLDER / "8", spool)
    (target / CHILDREN_FOLDER / "8" / SPOOL_FILE).write_bytes(b"no spool")
    tables = stored(target, metadata)
    with pytest.warns(RuntimeWarning, match=r"left out: .*8") as seen:
        children = tables.children
    assert [child.home.name for child in children] == ["7"]
    assert [w.filename for w in seen] == [__file__]


# Libraries loaded by other tests of this process may have started threads.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_temporary_tables_outlive_a_forked_child(spool, target):
    tables = stored(target, convert(spool, target, FACTS, quiet=True), temporary=True)
    if (pid := os.fork()) == 0:
        del tables
        os._exit(target.exists())
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    assert tables.table("threads").num_rows == 0
    del tables
    assert not target.exists()
