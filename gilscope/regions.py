"""What the program names itself, while its trace is being recorded: instants, and regions."""

from __future__ import annotations

from sys import _getframe

from gilscope.errors import OptionError
from gilscope.session import active

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from types import TracebackType

    from gilscope.session import Session


def encoded(name: str) -> bytes:
    """Return the name of a mark or a region as the core takes it.

    Raises:
        OptionError: it is no string.
    """
    if not isinstance(name, str):
        raise OptionError(f"expected a string as the name of a mark or a region, got {name!r}")
    try:
        return name.encode()
    except UnicodeEncodeError:  # a surrogate without its other half
        return name.encode("utf-8", "backslashreplace")


class Marker:
    """What marks and regions of one recording are told to; of none, where there is no session.

    Whoever uses it asks first whether ``session`` is the one that is active.
    """

    __slots__ = ("begin", "end", "mark", "session")

    def __init__(self, session: Session | None = None) -> None:
        self.session: object = self
        if session is not None:
            from gilscope import _core

            self.session = session
            self.mark, self.begin, self.end = _core.mark, _core.region_begin, _core.region_end


class Region:
    """A name for what happens inside of ``with``; see `gilscope.Trace.region`.

    It can be entered again, also before it is left, in any thread or task: each ``with`` is one row.

    Args:
        marker: of the recording it belongs to.
        name: any string.

    Raises:
        OptionError: the name is no string.
    """

    __slots__ = ("_marker", "_name", "_others", "_sole")

    def __init__(self, marker: Marker, name: str) -> None:
        self._marker = marker
        self._name = encoded(name)
        # Mostly it is entered once. What is entered while it is open is told apart by the frame that holds
        # the `with`, and that may be left by another thread; inside of one, who came last leaves first. To
        # ask for frames each time would cost as much as all the rest.
        self._sole: int | None = None
        self._others: dict[int, list[int]] | None = None

    def __enter__(self) -> Region:
        marker = self._marker
        instance = marker.begin(self._name) if active() is marker.session else 0
        if self._sole is None and not self._others:
            self._sole = instance
        else:
            self._others = self._others or {}
            self._others.setdefault(id(_getframe(1)), []).append(instance)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._others:
            instance = self._leave(id(_getframe(1)), self._others)
        else:
            instance, self._sole = self._sole, None
        if instance:  # where its recording is over, nobody knows the number
            self._marker.end(instance)

    def _leave(self, frame: int, others: dict[int, list[int]]) -> int | None:
        if frame not in others and self._sole is not None:
            instance, self._sole = self._sole, None
            return instance
        # A `contextlib.ExitStack` enters and leaves in frames of its own.
        frame = frame if frame in others else [*others][-1]
        instance = others[frame].pop()
        if not others[frame]:
            del others[frame]
        return instance
