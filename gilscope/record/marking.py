"""Marks and regions: instants and stretches of time that the program names during its trace."""

from __future__ import annotations

from gilscope.errors import OptionError

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from types import TracebackType


def encoded(name: str) -> bytes:
    """Return the name of a mark or a region as the core takes it.

    Raises:
        OptionError: if the name is not a string.
    """
    if not isinstance(name, str):
        raise OptionError(f"expected a string as the name of a mark or a region, got {name!r}")
    try:
        return name.encode()
    except UnicodeEncodeError:  # a surrogate without its other half
        return name.encode("utf-8", "backslashreplace")


class Marker:
    """Records marks and regions of one recording.

    Args:
        recording: its number, from the core. The core checks with each record that this recording is active,
            since another thread may end it and begin the next one.
    """

    __slots__ = ("begin", "end", "mark", "recording")

    def __init__(self, recording: int) -> None:
        from gilscope.record.core import core

        self.recording = recording
        self.mark, self.begin, self.end = core.mark, core.region_begin, core.region_end


def mark(marker: Marker | None, name: str) -> None:
    """Mark this instant; see `gilscope.Trace.mark`.

    Args:
        marker: of the recording; None outside of a recording.
        name: any string.

    Raises:
        OptionError: if the name is not a string.
    """
    text = encoded(name)
    if marker is not None:
        marker.mark(marker.recording, text)


class Region:
    """A name for what happens inside a ``with`` block; see `gilscope.Trace.region`.

    Args:
        marker: of the recording it belongs to; None outside of a recording.
        name: any string.

    Raises:
        OptionError: if the name is not a string.
    """

    __slots__ = ("_instances", "_marker", "_name")

    def __init__(self, marker: Marker | None, name: str) -> None:
        self._marker = marker
        self._name = encoded(name)
        self._instances: list[int] = []  # a region entered within itself is left innermost first

    def __enter__(self) -> Region:
        marker = self._marker
        self._instances.append(0 if marker is None else marker.begin(marker.recording, self._name))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The core ignores the number if the recording is over.
        instance = self._instances.pop()
        if self._marker is not None and instance:
            self._marker.end(instance)
