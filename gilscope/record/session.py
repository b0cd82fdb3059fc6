"""One recording in this process: its end undoes the changes that its begin made."""

from __future__ import annotations

import os
import sys
from functools import partial

from gilscope.errors import (
    EdgesUnavailableError,
    TraceActiveError,
    TraceWriteError,
    UnsupportedInterpreterError,
    UnsupportedPlatformError,
)
from gilscope.record.destination import Destination
from gilscope.record.intervalcalls import IntervalCalls
from gilscope.record.options import Options
from gilscope.record.threadnames import ThreadNames
from gilscope.tables import notmeasured
from gilscope.tables.files import remove_folder, temporary_folder, write_error
from gilscope.tables.metadata import Metadata, gilscope_version, write_metadata
from gilscope.tables.stored import Tables

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from gilscope._core import Started, Stopped

_active: Session | None = None
_begun = 0  # traces of this process
_forgotten: Session | None = None  # the recording of the process that forked this one


def gil_is_on() -> bool:
    """Return whether this Python has a GIL now; a free-threaded one can turn it on, and off again."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def refuse_where_impossible() -> None:
    """Raise an error that explains why tracing is unavailable.

    Raises:
        UnsupportedPlatformError: if this is not Linux.
        UnsupportedInterpreterError: if this is not CPython, its GIL is off, this is not its main interpreter,
            or the core is missing.
    """
    if not sys.platform.startswith("linux"):
        raise UnsupportedPlatformError(
            f"gilscope traces on Linux only, this is {sys.platform!r}; loading and analysing traces that "
            "were recorded on Linux works here"
        )
    if sys.implementation.name != "cpython":
        raise UnsupportedInterpreterError(
            f"gilscope traces CPython 3.11 to 3.15, this is {sys.implementation.name}"
        )
    # Before the native core is loaded: importing an extension may turn a GIL on.
    if not gil_is_on():
        raise UnsupportedInterpreterError(
            "this free-threaded Python runs with the GIL off: there is no lock to trace, no thread waits "
            "for it. Run with PYTHON_GIL=1 (or -X gil=1) to see what the same program does under a GIL; "
            "if an import turns the GIL on, of which Python warns, begin the trace after it"
        )
    import gilscope.record.core  # noqa: F401


def _start_best(edges: str, start: Callable[[bool, str], Started]) -> Started:
    """Start recording, with exact edges unless sampled ones were asked for or are all there is.

    Args:
        edges: what was asked for.
        start: starts with exact edges or without; takes whether, and why.

    Raises:
        EdgesUnavailableError: if the edges asked for are not available.
        UnsupportedInterpreterError: if the interpreter's memory is not laid out as expected.
    """
    from gilscope.record.core import core

    try:
        if edges == "sampled":
            return start(False, "asked for")
        try:
            return start(True, "the hooks are installed and proven")
        except core.HooksError as error:
            if edges == "exact":
                raise EdgesUnavailableError(
                    f'edges="exact" is not available here: {error}; use edges="sampled"'
                ) from error
            return start(False, f"hooks cannot be installed: {error}")
    except core.LayoutError as error:
        raise UnsupportedInterpreterError(
            f"this interpreter ({sys.version.split()[0]}) is not laid out as expected, so nothing is "
            f"recorded: {error}. Please report it with the output of 'gilscope doctor'"
        ) from error
    except core.StatesError as error:
        raise EdgesUnavailableError(f"sampled edges are not available here: {error}") from error


def _initial_metadata(options: Options, exact: bool, reason: str, known: dict[str, Any]) -> Metadata:
    """Return the metadata of a trace that begins."""
    system = os.uname()
    facts = {
        "python_version": sys.version.split()[0],
        "python_build": sys.version,
        "gil_enabled": True,
        "platform": f"{system.sysname}-{system.release}-{system.machine}",
        "host": system.nodename,
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "trace_number": _begun,
        "edges": "exact" if exact else "sampled",
        "edges_reason": reason,
        "library_paths": _library_paths(),
        "interval_argument": options.switch_interval is not None,
        "complete": False,
        "not_measured": [],
        **known,
    }
    facts["gilscope_version"] = facts.get("gilscope_version") or gilscope_version()
    facts["argv"] = facts.get("argv") or list(sys.argv)
    return Metadata(**facts)


def _library_paths() -> list[str]:
    """Return folders whose code is not the program's own."""
    packages = [p for p in sys.path if os.path.basename(p) in ("site-packages", "dist-packages")]
    return [os.path.dirname(os.__file__), *packages, os.path.dirname(os.path.dirname(__file__))]


