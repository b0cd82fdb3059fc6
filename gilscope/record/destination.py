"""The folder that a recording writes to: made, put in the place of another, put back."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from gilscope.errors import TraceExistsError
from gilscope.tables.files import remove_folder, temporary_folder, write_error
from gilscope.tables.folder import CHILDREN_FOLDER, SPOOL_FILE, WANTED_FILE, is_trace


class Destination:
    """The folder a trace is written to; what it replaces is kept until the trace is over.

    Args:
        path: the folder, or None for one that lives no longer than its user.
        overwrite: whether a trace that is there already may be replaced.
        children: make a folder in it for those of child processes.

    Raises:
        TraceExistsError: something is there that may not be replaced.
        TraceWriteError: the folder cannot be made.
    """

    def __init__(self, path: Path | None, *, overwrite: bool, children: bool = False) -> None:
        self._replaced: Path | None = None
        try:
            if path is None:
                self.path = temporary_folder()
            else:
                self.path = path.absolute()
                self._make_room(overwrite)
                self.path.mkdir()
        except OSError as error:
            self.undo()
            if isinstance(error, TraceExistsError):
                raise
            raise write_error(path or "the folder for temporary files", error) from error
        self._identity = self._now()
        if children:
            self._make_children()

    def _make_children(self) -> None:
        try:
            (self.path / CHILDREN_FOLDER).mkdir()
            (self.path / CHILDREN_FOLDER / WANTED_FILE).touch()
        except OSError as error:
            self.undo()
            raise write_error(self.path, error) from error

    def _make_room(self, overwrite: bool) -> None:
        if not os.path.lexists(self.path):
            return
        if not overwrite:
            raise TraceExistsError(
                errno.EEXIST,
                "exists already; say overwrite=True to replace it, or give another path",
                str(self.path),
            )
        if not is_trace(self.path):
            raise TraceExistsError(
                errno.EEXIST,
                "exists and is not a trace, so it is not replaced; give another path or remove it",
                str(self.path),
            )
        aside = self.path.with_name(f".{self.path.name}.old")
        if aside.exists():
            remove_folder(aside)  # left by a process that was killed
        os.rename(self.path, aside)
        self._replaced = aside

    def _now(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    @property
    def spool(self) -> Path:
        """Where the core writes."""
        return self.path / SPOOL_FILE

    def still_ours(self) -> bool:
        """Tell whether the folder is the one that was made, not another that took its place."""
        return self._now() == self._identity

    def commit(self) -> None:
        """The trace is on disk: what it replaced goes."""
        if self._replaced is not None:
            remove_folder(self._replaced)
            self._replaced = None

    def undo(self) -> None:
        """The trace could not begin: put everything back as it was."""
        if getattr(self, "_identity", None) is not None:
            remove_folder(self.path)
        if self._replaced is not None:
            os.rename(self._replaced, self.path)
            self._replaced = None
