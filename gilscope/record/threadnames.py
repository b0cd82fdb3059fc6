"""Tells the recorder the names that `threading` has for threads, also of those that end meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from typing import Any

Tell = Callable[[int, int, str], None]


class NameTeller:
    """Tells a thread's name when it ends, and the names of all living threads when asked.

    ``Thread._delete`` runs in each `threading` thread as it ends (3.11 to 3.15): the name
    is then the last one it had. Nothing is told of threads that `threading` does not know.

    Args:
        tell: called with native id, ident and name.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._original: Any = None
        self._wrapper: Any = None

    def install(self) -> None:
        """Listen to threads that end."""
        original = getattr(threading.Thread, "_delete", None)
        if original is None:
            return

        def _delete(thread: threading.Thread) -> None:
            self._tell_one(thread)
            original(thread)

        self._original, self._wrapper = original, _delete
        threading.Thread._delete = _delete  # type: ignore[attr-defined]

    def remove(self) -> None:
        """Stop listening; where someone else has replaced the method since, theirs stays."""
        if self._wrapper is not None and getattr(threading.Thread, "_delete", None) is self._wrapper:
            threading.Thread._delete = self._original  # type: ignore[attr-defined]
        self._tell = _to_nobody

    def tell_living(self) -> None:
        """Tell the names of all threads that live now, this one last."""
        me = threading.get_ident()
        for thread in sorted(threading.enumerate(), key=lambda t: t.ident == me):
            if not isinstance(thread, threading._DummyThread):
                self._tell_one(thread)

    def _tell_one(self, thread: threading.Thread) -> None:
        # A subclass may have a name that raises; a trace must not be the reason a thread fails.
        try:
            native_id, ident, name = thread.native_id, thread.ident, str(thread.name)
            if native_id is not None and ident is not None:
                self._tell(native_id, ident, name.encode("utf-8", "backslashreplace").decode())
        except Exception:
            return


def _to_nobody(_native_id: int, _ident: int, _name: str) -> None:
    """Stand in for the recorder once the trace is over."""
