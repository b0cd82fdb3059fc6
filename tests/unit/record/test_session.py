"""A recording from start to stop on a core that records nothing: what changes at its begin is put back."""

import errno
import sys
import threading
from pathlib import Path

import pytest

from gilscope import errors
from gilscope.record import session as sessions
from gilscope.record.options import Options
from gilscope.record.session import Session
from gilscope.tables.metadata import read_metadata


class FakeCore:
    """Has the functions that a session calls."""

    class LayoutError(RuntimeError):
        pass

    class HooksError(RuntimeError):
        pass

    class StatesError(RuntimeError):
        pass

    def __init__(self):
        self.no_hooks = self.no_states = self.start_error = None
        self.no_sites = ""
        self.started = None
        self.names, self.intervals = [], []
        self.stopped = {
            "error": 0,
            "hooks_stayed": True,
            "gils_listed": True,
            "gils_missed": 0,
            "sites_missed": 0,
            "sites_unread": 0,
            "sampler_cpu_ns": 1,
            "spool_bytes": 2,
        }

    def start(self, spool, *, exact, **options):
        for refusal in (self.no_hooks if exact else self.no_states, self.start_error):
            if refusal:
                raise refusal
        Path(spool).touch()
        self.started = {"exact": exact, **options}
        return {"recording": 7, "clock": "monotonic", "no_sites": self.no_sites}

    def stop(self):
        return self.stopped

    def name_thread(self, *row):
        self.names.append(row)

    def note_interval(self, *row):
        self.intervals.append(row)


@pytest.fixture
def core(monkeypatch):
    fake = FakeCore()
    monkeypatch.setattr("gilscope.record.core.core", fake)
    return fake


@pytest.fixture(autouse=True)
def interval_as_before():
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


def changed():
    """Return what a session changes in this process."""
    return sys.setswitchinterval, threading.Thread._delete, sys.getswitchinterval(), sessions.active()


def test_what_is_changed_at_the_begin_is_put_back_at_the_end(core, tmp_path):
    before = changed()
    session = Session(Options(path=tmp_path / "run.gilscope", switch_interval=0.25))
    assert sys.getswitchinterval() == 0.25
    assert sessions.active() is session
    assert all(now is not then for now, then in zip(changed()[:2], before[:2], strict=True))
    assert session.recording == 7
    session.stop()
    assert changed() == before
    assert core.intervals == []


def test_metadata_at_the_begin_and_at_the_end(core, tmp_path):
    session = Session(Options(path=tmp_path / "run.gilscope", period=0.5))
    begun = read_metadata(tmp_path / "run.gilscope")
    assert begun == session.metadata.as_json()
    assert (begun["edges"], begun["complete"], begun["not_measured"]) == ("exact", False, [])
    session.stop()
    assert session.metadata.as_json() == begun | {"complete": True, "sampler_cpu_ns": 1, "spool_bytes": 2}
    assert core.started["period_ns"] == 500_000_000


@pytest.mark.usefixtures("core")
def test_what_the_caller_knows_better(tmp_path):
    known = {"argv": ["child.py"], "gilscope_version": "of the parent", "trace_number": 3, "complete": True}
    session = Session(Options(path=tmp_path / "run.gilscope"), known)
    session.stop()
    assert known.items() <= session.metadata.as_json().items()


def test_names_are_recorded_at_both_ends(core, tmp_path):
    session = Session(Options(path=tmp_path / "run.gilscope"))
    me = (threading.get_native_id(), threading.get_ident(), threading.current_thread().name)
    assert core.names[-1] == me
    core.names.clear()
    thread = threading.Thread(target=int, name="worker")
    thread.start()
    thread.join()
    assert core.names == [(thread.native_id, thread.ident, "worker")]
    session.stop()
    assert core.names[-1] == me


def test_a_switch_interval_of_the_program_is_left_in_place(core, tmp_path):
    session = Session(Options(path=tmp_path / "run.gilscope", switch_interval=0.25))
    sys.setswitchinterval(0.125)
    session.stop()
    assert sys.getswitchinterval() == 0.125
    assert session.interval_left
    assert [row[:2] for row in core.intervals] == [(0.25, 0.125)]
    assert ["a switch interval of its own" in s for s in session.metadata.not_measured] == [True]


