"""A recording that lasts as long as a file is there and empty, and then ends by itself."""

import glob
import os

import pytest

from gilscope import _core
from gilscope.convert.spool import SpoolReader
from tests.support.processes.closing import closing

pytestmark = [pytest.mark.clock, pytest.mark.per_build, pytest.mark.basics]


@pytest.fixture(params=["exact", "sampled"])
def recording(request, tmp_path):
    """Begin one; return its spool, the file, and its number."""
    spool, wanted = tmp_path / "spool", tmp_path / "wanted"
    wanted.touch()
    exact = request.param == "exact"
    number = _core.start(spool, exact=exact, period_ns=10_000_000, wanted=wanted)["recording"]
    yield spool, wanted, number
    if _core.active():
        _core.stop()


def descriptors_of(path) -> list[str]:
    """Return the descriptors, of any thread, that stand for a file, also for one that is removed."""
    found = []
    for name in glob.glob("/proc/self/task/*/fd/*"):
        try:
            target = os.readlink(name)
        except FileNotFoundError:
            continue  # one that was closed meanwhile
        if target.removesuffix(" (deleted)") == str(path):
            found.append(name)
    return found


def is_whole(spool) -> bool:
    """Tell whether a spool has its last batch."""
    with SpoolReader(spool) as reader:
        return list(reader.batches())[-1].last


ENDS = {
    "removed": lambda wanted: wanted.unlink(),
    "not empty": lambda wanted: os.truncate(wanted, 1),
    "replaced": lambda wanted: (wanted.with_name("other").touch(), wanted.with_name("other").replace(wanted)),
}


@pytest.mark.parametrize("end", ENDS)
def test_it_ends_by_itself(recording, end):
    spool, wanted, number = recording
    assert descriptors_of(spool)
    assert descriptors_of(wanted)
    wait = closing(spool)
    _core.mark(number, b"before")
    ENDS[end](wanted)
    wait()

    assert is_whole(spool)
    size = spool.stat().st_size
    assert _core.active()  # until it is stopped
    _core.mark(number, b"after")
    _core.flush()  # returns, although no thread writes any more
    assert _core.region_begin(number, b"after") > 0
    stopped = _core.stop()
    assert (stopped["error"], stopped["spool_bytes"], spool.stat().st_size) == (0, size, size)
    assert stopped["hooks_stayed"]
    assert descriptors_of(spool) == descriptors_of(wanted) == []
    assert not _core.active()
    text = spool.read_bytes()
    assert b"befo" in text
    assert b"afte" not in text


def test_it_goes_on_while_the_file_is_there(recording):
    spool, wanted, number = recording
    os.rename(wanted, wanted.with_name("elsewhere"))
    wait = closing(spool)
    _core.flush()
    _core.mark(number, b"after")
    _core.flush()
    assert _core.stop()["error"] == 0
    wait()
    assert b"afte" in spool.read_bytes()


# CPython 3.12 and later warn of the sampler's thread.
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_fork_of_one_that_has_ended_has_nothing_of_it(recording):
    spool, wanted, _ = recording
    wait = closing(spool)
    wanted.unlink()
    wait()
    if (pid := os.fork()) == 0:
        os._exit(_core.active())
    assert os.waitpid(pid, 0)[1] == 0
    _core.stop()


@pytest.mark.parametrize("wanted", ["none", "none/wanted", ""])
def test_a_file_that_cannot_be_opened_is_refused(tmp_path, wanted):
    spool = tmp_path / "spool"
    with pytest.raises(OSError, match="No such file"):
        _core.start(spool, exact=True, period_ns=10_000_000, wanted=tmp_path / wanted / "x")
    assert not spool.exists()
    assert descriptors_of(spool) == []
    _core.start(spool, exact=True, period_ns=10_000_000, wanted=None)
    assert _core.stop()["error"] == 0