class Session:
    """A recording from start to stop.

    Args:
        options: of the trace.
        known: keys of `gilscope.tables.metadata.Metadata` that the caller knows better.
        give_way: ends this recording when another one is to begin; without it the other one is refused.
        wanted: an empty file; the recording ends soon after it is removed or has content. `stop` must still
            be called.

    Raises:
        TraceActiveError: if another one is active in this process.
        GilscopeError: if it cannot begin for another reason. Nothing is changed then.
    """

    def __init__(
        self,
        options: Options,
        known: dict[str, Any] | None = None,
        give_way: Callable[[], None] | None = None,
        wanted: Path | None = None,
    ) -> None:
        global _active, _begun
        if _active is not None and _active.give_way is not None:
            _active.give_way()
        if _active is not None:
            raise TraceActiveError(
                "a trace is active in this process already; end it first, there is one GIL to trace"
            )
        refuse_where_impossible()
        self.options = options
        self.pid = os.getpid()
        self.give_way: Callable[[], None] | None = give_way
        self.metadata: Metadata
        self.destination = Destination(options.path, overwrite=options.overwrite, children=options.children)
        self._interval_before: float | None = None
        self.interval_left = False  # the program has set one of its own
        _active = self
        try:
            self._begin(known or {}, wanted)
            _begun += 1
        except BaseException:
            _active = None
            self._put_back_interval()
            self.destination.undo()
            raise

    def _begin(self, known: dict[str, Any], wanted: Path | None) -> None:
        from gilscope.record.core import core

        self._names = ThreadNames(core.name_thread)
        self._interval_calls = IntervalCalls(core.note_interval)
        try:
            if self.options.switch_interval is not None:
                self._interval_before = sys.getswitchinterval()
                sys.setswitchinterval(self.options.switch_interval)
                self._interval_set = sys.getswitchinterval()
            started = _start_best(self.options.edges, partial(self._start, known, wanted))
        except OSError as error:
            raise write_error(self.destination.path, error) from error
        self.recording = started["recording"]
        if started["no_sites"]:
            self.metadata = self.metadata.lacking(notmeasured.without_sites(started["no_sites"]))
        self._interval_calls.install()
        self._names.install()
        self._names.record_living()

    def _start(self, known: dict[str, Any], wanted: Path | None, exact: bool, reason: str) -> Started:
        from gilscope.record.core import core

        self.metadata = _initial_metadata(self.options, exact, reason, known)
        write_metadata(self.destination.path, self.metadata.as_json())
        return core.start(
            self.destination.spool,
            exact=exact,
            period_ns=self.options.period_ns(exact=exact),
            whole_over_ns=round(self.options.stacks_over * 1e9) if self.options.sites else None,
            wanted=wanted,
        )

    def stop(self) -> Stopped:
        """End the recording, put back what was changed, and complete the metadata.

        Returns:
            What the core reports.
        """
        global _active
        from gilscope.record.core import core

        try:
            self._names.record_living()
        finally:
            self._names.remove()
            self._interval_calls.remove()
            result = core.stop()
            _active = None
            self._put_back_interval()
            self.destination.commit()
        self.metadata = self.metadata.ended(result, gil_on=gil_is_on())
        return result

    def is_on(self) -> bool:
        """Return whether this is the active recording of this process."""
        return _active is self

    def so_far(self) -> Tables:
        """Return what has been recorded up to now; the recording continues."""
        from gilscope.convert.folder import convert
        from gilscope.record.core import core

        self._names.record_living()
        core.flush()
        folder = temporary_folder()
        try:
            metadata = convert(self.destination.spool, folder, self.metadata.as_json(), quiet=True)
            tables = Tables(folder, metadata)
            tables.keep()
        finally:
            remove_folder(folder)
        return tables

    def _put_back_interval(self) -> None:
        """Restore the switch interval, unless the program has set another one meanwhile."""
        if self._interval_before is None:
            return
        if sys.getswitchinterval() == self._interval_set:
            sys.setswitchinterval(self._interval_before)
        else:
            self.interval_left = True
            self.metadata = self.metadata.lacking(notmeasured.INTERVAL_LEFT)
        self._interval_before = None

    def check_destination(self) -> None:
        """Check that the folder is still the one this recording writes to.

        Raises:
            TraceWriteError: if it was removed or replaced.
        """
        if not self.destination.still_ours():
            raise TraceWriteError(
                f"{self.destination.path}: the folder was removed or replaced during the recording, so "
                "the trace is lost; give each process a path of its own"
            )


def active() -> Session | None:
    """Return the active recording of this process, if any."""
    return _active


def interval_is_the_programs() -> bool:
    """Return, in a forked child, whether the program itself set its switch interval."""
    return _forgotten is not None and _forgotten.interval_left


def _forget_in_child() -> None:
    """Undo in a forked child what the parent's recording changed; the core has ended its part already."""
    global _active, _forgotten
    _forgotten, _active = _active, None
    if _forgotten is not None:
        _forgotten._names.remove()
        _forgotten._interval_calls.remove()
        _forgotten._put_back_interval()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
