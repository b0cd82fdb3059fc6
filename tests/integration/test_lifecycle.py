"""How traces begin and end, also after errors: no record is lost, nothing of the program is changed."""

import asyncio
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

import gilscope
from gilscope import _core, errors
from tests.support import invariants
from tests.support.processes import sandbox
from tests.support.processes.programs import HOLDING, python, run_threads, spin

pytestmark = [pytest.mark.clock, pytest.mark.per_build, pytest.mark.basics]

ROOT = Path(__file__).parents[2]


def test_the_block_gives_the_trace_and_the_folder_holds_it(tmp_path):
    with gilscope.trace(tmp_path / "run.gilscope") as t:
        run_threads(lambda: spin(0.01), names=("worker",))

    invariants.check(t)
    loaded = gilscope.load(tmp_path / "run.gilscope")
    assert loaded.metadata == t.metadata
    assert "worker" in loaded.threads["name"].to_pylist()
    assert sorted(p.name for p in (tmp_path / "run.gilscope").iterdir()) == [
        "handoffs.arrow",
        "intervals.arrow",
        "marks.arrow",
        "metadata.json",
        "samples.arrow",
        "sites.arrow",
        "switch_intervals.arrow",
        "threads.arrow",
    ]


def test_only_the_default_path_is_replaced_unasked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        with gilscope.trace() as t:
            pass
    assert [p.name for p in tmp_path.iterdir()] == ["trace.gilscope"]
    assert gilscope.load().metadata == t.metadata

    for given in ("trace.gilscope", Path("trace.gilscope"), tmp_path / "trace.gilscope"):
        with pytest.raises(errors.TraceExistsError, match="overwrite=True"):
            gilscope.trace(given).__enter__()
    assert gilscope.load().metadata == t.metadata
    with gilscope.trace(tmp_path / "trace.gilscope", overwrite=True):
        pass


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_other_files_and_folders_are_never_replaced(tmp_path, kind):
    path = tmp_path / "precious"
    if kind == "file":
        path.write_text("mine")
    else:
        path.mkdir()
        (path / "thesis.txt").write_text("mine")

    with pytest.raises(errors.TraceExistsError, match="not a trace"):
        gilscope.trace(path, overwrite=True).__enter__()
    assert path.exists()


def test_a_trace_that_cannot_begin_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "run.gilscope"
    with gilscope.trace(path) as old:
        pass

    def fail(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_core, "start", fail)
    with pytest.raises(errors.TraceWriteError, match="No space left"):
        gilscope.trace(path, overwrite=True, switch_interval=0.001).__enter__()
    assert gilscope.load(path).metadata == old.metadata
    assert [p.name for p in tmp_path.iterdir()] == ["run.gilscope"]


def test_without_a_path_nothing_stays_on_disk():
    with gilscope.trace(None) as t:
        pass
    folder, intervals = t.path, t.intervals
    assert folder.exists()
    del t
    assert not folder.exists()
    assert intervals.num_rows == 1  # a table outlives its file


def test_save_keeps_a_copy(tmp_path):
    with gilscope.trace(None) as t:
        pass
    path = t.save(tmp_path / "kept.gilscope")
    assert gilscope.load(path).intervals.equals(t.intervals)
    with pytest.raises(errors.TraceExistsError):
        t.save(path)
    t.save(path, overwrite=True)
    with pytest.raises(errors.TraceWriteError, match="cannot be written"):
        t.save(tmp_path / "no" / "such" / "folder")


def test_a_trace_that_is_still_recorded_refuses_to_be_read(tmp_path):
    with gilscope.trace(None) as t:
        asks = [lambda: t.intervals, lambda: t.metadata, lambda: t.children, t.report, t.view]
        asks += [
            lambda write=write: write(tmp_path / "x.json") for write in (t.save, t.to_viztracer, t.merge_into)
        ]
        for ask in asks:
            with pytest.raises(errors.TraceStateError, match="after the block"):
                ask()
    assert not list(tmp_path.iterdir())


