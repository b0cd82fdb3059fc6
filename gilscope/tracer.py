"""`trace` and `load`: the functions that users call first."""

from __future__ import annotations

import atexit
import errno
import functools
import os
import sys
from pathlib import Path

from gilscope.errors import GilscopeError, OptionError, warn_user
from gilscope.record.options import DEFAULT_PATH, WHOLE_STACKS_OVER_S, Options
from gilscope.traces import Trace

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, ParamSpec, TypeVar

    from gilscope.record.children import ChildProcesses
    from gilscope.record.options import Edges
    from gilscope.record.session import Session

    P = ParamSpec("P")
    R = TypeVar("R")


class _Tracing:
    """What `trace` returns: a context manager, and a decorator."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._session: Session | None = None
        self._trace: Trace | None = None
        self._children: ChildProcesses | None = None

    def __enter__(self) -> Trace:
        _unseen(self._begin)
        assert self._trace is not None
        return self._trace

    def _begin(self) -> None:
        # All imports come before the recording, which would record them.
        import gilscope.record.marking  # noqa: F401
        from gilscope.record.session import Session

        if self._options.children:
            from gilscope.record.children import ChildProcesses

        self._session = Session(self._options)
        self._trace = Trace()
        self._trace._record(self._session)
        if self._options.children:
            self._children = ChildProcesses(self._session)
        atexit.register(self._finish_at_exit)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._finish()

    def _finish(self) -> None:
        session, trace = self._session, self._trace
        self._session = None
        atexit.unregister(self._finish_at_exit)
        if session is None or trace is None or session.pid != os.getpid():
            return  # ended already, or in a forked child
        children, self._children = self._children, None
        if children is not None:
            children.restore_environment()
        _unseen(lambda: _fill(trace, session, children))
        if children is not None:
            _unseen(children.convert)
        if session.options.path is not None and not session.options.quiet and sys.stderr.isatty():
            print(_one_line(trace, session.options.path), file=sys.stderr)

    def _finish_at_exit(self) -> None:
        """Finish a trace that is still on at exit, where no caller could catch an error."""
        try:
            self._finish()
        except GilscopeError as error:
            print(f"gilscope: {error}", file=sys.stderr)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        import inspect

        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise OptionError(
                f"{function.__qualname__} is a generator: decorate the function that iterates over it, or "
                "use 'with gilscope.trace()' inside"
            )
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def traced_coroutine(*args: P.args, **kwargs: P.kwargs) -> Any:
                with _Tracing(self._options):
                    return await function(*args, **kwargs)

            return traced_coroutine  # type: ignore[return-value]

        @functools.wraps(function)
        def traced(*args: P.args, **kwargs: P.kwargs) -> R:
            with _Tracing(self._options):
                return function(*args, **kwargs)

        return traced


def _unseen(call: Callable[[], None]) -> None:
    """Call a function of ours that a VizTracer that is tracing does not record."""
    if "viztracer" not in sys.modules:
        call()
        return
    from gilscope.viztracer.plugin import unseen

    unseen(call)


def _fill(trace: Trace, session: Session, children: ChildProcesses | None) -> None:
    """End the recording, convert it and give it to the trace; then remove the spool."""
    stopped = session.stop()
    # After the recording, which would record these imports.
    from gilscope.convert.folder import convert, stored
    from gilscope.tables.files import temporary_folder
    from gilscope.tables.notmeasured import cut_short

    if children is not None:
        children.end_recordings()
    session.check_destination()
    folder, spool = session.destination.path, session.destination.spool
    facts = session.metadata.as_json()
    if stopped["error"]:
        warn_user(f"{folder}: {cut_short(stopped['error'])}")
    quiet = session.options.quiet
    try:
        metadata = convert(spool, folder, facts, quiet=quiet)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        elsewhere = temporary_folder()
        metadata = convert(spool, elsewhere, facts, quiet=quiet)
        warn_user(
            f"{folder}: no room for the tables ({error.strerror}); what was recorded is kept there as a "
            "spool, gilscope.load() reads it"
        )
        trace._finish(stored(elsewhere, metadata, home=folder, temporary=True))
    else:
        spool.unlink(missing_ok=True)
        trace._finish(stored(folder, metadata, temporary=session.options.path is None))


def _one_line(trace: Trace, path: Path) -> str:
    m = trace.metadata
    ran = sum(trace.threads["run_ns"].to_pylist())
    waited = sum(trace.threads["wait_ns"].to_pylist())
    name = "" if path == Path(DEFAULT_PATH) else f" {path}"
    n = len(trace.children)
    processes = f", {n} child process{'es' if n > 1 else ''}" if n else ""
    return (
        f"gilscope: {m['duration_ns'] / 1e9:.2f} s, {trace.threads.num_rows} threads held the GIL for "
        f"{ran / 1e9:.2f} s and waited {waited / 1e9:.2f} s for it, {m['switches']} switches{processes} "
        f"-> {path} (gilscope report{name}; gilscope view{name})"
    )


def trace(
    path: str | os.PathLike[str] | None = DEFAULT_PATH,
    *,
    edges: Edges = "auto",
    period: float | None = None,
    switch_interval: float | None = None,
    overwrite: bool = False,
    children: bool = False,
    quiet: bool = False,
    sites: bool = True,
    stacks_over: float = WHOLE_STACKS_OVER_S,
) -> _Tracing:
    """Record which threads hold the GIL and wait for it, while a block or a function runs.

    Use it as a context manager, which gives the `Trace`, or as a decorator. One trace at a time can be
    active in a process, and the main interpreter begins it. It records all threads, and with exact edges the
    GILs of all interpreters (3.12 on: column ``interpreter``, 0 is the main one).

    Args:
        path: folder to write. If not given, ``trace.gilscope`` in the working directory is written, and
            replaces a trace there; one that you give is replaced only with ``overwrite``. None keeps nothing
            beyond the life of the trace.
        edges: ``"exact"`` stamps each transition where it happens, ``"sampled"`` changes nothing in the
            process and looks once per period, ``"auto"`` uses exact edges where they are available.
        period: seconds between two ticks of the sampler; None is 10 ms with exact edges, where
            the tick only collects, and 1 ms with sampled ones.
        switch_interval: seconds, set for the block as by `sys.setswitchinterval`, and in ``children``; None
            does not change it.
        overwrite: replace a trace that is at ``path``.
        children: also record the Python processes that begin meanwhile, and their children: see
            `Trace.children`. Those started with ``-I``, ``-E`` or ``-S``, or with an environment that lacks
            our variables, are not recorded.
        quiet: print nothing, not even on a terminal.
        sites: with exact edges, record the line of code of each hold of the GIL, and its callers (tables
            ``intervals`` and ``sites``): the line at which it ended or, if the thread received a drop request
            and did not release at once, the line at which it received it. Code objects of these lines are
            kept alive until the trace ends.
        stacks_over: seconds; all callers are kept of longer holds, the innermost four of shorter ones.

    Raises:
        OptionError: if an argument cannot be used.
        TraceExistsError: if there is something at ``path`` already.
        TraceWriteError: if ``path`` cannot be written.
        TraceActiveError: if a trace is active.
        EdgesUnavailableError: if the edges asked for are not available here.
        UnsupportedInterpreterError: if this Python has no GIL or an unknown one, this is not its main
            interpreter, or gilscope's core is not built for it.
        UnsupportedPlatformError: if this is not Linux.

    Example:
        >>> import gilscope
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> t.metadata["edges"] in ("exact", "sampled")
        True
    """
    return _Tracing(Options(**locals()))  # every parameter is an option of the same name


def load(path: str | os.PathLike[str] = DEFAULT_PATH) -> Trace:
    """Read a trace from disk.

    Works on every operating system. The trace of a killed process is read up to its last whole batch.

    Args:
        path: a folder written by `gilscope.trace`.

    Returns:
        The trace; its tables are memory-mapped when first asked for.

    Raises:
        TraceFormatError: if the path holds no trace, or a damaged one.

    Example:
        >>> import gilscope, tempfile, os
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with gilscope.trace(os.path.join(folder, "run.gilscope")):
        ...         total = sum(range(1000))
        ...     gilscope.load(os.path.join(folder, "run.gilscope")).metadata["complete"]
        True
    """
    from gilscope.convert.folder import open_tables

    return Trace(open_tables(Path(path).absolute()))