@pytest.mark.usefixtures("core")
def test_wrappers_of_another_tool_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "setswitchinterval", sys.setswitchinterval)
    monkeypatch.setattr(threading.Thread, "_delete", threading.Thread._delete)
    session = Session(Options(path=tmp_path / "run.gilscope"))
    ours = threading.Thread._delete

    def theirs(thread):
        ours(thread)

    sys.setswitchinterval = threading.Thread._delete = theirs
    session.stop()
    assert sys.setswitchinterval is theirs
    assert threading.Thread._delete is theirs


@pytest.mark.parametrize("replaced", [False, True])
def test_a_start_that_fails_leaves_everything_as_it_was(core, tmp_path, replaced):
    path = tmp_path / "run.gilscope"
    if replaced:
        path.mkdir()
        (path / "metadata.json").write_text("{}")
    before = changed()
    core.start_error = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(errors.TraceWriteError, match="No space left on device"):
        Session(Options(path=path, overwrite=True, switch_interval=0.25))
    assert changed() == before
    assert path.exists() == replaced
    assert not replaced or (path / "metadata.json").read_text() == "{}"
    assert len(list(tmp_path.iterdir())) == replaced


@pytest.mark.usefixtures("core")
def test_one_session_at_a_time(tmp_path):
    first = Session(Options(path=tmp_path / "first"))
    with pytest.raises(errors.TraceActiveError):
        Session(Options(path=tmp_path / "second"))
    assert sessions.active() is first
    assert first.is_on()
    first.stop()
    assert not first.is_on()
    assert [p.name for p in tmp_path.iterdir()] == ["first"]


@pytest.mark.usefixtures("core")
def test_a_session_that_gives_way(tmp_path):
    first = Session(Options(path=tmp_path / "first"))
    first.give_way = first.stop
    second = Session(Options(path=tmp_path / "second"))
    assert sessions.active() is second
    second.stop()


@pytest.mark.parametrize("edges", ["auto", "exact", "sampled"])
@pytest.mark.parametrize("hooks", [True, False], ids=["hooks", "no hooks"])
def test_edges_that_are_used(core, tmp_path, edges, hooks):
    core.no_hooks = None if hooks else core.HooksError("no slot")
    if edges == "exact" and not hooks:
        with pytest.raises(errors.EdgesUnavailableError, match=r'no slot; use edges="sampled"'):
            Session(Options(path=tmp_path / "run.gilscope", edges=edges))
        return
    session = Session(Options(path=tmp_path / "run.gilscope", edges=edges))
    session.stop()
    exact = hooks and edges != "sampled"
    assert core.started["exact"] == session.metadata.exact == exact
    assert core.started["period_ns"] == (10_000_000 if exact else 1_000_000)
    reason = "asked for" if edges == "sampled" else "proven" if hooks else "no slot"
    assert reason in session.metadata.edges_reason


@pytest.mark.parametrize(
    ("refusal", "error"),
    [("StatesError", errors.EdgesUnavailableError), ("LayoutError", errors.UnsupportedInterpreterError)],
)
def test_an_interpreter_that_cannot_be_traced(core, tmp_path, refusal, error):
    core.no_states = getattr(core, refusal)("found 7")
    with pytest.raises(error, match="found 7"):
        Session(Options(path=tmp_path / "run.gilscope", edges="sampled"))
    assert list(tmp_path.iterdir()) == []
    assert sessions.active() is None


@pytest.mark.parametrize(("sites", "expected"), [(True, 250_000_000), (False, None)])
def test_lines_of_code_are_recorded_or_not(core, tmp_path, sites, expected):
    core.no_sites = "a debug build" if sites else ""
    session = Session(Options(path=tmp_path / "run.gilscope", sites=sites, stacks_over=0.25))
    session.stop()
    assert core.started["whole_over_ns"] == expected
    assert ["a debug build" in s for s in session.metadata.not_measured] == [True] * sites


@pytest.mark.usefixtures("core")
def test_a_folder_that_was_replaced(tmp_path):
    session = Session(Options(path=tmp_path / "run.gilscope"))
    session.check_destination()
    (tmp_path / "run.gilscope").rename(tmp_path / "moved")
    (tmp_path / "run.gilscope").mkdir()
    session.stop()
    with pytest.raises(errors.TraceWriteError, match="removed or replaced"):
        session.check_destination()
