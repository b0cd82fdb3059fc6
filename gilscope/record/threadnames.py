"""Records the names that `threading` has for threads, including those that end during the recording."""

from __future__ import annotations

import threading
from collections.abc import Callable

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from typing import Any

RecordName = Callable[[int, int, str], None]


class ThreadNames:
    """Records the name of each thread that ends, and of all living threads on request.

    ``Thread._delete`` runs in each `threading` thread as it ends (since 3.11): the name is then its last
    one. Threads that `threading` does not know are not recorded.

    Args:
        record: called with native id, ident and name.
    """

    def __init__(self, record: RecordName) -> None:
        self._record = record
        self._original: Any = None
        self._wrapper: Any = None

    def install(self) -> None:
        """Record the names of threads that end from now on."""
        original = getattr(threading.Thread, "_delete", None)
        if original is None:
            return

        def _delete(thread: threading.Thread) -> None:
            self._record_one(thread)
            original(thread)

        self._original, self._wrapper = original, _delete
        threading.Thread._delete = _delete  # type: ignore[attr-defined]

    def remove(self) -> None:
        """Record no more names. If another tool has replaced the method since, its replacement stays."""
        if self._wrapper is not None and getattr(threading.Thread, "_delete", None) is self._wrapper:
            threading.Thread._delete = self._original  # type: ignore[attr-defined]
        self._record = _ignore

    def record_living(self) -> None:
        """Record the names of all threads that live now, the calling one last."""
        me = threading.get_ident()
        for thread in sorted(threading.enumerate(), key=lambda t: t.ident == me):
            if not isinstance(thread, threading._DummyThread):
                self._record_one(thread)

    def _record_one(self, thread: threading.Thread) -> None:
        # The name of a subclass may raise; a trace must not make a thread fail.
        try:
            native_id, ident, name = thread.native_id, thread.ident, str(thread.name)
            if native_id is not None and ident is not None:
                self._record(native_id, ident, name.encode("utf-8", "backslashreplace").decode())
        except Exception:
            return


def _ignore(_native_id: int, _ident: int, _name: str) -> None:
    """Replaces the recorder's function after the trace, for wrappers that other tools still call."""
