"""`watch`: a mode to leave on, which tells of holds of the GIL that last long while somebody waits."""

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
from gilscope.watching.longholds import Calls, LongHold, Messages, log, names_by_ident, told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

_LEAST_HOLD_S = 1e-3
_MOST_HOLD_S = 3600.0
_EXIT_S = 2.0  # for so long an exiting interpreter waits for a callback that is running


class Watch:
    """A watch that is on, until `stop` or the end of a ``with`` block; made by `watch`.

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
        self._tell: Messages | Calls
        if callback is None or isinstance(callback, str):
            self._tell = Messages(lambda: self.dropped, dump=callback == "dump")
        else:
            self._tell = Calls(callback)
        self._number = 0
        self._begun = threading.Event()
        # There before the watch begins, which would see it wait otherwise.
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
            log.info("a watch cannot tell lines of code: %s", nowhere)

    @property
    def seen(self) -> int:
        """How many long holds there were."""
        return self._counts()[0]

    @property
    def dropped(self) -> int:
        """For how many of them there was no room until they would have been told."""
        return self._counts()[1]

    @property
    def suppressed(self) -> int:
        """How many have no message of their own, since the last one was less than a second ago."""
        return self._tell.suppressed

    def _counts(self) -> tuple[int, int]:
        from gilscope.record.core import core

        return self._final or core.watch_counts(self._number) or (0, 0)

    def stop(self) -> None:
        """End the watch, when all that was seen has been told; without effect in a forked child, or twice."""
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
                not_before_ns = self._tell([told(one, names) for one in taken])
            except BaseException:  # a handler of the log, say
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
    except core.ProbeError as error:
        raise EdgesUnavailableError(
            f'a watch needs what edges="exact" needs, and that cannot be had here: {error}; '
            'gilscope.trace(edges="sampled") works without'
        ) from error
    except RuntimeError as error:
        raise TraceActiveError(
            "a watch is on in this process already; stop it first, there is one GIL to watch"
        ) from error


def watch(
    hold: float = 0.05, callback: Callable[[LongHold], object] | Literal["log", "dump"] | None = None
) -> Watch:
    """Tell whenever one thread holds the GIL for long while another waits for it; a mode to leave on.

    Nothing is recorded, and while nobody waits nothing is looked at, so it costs next to nothing. It begins
    with the call; end it with `Watch.stop`, a ``with`` block, or not at all. It may be on before, during and
    after a `trace`. One watch at a time can be on in a process. It sees the GIL of the main interpreter,
    where it is begun; a forked child is not watched.

    What is told is where the thread was when it let the GIL go, with its callers, and who waited. A thread of
    the watch's own tells it, after the hold has ended; its own holds and waits are left out.

    Args:
        hold: seconds from 0.001; longer holds are told of. They are counted from the first wait that is seen
            for them. A thread that was waiting already when the hold began is seen when it asks again, at
            most one switch interval later: let this be well above `sys.getswitchinterval`.
        callback: None or ``"log"`` writes a warning to the log ``gilscope.watch``, at most one a second and
            then of the longest, with the `LongHold` as ``long_hold`` of the log record; ``"dump"`` adds where
            all threads are when the message is written. A function is called with each `LongHold`, and may
            take its time: meanwhile 16 are kept. What it raises is logged.

    Returns:
        The watch that has begun.

    Raises:
        OptionError: an argument cannot be used.
        TraceActiveError: a watch is on.
        EdgesUnavailableError: hooks cannot be put in here.
        UnsupportedInterpreterError: this Python has no GIL, or one that gilscope does not know, or this is
            not its main interpreter.
        UnsupportedPlatformError: this is not Linux.

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
