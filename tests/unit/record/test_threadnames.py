"""Names of threads: those that live, those that end, and what stays after the recording."""

import threading

import pytest

from gilscope.record.threadnames import ThreadNames


@pytest.fixture
def recorded():
    return []


@pytest.fixture
def names(recorded):
    names = ThreadNames(lambda *row: recorded.append(row))
    yield names
    names.remove()


def run(thread: threading.Thread) -> threading.Thread:
    thread.start()
    thread.join()
    return thread


class NamelessThread(threading.Thread):
    """A thread whose name raises once it runs."""

    @property
    def name(self):
        if self.ident is not None:
            raise LookupError("no name")
        return "nameless"

    @name.setter
    def name(self, value):
        pass


def test_a_thread_that_ends_is_recorded_with_its_last_name(names, recorded):
    names.install()
    thread = run(
        threading.Thread(target=lambda: setattr(threading.current_thread(), "name", "last"), name="first")
    )
    assert recorded == [(thread.native_id, thread.ident, "last")]


def test_living_threads_are_recorded_the_calling_one_last(names, recorded):
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait, name="waiting")
    thread.start()
    names.record_living()
    ended.set()
    thread.join()
    assert (thread.native_id, thread.ident, "waiting") in recorded
    assert recorded[-1][1] == threading.get_ident()


def test_names_that_are_not_utf8_are_escaped(names, recorded):
    names.install()
    run(threading.Thread(target=int, name="half \ud800"))
    assert [name for _, _, name in recorded] == ["half \\ud800"]


def test_a_name_that_raises_costs_that_name_only(names, recorded):
    names.install()
    ran = []
    run(NamelessThread(target=ran.append, args=(1,)))
    run(threading.Thread(target=ran.append, args=(2,), name="other"))
    assert ran == [1, 2]
    assert [name for _, _, name in recorded] == ["other"]


def test_a_recorder_that_raises_does_not_fail_the_thread():
    def refuse(*_row):
        raise RuntimeError("no room")

    names = ThreadNames(refuse)
    names.install()
    try:
        names.record_living()
        assert not run(threading.Thread(target=int)).is_alive()
    finally:
        names.remove()


def test_threads_that_threading_does_not_know_are_not_recorded(names, recorded):
    import _thread

    done = threading.Event()

    def unknown():
        threading.current_thread()  # makes a dummy thread
        names.record_living()
        done.set()

    ident = _thread.start_new_thread(unknown, ())
    assert done.wait(60)
    assert ident not in [row[1] for row in recorded]
    assert threading.main_thread().ident in [row[1] for row in recorded]


def test_after_removal_the_method_is_the_original_and_nothing_is_recorded(names, recorded):
    original = threading.Thread._delete
    names.install()
    assert threading.Thread._delete is not original
    names.remove()
    assert threading.Thread._delete is original
    names.record_living()
    run(threading.Thread(target=int))
    assert recorded == []


def test_a_wrapper_of_another_tool_stays_and_still_works(names, recorded, monkeypatch):
    called = []
    monkeypatch.setattr(threading.Thread, "_delete", threading.Thread._delete)  # put back at the end
    names.install()
    ours = threading.Thread._delete

    def theirs(thread):
        called.append(thread.name)
        ours(thread)

    threading.Thread._delete = theirs
    names.remove()
    assert threading.Thread._delete is theirs
    thread = run(threading.Thread(target=int, name="later"))
    assert (called, recorded) == (["later"], [])
    assert thread not in threading.enumerate()


def test_a_python_without_the_method_records_living_threads_only(names, recorded, monkeypatch):
    monkeypatch.delattr(threading.Thread, "_delete")
    names.install()
    names.record_living()
    names.remove()
    assert threading.get_ident() in [row[1] for row in recorded]
    assert not hasattr(threading.Thread, "_delete")
