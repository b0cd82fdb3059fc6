"""Child processes: each records itself into a folder of its own, under the trace of the first of them.

A forked child begins its recording in a hook of `os`. A new Python process finds the plan in its environment:
`PYTHONPATH` leads it to the `sitecustomize` in ``gilscope/record/startup``, which calls `begin_at_startup`.
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

from gilscope.errors import GilscopeError, TraceExistsError
from gilscope.record.options import Options
from gilscope.record.session import Session, interval_is_the_programs
from gilscope.tables.folder import CHILDREN_FOLDER, SPOOL_FILE, WANTED_FILE, children_in
from gilscope.tables.metadata import gilscope_version, read_metadata, write_metadata

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

VARIABLE = "GILSCOPE_CHILDREN"
_PATH = "PYTHONPATH"
_ROOM = os.path.dirname(os.path.abspath(__file__))
_PACKAGE = os.path.dirname(_ROOM)
_STARTUP = os.path.join(_ROOM, "startup")
_LAST = -(1 << 30)  # priority of what multiprocessing runs last in a process

_plan: dict[str, Any] | None = None  # how children of this process record themselves
_own: Session | None = None  # the recording of this process, if it is such a child


# ---- in the process that is traced ----


class ChildProcesses:
    """Makes each process that this one starts record itself, and their children too.

    Args:
        session: the recording that has begun in this process.
    """

    def __init__(self, session: Session) -> None:
        global _plan
        self._root = session.destination.path / CHILDREN_FOLDER
        self._plan_before = _plan
        _plan = self._plan = {
            "root": str(self._root),
            "identity": _identity(self._root),
            "options": session.options.of_children(),
            "package": _PACKAGE,
            "version": session.metadata.gilscope_version,
            "free_threaded": _is_free_threaded(),
        }
        self._before = {name: os.environ.get(name) for name in (VARIABLE, _PATH)}
        self._set = _environment(self._plan, self._before[_PATH])
        os.environ.update(self._set)

    def restore_environment(self) -> None:
        """Put back what was changed; variables that the program set meanwhile stay, without our folder."""
        global _plan
        _plan = self._plan_before
        for name, ours in self._set.items():
            before, found = self._before[name], os.environ.get(name)
            if found == ours and before is not None:
                os.environ[name] = before
            elif found == ours:
                del os.environ[name]
            elif name == _PATH and found is not None:
                os.environ[name] = os.pathsep.join(p for p in found.split(os.pathsep) if p != _STARTUP)

    def end_recordings(self) -> None:
        """Make children that outlive the trace end their recordings."""
        if _identity(self._root) != self._plan["identity"]:
            return
        # Some file systems only hide a file that another process has open, which then sees its content.
        with suppress(OSError):
            os.truncate(self._root / WANTED_FILE, 1)
        with suppress(OSError):
            (self._root / WANTED_FILE).unlink()

    def convert(self) -> None:
        """Convert the spools of all children that have ended; those that live on keep theirs."""
        from gilscope.convert.folder import convert

        for folder in children_in(self._root):
            # A spool that is damaged, or whose tables find no room, stays.
            with suppress(OSError, GilscopeError):
                metadata = read_metadata(folder)
                if _has_ended(folder, metadata):
                    convert(folder / SPOOL_FILE, folder, metadata, quiet=True)
                    (folder / SPOOL_FILE).unlink()


def _environment(plan: dict[str, Any], path: str | None) -> dict[str, str]:
    import json

    # An empty part would be the working directory.
    return {VARIABLE: json.dumps(plan), _PATH: f"{_STARTUP}{os.pathsep}{path}" if path else _STARTUP}


def _has_ended(folder: Path, metadata: dict[str, Any]) -> bool:
    if "spool_bytes" in metadata:
        return True  # written by `end`
    pid, _, number = folder.name.partition("-")
    # A process that called exec keeps its pid.
    replaced = folder.with_name(f"{pid}-{int(number or 0) + 1}").exists()
    return replaced or _started(pid) != metadata.get("started")


def _started(pid: str) -> int | None:
    """Return when a process was started, in ticks since boot; None if it has ended."""
    try:
        state, *rest = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(rest[18]) if state not in ("Z", "X") else None


# ---- in a child ----


def begin_at_startup() -> None:
    """Begin to record this Python, which has just been started, if its environment has a plan.

    Called before any code of the program runs. A process that cannot be recorded runs without a recording.
    """
    global _plan
    import json

    plan = json.loads(os.environ[VARIABLE])
    # It only serves other processes, and ends last.
    if any("multiprocessing.resource_tracker import main" in word for word in sys.orig_argv):
        return
    if plan["package"] == _PACKAGE:
        # A free-threaded Python crashes on a core that was built for one with a GIL.
        if plan["free_threaded"] != _is_free_threaded():
            return
    elif plan["version"] != gilscope_version():
        return
    _plan = plan
    _begin()


def _is_free_threaded() -> bool:
    return "t" in sys.abiflags


def _begin() -> None:
    """Record this process, a child, as planned; if that fails, it runs without a recording."""
    global _own
    assert _plan is not None
    with suppress(Exception):
        _own = _session(_plan)
        atexit.unregister(end)
        atexit.register(end)
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            util.register_after_fork(_own, _end_with_multiprocessing)


def _session(plan: dict[str, Any]) -> Session | None:
    root = Path(plan["root"])
    wanted = root / WANTED_FILE
    # After the trace, another one may have its path.
    if _identity(root) != plan["identity"] or not wanted.exists():
        return None
    for number in count():
        path = root / (f"{os.getpid()}-{number}" if number else str(os.getpid()))
        known = {
            "gilscope_version": plan["version"],
            "argv": _argv(),
            "started": _started("self"),
            "trace_number": number,  # distinguishes the lanes of several traces of one pid
            "complete": True,  # if its spool is: the recording may end before the process
        }
        try:
            return Session(Options(path=path, quiet=True, **plan["options"]), known, end, wanted)
        except TraceExistsError:
            continue  # a pid is used again, also by exec
    return None


def _identity(root: Path) -> list[int] | None:
    try:
        status = root.stat()
    except OSError:
        return None
    return [status.st_dev, status.st_ino]


def _argv() -> list[str]:
    """Return `sys.argv` or, before it is set at startup, what it will be."""
    if hasattr(sys, "argv"):
        return list(sys.argv)
    words = sys.orig_argv[1:]
    while words and words[0].startswith("-") and words[0][:2] not in ("-c", "-m"):
        del words[: 2 if words[0] in ("-W", "-X") else 1]
    return words or [""]


def end() -> None:
    """End the recording of this process, if it is a child with one; its spool stays for its parent."""
    global _own
    session, _own = _own, None
    if session is None or session.pid != os.getpid():
        return
    with suppress(Exception):
        session.stop()
        write_metadata(session.destination.path, replace(session.metadata, argv=_argv()).as_json())


def _end_with_multiprocessing(_session: Session) -> None:
    """End in a child of multiprocessing, which exits without the functions that `atexit` has from before."""
    from multiprocessing.util import Finalize

    Finalize(None, end, exitpriority=_LAST)


def _begin_in_fork() -> None:
    """Begin a recording in a forked child, after the one of the parent was dropped."""
    global _own
    _own = None
    if _plan is None or _is_about_to_exec(sys._getframe().f_back):
        return
    if interval_is_the_programs():
        _plan["options"]["switch_interval"] = None
    _begin()


def _is_about_to_exec(caller: FrameType | None) -> bool:
    """Return whether `subprocess` has forked, for ``preexec_fn``: the child does not run a program yet."""
    return (
        caller is not None
        and caller.f_code.co_name == "_execute_child"
        and caller.f_globals.get("__name__") == "subprocess"
    )


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_fork)
