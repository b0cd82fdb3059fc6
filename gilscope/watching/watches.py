"""`watch`: a mode to leave on that reports long holds of the GIL while a thread waits."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable
from typing import Literal

from gilscope.errors import (
    EdgesUnavailableError,
    OptionError,
    TraceActiveError,
    UnsupportedInterpreterError,
)
from gilscope.record.options import seconds_between
from gilscope.record.session import refuse_where_impossible
from gilscope.watching.longholds import Calls, LongHold, Messages, describe, log, names_by_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

_LEAST_HOLD_S = 1e-3
_MOST_HOLD_S = 3600.0
_EXIT_S = 2.0  # how long an exiting interpreter waits for a callback that is running


class Watch:
    """An active watch, until `stop` or the end of a ``with`` block; made by `watch`.

    Example:
        >>> import gilscope
        >>> with gilscope.watch() as w:
        ...     total = sum(range(1000))
        >>> w.seen, w.suppressed, w.dropped
        (0, 0, 0)
    """

    def __init__(self, hold_s: float, callback: Callable[[LongHold], object] | str | None) -> None:
        self._pid = os.getpid()
        self._final: tuple[int, int] | None = None
        self._report: Messages | Calls
        if callback is None or isinstance(callback, str):
            self._report = Messages(lambda: self.dropped, dump=callback == "dump")
        else:
            self._report = Calls(callback)
        self._number = 0
        self._begun = threading.Event()
        # Started before the watch begins, which would otherwise see it wait.
        self._thread = threading.Thread(target=self._work, name="gilscope.watch", daemon=True)
        self._thread.start()
        assert self._thread.ident is not None
        try:
            self._number, nowhere = _begin(hold_s, self._thread.ident)
        except BaseException:
            self._begun.set()
            self._thread.join()
            raise
        self._begun.set()
        atexit.register(self._stop_at_exit)
        if nowhere:
            log.info("a watch cannot read lines of code here: %s", nowhere)

    @property
    def seen(self) -> int:
        """Number of long holds."""
        return self._counts()[0]

    @property
    def dropped(self) -> int:
        """Number of long holds that were lost because too many of them waited to be reported."""
        return self._counts()[1]

    @property
    def suppressed(self) -> int:
        """Number of long holds without a message of their own, less than a second after another one."""
        return self._report.suppressed

    def _counts(self) -> tuple[int, int]:
        from gilscope.record.core import core

        return self._final or core.watch_counts(self._number) or (0, 0)

    def stop(self) -> None:
        """End the watch after reporting all holds that it saw; without effect in a forked child, or twice."""
        self._stop(None)

    def _stop_at_exit(self) -> None:
        self._stop(_EXIT_S)

    def _stop(self, patience_s: float | None) -> None:
        from gilscope.record.core import core

        if self._pid != os.getpid():
            return
        atexit.unregister(self._stop_at_exit)
        core.watch_end(self._number)
        self._final = self._counts()
        if threading.current_thread() is not self._thread:
            self._thread.join(patience_s)

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _work(self) -> None:
        from gilscope.record.core import core

        self._begun.wait()
        not_before_ns = 0
        while self._number and (taken := core.watch_take(self._number, not_before_ns)):
            try:
                names = names_by_ident()
                not_before_ns = self._report([describe(one, names) for one in taken])
            except BaseException:  # of a log handler, for example
                threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), self._thread)))


def _begin(hold_s: float, watcher: int) -> tuple[int, str]:
    from gilscope.record.core import core

    try:
        return core.watch_begin(round(hold_s * 1e9), watcher)
    except core.LayoutError as error:
        raise UnsupportedInterpreterError(
            f"this interpreter ({sys.version.split()[0]}) is not laid out as expected, so nothing is "
            f"watched: {error}. Please report it with the output of 'gilscope doctor'"
        ) from error
    except core.HooksError as error:
        raise EdgesUnavailableError(
            f'a watch needs what edges="exact" needs, which is not available here: {error}; '
            'gilscope.trace(edges="sampled") works without it'
        ) from error
    except RuntimeError as error:
        raise TraceActiveError(
            "a watch is on in this process already; stop it first, there is one GIL to watch"
        ) from error


def watch(
    hold: float = 0.05, callback: Callable[[LongHold], object] | Literal["log", "dump"] | None = None
) -> Watch:
    """Report each time that one thread holds the GIL for long while another waits for it; a mode to leave on.

    Nothing is recorded, and nothing is measured while no thread waits, so it costs almost nothing. It begins
    with the call; end it with `Watch.stop`, a ``with`` block, or not at all. It may be on before, during and
    after a `trace`. One watch at a time can be on in a process. It watches the GIL of the main interpreter,
    which must begin it; a forked child is not watched.

    A report names the line at which the thread released the GIL, its callers, and the threads that waited. A
    thread of the watch reports after the hold has ended; its own holds and waits are left out.

    Args:
        hold: seconds from 0.001; longer holds are reported. Their length counts from the first wait seen for
            them. A thread that waited already when the hold began is seen at its next drop request, at most
            one switch interval later: use a value well above `sys.getswitchinterval`.
        callback: None or ``"log"`` writes a warning to the log ``gilscope.watch``, at most one per second, of
            the longest hold, with the `LongHold` as ``long_hold`` of the log record; ``"dump"`` adds the
            stacks of all threads when the message is written. A function is called with each `LongHold`; up
            to 16 holds are kept while it runs. Its exceptions are logged.

    Returns:
        The active watch.

    Raises:
        OptionError: if an argument cannot be used.
        TraceActiveError: if a watch is on.
        EdgesUnavailableError: if hooks cannot be installed here.
        UnsupportedInterpreterError: if this Python has no GIL or an unknown one, this is not its main
            interpreter, or gilscope's core is not built for it.
        UnsupportedPlatformError: if this is not Linux.

    Example:
        >>> import gilscope
        >>> holds = []
        >>> with gilscope.watch(hold=0.05, callback=holds.append):
        ...     total = sum(range(1000))
        >>> holds
        []
    """
    hold_s = seconds_between("hold", hold, _LEAST_HOLD_S, _MOST_HOLD_S)
    if not (callback is None or callable(callback) or callback in ("log", "dump")):
        raise OptionError(f"callback must be 'log', 'dump', a function or None, not {callback!r}")
    refuse_where_impossible()
    return Watch(hold_s, callback)