def test_one_trace_at_a_time():
    with (
        gilscope.trace(None) as t,
        pytest.raises(errors.TraceActiveError, match="active in this process already"),
    ):
        gilscope.trace(None).__enter__()
    assert t.metadata["complete"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_of_the_block_propagates_and_the_trace_is_whole(error):
    with pytest.raises(error), gilscope.trace(None, switch_interval=0.001) as t:
        raise error
    assert t.metadata["complete"]
    invariants.check(t)


def test_as_a_decorator(tmp_path):
    @gilscope.trace(tmp_path / "f.gilscope", overwrite=True)
    def double(x: int) -> int:
        """Twice."""
        return 2 * x

    assert (double(2), double(3), double.__doc__) == (4, 6, "Twice.")
    assert gilscope.load(tmp_path / "f.gilscope").metadata["complete"]

    @gilscope.trace(tmp_path / "g.gilscope")
    async def triple(x: int) -> int:
        await asyncio.sleep(0)
        return 3 * x

    assert asyncio.run(triple(2)) == 6
    assert gilscope.load(tmp_path / "g.gilscope").metadata["complete"]

    with pytest.raises(errors.OptionError, match="generator"):

        @gilscope.trace(None)
        def numbers():
            yield 1


def test_the_switch_interval_is_put_back_unless_the_program_changed_it():
    before = sys.getswitchinterval()
    with gilscope.trace(None, switch_interval=0.0005) as t:
        assert sys.getswitchinterval() == pytest.approx(0.0005)
    assert sys.getswitchinterval() == before
    try:
        with gilscope.trace(None, switch_interval=0.0005) as t:
            sys.setswitchinterval(0.002)
            run_threads(lambda: spin(0.05), lambda: spin(0.05))
        assert sys.getswitchinterval() == pytest.approx(0.002)
        assert any("switch interval of its own" in s for s in t.metadata["not_measured"])
        assert t.switch_intervals["interval_ns"].to_pylist()[:2] == [500_000, 2_000_000]
    finally:
        sys.setswitchinterval(before)


def test_names_of_threads_that_ended_or_were_renamed():
    def renamed() -> None:
        threading.current_thread().name = "afterwards"

    class Odd(threading.Thread):
        @property
        def name(self):
            raise RuntimeError("no name for you")

    ended = threading.Event()
    with gilscope.trace(None) as t:
        run_threads(renamed, names=("before",))
        living = threading.Thread(target=ended.wait, name="living with ü and 'quotes'")
        living.start()
        odd = Odd.__new__(Odd)
        threading.Thread.__init__(odd, target=lambda: None)
        odd.start()
        odd.join()
    ended.set()
    living.join()

    names = t.threads["name"].to_pylist()
    assert {"MainThread", "afterwards", "living with ü and 'quotes'"} <= set(names)
    assert "before" not in names
    assert sum(name.startswith("native ") for name in names) == 1


def test_threads_python_did_not_start_show_their_native_id():
    import _thread

    done = threading.Lock()
    done.acquire()
    with gilscope.trace(None) as t:
        _thread.start_new_thread(done.release, ())
        done.acquire()
    others = t.threads.to_pandas().query("not is_main")
    assert others.name.tolist() == [f"native {i}" for i in others.native_id]


def test_many_threads_one_after_the_other():
    with gilscope.trace(None) as t:
        for i in range(300):
            run_threads(lambda: None, names=(f"short-{i}",))
    invariants.check(t)
    assert [n for n in t.threads["name"].to_pylist() if n.startswith("short")] == [
        f"short-{i}" for i in range(300)
    ]


def test_a_forked_child_is_untraced_and_the_parent_is_whole(tmp_path):
    script = """
import gilscope, os, sys, threading
from gilscope import _core
delete = threading.Thread._delete
with gilscope.trace("run.gilscope", switch_interval=0.001, quiet=True) as t:
    pid = os.fork()
    if pid == 0:
        ok = (
            not _core.active()
            and threading.Thread._delete is delete
            and sys.getswitchinterval() == 0.005
        )
        thread = threading.Thread(target=sum, args=(range(1000),)); thread.start(); thread.join()
        with gilscope.trace(None) as own:
            pass
        ok = ok and own.metadata["complete"] and own.metadata["pid"] == os.getpid()
        sys.exit(0 if ok else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    thread = threading.Thread(target=sum, args=(range(1000),), name="later"); thread.start(); thread.join()
print(status, t.metadata["complete"], "later" in t.threads["name"].to_pylist())
"""
    result = python("-W", "ignore", "-c", script, cwd=tmp_path)
    assert (result.stdout, result.stderr) == ("0 True True\n", "")
    assert gilscope.load(tmp_path / "run.gilscope").metadata["complete"]


def test_the_trace_of_a_killed_process_loads(tmp_path):
    script = """
import gilscope, os, signal, threading, time
with gilscope.trace("run.gilscope"):
    work = lambda: [None for _ in range(3_000_000)]
    threads = [threading.Thread(target=work, name=f"w{i}") for i in range(2)]
    [t.start() for t in threads]; [t.join() for t in threads]
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    result = python("-c", script, cwd=tmp_path)
    assert result.returncode == -signal.SIGKILL
    t = gilscope.load(tmp_path / "run.gilscope")
    invariants.check(t)
    assert not t.metadata["complete"]
    assert any("cut short" in s for s in t.metadata["not_measured"])
    assert {"w0", "w1"} <= set(t.threads["name"].to_pylist())
    assert t.metadata["duration_ns"] >= 100_000_000  # at most 100 ms of the sleep are lost
    assert (tmp_path / "run.gilscope" / "spool.bin").exists()  # loading changes nothing
    assert "gilscope" in t.report()


def test_a_trace_still_on_at_exit_is_finished(tmp_path):
    script = "import gilscope; gilscope.trace('run.gilscope').__enter__()"
    result = python("-c", script, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert gilscope.load(tmp_path / "run.gilscope").metadata["complete"]


def test_no_room_in_mid_trace_leaves_the_program_alone(tmp_path):
    script = """
import resource, signal, threading, warnings, gilscope
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import os
null = os.open(os.devnull, os.O_WRONLY)
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    with gilscope.trace("run.gilscope") as t:
        for _ in range(300_000):
            os.write(null, b"x")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(len(seen), t.metadata["complete"], t.intervals.num_rows > 1000)
print(*(str(w.message).split(": ", 1)[1] for w in seen), sep="\\n")
"""
    result = python("-c", script, cwd=tmp_path)
    assert result.stderr == ""
    first, *messages = result.stdout.splitlines()
    assert first.endswith("False True")
    assert "writing failed (File too large); what came after is not in the trace" in messages


CLOSES_EVERYTHING = """
import os, warnings, gilscope
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    with gilscope.trace("run.gilscope") as t:
        os.closerange(3, 64)
        mine = [os.open(f"mine-{i}", os.O_RDWR | os.O_CREAT) for i in range(30)]
        for _ in range(20_000):
            os.sched_yield()
            os.getloadavg()
untouched = [os.fstat(fd).st_size for fd in mine] == [0] * 30
print(untouched, t.metadata["complete"], t.intervals.num_rows > 20_000)
print(*(w.message for w in seen))
"""


def test_a_program_that_closes_every_descriptor_loses_nothing(tmp_path):
    result = python("-c", CLOSES_EVERYTHING, cwd=tmp_path)
    assert (result.stdout, result.stderr) == ("True True True\n\n", "")


def test_a_program_that_closes_every_descriptor_gets_no_stray_byte(tmp_path):
    """A recorder without its own table of descriptors, on an old kernel, loses the file."""
    alone = f"from tests.support.processes import sandbox; sandbox.forbid({sandbox.CLOSE_RANGE})"
    result = python("-c", alone + CLOSES_EVERYTHING, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)})
    assert result.stderr == ""
    assert result.stdout.startswith("True False ")
    assert "closed the recorder's file" in result.stdout


def test_a_trace_has_no_descriptors_among_the_programs():
    def program_has() -> set[str]:
        return {os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1, 2)} | set(os.listdir("/proc/self/fd"))

    before = program_has()
    with gilscope.trace(None):
        assert program_has() == before


def test_a_pipe_that_the_program_closes_is_closed():
    """The recorder keeps no copy of descriptors that were open when the trace began."""
    reader, writer = os.pipe()
    with gilscope.trace(None), os.fdopen(reader, "rb") as end:
        os.close(writer)
        assert end.read() == b""


def test_a_folder_that_another_trace_took_is_not_mixed_with_it(tmp_path):
    path = tmp_path / "run.gilscope"
    with pytest.raises(errors.TraceWriteError, match="removed or replaced"), gilscope.trace(path):
        path.rename(tmp_path / "away")
        path.mkdir()
    assert list(path.iterdir()) == []


def test_ticks_go_on_while_a_c_call_keeps_the_gil():
    with gilscope.trace(None, period=0.01) as t:
        begin = time.monotonic_ns()
        HOLDING.usleep(300_000)
        end = time.monotonic_ns()
    start = t.metadata["start_monotonic_ns"]
    times = [start + x for x in t.samples["time_ns"].to_pylist()]
    late = max(t.samples["late_ns"].to_pylist())
    inside = [x for x in times if begin <= x <= end]
    # One tick a period, but for those the machine itself made late.
    assert len(inside) >= (300_000_000 - 2 * late) // 10_000_000 - 2


def test_slots_hold_what_they_held_after_many_starts_beside_a_busy_thread(tmp_path):
    script = """
import gilscope, sys, threading
from gilscope import _core
sys.setswitchinterval(0.0001)  # or each start and stop waits for the other thread again and again
before = _core.prove(exact=True)["slots"]
stop = threading.Event()
busy = threading.Thread(target=lambda: [None for _ in iter(stop.is_set, True)])
busy.start()
for _ in range(20):
    with gilscope.trace(None):
        pass
stop.set()
busy.join()
print(len(before) >= 4, _core.prove(exact=True)["slots"] == before)
"""
    # Bound at once, or the first call of each function would change its slot under the test.
    result = python("-c", script, cwd=tmp_path, env={"LD_BIND_NOW": "1"})
    assert (result.stdout, result.stderr) == ("True True\n", "")


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_the_program(tmp_path, sig):
    script = f"""
import gilscope, os, signal, threading
seen = []
signal.signal({int(sig)}, lambda *_: seen.append(threading.current_thread().name))
with gilscope.trace(None):
    for _ in range(100):
        os.kill(os.getpid(), {int(sig)})
print(len(seen), set(seen))
"""
    result = python("-c", script, cwd=tmp_path)
    assert result.stdout == "100 {'MainThread'}\n", result.stderr


def test_errno_is_kept(tmp_path):
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    with gilscope.trace(None):
        for _ in range(1000):
            ctypes.set_errno(0)
            assert libc.close(-1) == -1
            assert ctypes.get_errno() == 9


def test_the_one_line_is_for_terminals(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for quiet, tty, expected in ((False, True, True), (True, True, False), (False, False, False)):
        monkeypatch.setattr(sys.stderr, "isatty", lambda tty=tty: tty, raising=False)
        with gilscope.trace(quiet=quiet):
            pass
        line = capsys.readouterr().err
        assert ("gilscope report" in line) == expected
        assert line.count("\n") == expected


def test_proc_is_not_littered_with_descriptors():
    for edges in ("exact", "sampled"):
        before = len(os.listdir("/proc/self/fd"))
        with gilscope.trace(None, edges=edges):
            run_threads(lambda: spin(0.01), lambda: spin(0.01))
        assert len(os.listdir("/proc/self/fd")) == before


def test_an_interrupted_conversion_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / "run.gilscope"

    def interrupt(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("gilscope.convert.conversion.Conversion.run", interrupt)
        with pytest.raises(KeyboardInterrupt), gilscope.trace(path):
            run_threads(lambda: spin(0.01), names=("worker",))
    assert sorted(p.name for p in path.iterdir()) == ["metadata.json", "spool.bin"]
    t = gilscope.load(path)
    invariants.check(t)
    assert "worker" in t.threads["name"].to_pylist()


@pytest.fixture
def full_disk(tmp_path, monkeypatch):
    """A folder with room for spools, but not for tables."""
    from gilscope.convert import folder

    real, path = folder.describe_file, tmp_path / "full"
    path.mkdir()

    def full(file):
        if file.is_relative_to(path):
            raise OSError(28, "No space left on device")
        return real(file)

    monkeypatch.setattr(folder, "describe_file", full)
    return path


def test_no_room_for_the_tables_keeps_the_spool_and_the_trace(full_disk):
    path = full_disk / "run.gilscope"
    with pytest.warns(RuntimeWarning, match="kept there as a spool"), gilscope.trace(path) as t:
        run_threads(lambda: spin(0.01), names=("worker",))
    assert sorted(p.name for p in path.iterdir()) == ["metadata.json", "spool.bin"]
    for trace in (t, gilscope.load(path)):
        assert "worker" in trace.threads["name"].to_pylist()


@pytest.mark.parametrize("viztracer", [False, True], ids=["alone", "with VizTracer imported"])
@pytest.mark.parametrize("how", ["block", "function", "coroutine"])
def test_a_warning_names_the_users_line(full_disk, monkeypatch, how, viztracer):
    if viztracer:
        pytest.importorskip("viztracer")
    else:
        monkeypatch.delitem(sys.modules, "viztracer", raising=False)
    tracing = gilscope.trace(full_disk / "run.gilscope")
    function = tracing(lambda: None)

    @tracing
    async def coroutine():
        pass

    async def caller():
        await coroutine()  # line of coroutine

    def block():
        with tracing:  # line of block
            pass

    def call():
        function()  # line of function

    run = {"block": block, "function": call, "coroutine": lambda: asyncio.run(caller())}[how]
    with pytest.warns(RuntimeWarning, match="kept there as a spool") as seen:
        run()
    lines = Path(__file__).read_text().splitlines()
    assert [w.filename for w in seen] == [__file__]
    assert lines[seen[0].lineno - 1].endswith(f"# line of {how}")


def test_begun_in_one_thread_and_ended_in_another():
    tracing = gilscope.trace(None)
    seen = []
    run_threads(lambda: seen.append(tracing.__enter__()))
    run_threads(lambda: spin(0.01), names=("between",))
    run_threads(lambda: tracing.__exit__(None, None, None))
    invariants.check(seen[0])
    assert "between" in seen[0].threads["name"].to_pylist()
