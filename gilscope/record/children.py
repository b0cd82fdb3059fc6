"""Child processes: each records itself into a folder of its own, under the trace of the first of them.

A fork goes on recording in the child by a hook of `os`. A Python that starts anew is told by its environment:
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

from gilscope.convert.folder import convert
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
_LAST = -(1 << 30)  # of all that multiprocessing does at the end of a process

_plan: dict[str, Any] | None = None  # by which the children of this process record themselves
_own: Session | None = None  # the recording of this process, where it is such a child


# ---- in the process that is traced ----


class Following:
    """From now on each process that this one starts records itself, and so do theirs.

    Args:
        session: the recording that has begun here.
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

    def end(self) -> None:
        """Put back what was changed; what the program has set meanwhile stays, without our folder in it."""
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

    def tell_over(self) -> None:
        """Let children that live on know, wherever they are, that they are to record no more."""
        if _identity(self._root) != self._plan["identity"]:
            return
        # Some file systems only hide a file that others have open: those see that it is not empty.
        with suppress(OSError):
            os.truncate(self._root / WANTED_FILE, 1)
        with suppress(OSError):
            (self._root / WANTED_FILE).unlink()

    def convert(self) -> None:
        """Make tables of the spools of all children that have ended; those that live on keep theirs."""
        for folder in children_in(self._root):
            # One that is damaged, or finds no room, stays the spool that it is.
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
        return True  # said by `end`
    pid, _, number = folder.name.partition("-")
    # What has replaced its program by another (exec) keeps its pid.
    replaced = folder.with_name(f"{pid}-{int(number or 0) + 1}").exists()
    return replaced or _started(pid) != metadata.get("started")


def _started(pid: str) -> int | None:
    """Return when a process was started, in ticks since boot; None if it is over."""
    try:
        state, *rest = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(rest[18]) if state not in ("Z", "X") else None


# ---- in a child ----


def begin_at_startup() -> None:
    """Begin to record this Python, which has just been started, if its environment says so.

    Called before anything of the program runs. Where it cannot be recorded it raises nothing and is not.
    """
    global _plan
    import json

    plan = json.loads(os.environ[VARIABLE])
    # It serves others, does no work, and ends after everybody else.
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
    """Record this process, a child, by the plan; where that cannot be, it goes on as it is."""
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
    # When the trace is over, the next one may have taken its path.
    if _identity(root) != plan["identity"] or not wanted.exists():
        return None
    for number in count():
        path = root / (f"{os.getpid()}-{number}" if number else str(os.getpid()))
        known = {
            "gilscope_version": plan["version"],
            "argv": _argv(),
            "started": _started("self"),
            "trace_number": number,  # tells apart the lanes of several traces of one pid
            "complete": True,  # if its spool is: it may end with the trace, while the process goes on
        }
        try:
            return Session(Options(path=path, quiet=True, **plan["options"]), known, end, wanted)
        except TraceExistsError:
            continue  # a pid comes again, also when a program is replaced by another
    return None


def _identity(root: Path) -> list[int] | None:
    try:
        status = root.stat()
    except OSError:
        return None
    return [status.st_dev, status.st_ino]


def _argv() -> list[str]:
    """Return what `sys.argv` is, or while Python still starts, what it is going to be like."""
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
    """In a child of multiprocessing, which leaves without what `atexit` was told before it began."""
    from multiprocessing.util import Finalize

    Finalize(None, end, exitpriority=_LAST)


def _go_on_in_child() -> None:
    """After fork, when the session of the parent is forgotten: the child has one of its own."""
    global _own
    _own = None
    if _plan is None or _is_about_to_exec(sys._getframe().f_back):
        return
    if interval_is_the_programs():
        _plan["options"]["switch_interval"] = None
    _begin()


def _is_about_to_exec(caller: FrameType | None) -> bool:
    """Tell whether it is `subprocess` that has forked, for ``preexec_fn``: the child is no program yet."""
    return (
        caller is not None
        and caller.f_code.co_name == "_execute_child"
        and caller.f_globals.get("__name__") == "subprocess"
    )


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_go_on_in_child)
