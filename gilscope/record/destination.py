"""The folder that a trace is written to: it is made, takes the place of another, is removed on failure."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from gilscope.errors import TraceExistsError
from gilscope.tables.files import remove_folder, temporary_folder, write_error
from gilscope.tables.folder import CHILDREN_FOLDER, SPOOL_FILE, WANTED_FILE, is_trace

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from gilscope.tables.stored import Tables


class Destination:
    """The folder a trace is written to; a trace that it replaces is kept until this one is over.

    Args:
        path: the folder, or None for a temporary one.
        overwrite: whether a trace that is there already may be replaced.
        children: make a folder in it for the traces of child processes.

    Raises:
        TraceExistsError: if something is there that may not be replaced.
        TraceWriteError: if the folder cannot be made.
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
                "exists already; use overwrite=True to replace it, or give another path",
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
        """The file that the core writes."""
        return self.path / SPOOL_FILE

    def still_ours(self) -> bool:
        """Return whether the folder is the one that was made, and not a replacement."""
        return self._now() == self._identity

    def commit(self) -> None:
        """Remove the trace that was replaced: the new one is on disk."""
        if self._replaced is not None:
            remove_folder(self._replaced)
            self._replaced = None

    def undo(self) -> None:
        """Remove the folder and put back the trace that was replaced: the new one could not begin."""
        if getattr(self, "_identity", None) is not None:
            remove_folder(self.path)
        if self._replaced is not None:
            os.rename(self._replaced, self.path)
            self._replaced = None


def save(tables: Tables, path: Path, *, overwrite: bool) -> Path:
    """Copy a trace, with the traces of its child processes; see `gilscope.Trace.save`."""
    import shutil

    destination = Destination(path, overwrite=overwrite)
    try:
        _copy(tables, destination.path)
    except (OSError, shutil.Error) as error:
        destination.undo()
        cause = error if not isinstance(error, shutil.Error) else OSError(errno.EIO, str(error))
        raise write_error(destination.path, cause) from error
    destination.commit()
    return destination.path


def _copy(tables: Tables, target: Path) -> None:
    import shutil

    assert tables.folder is not None
    inside = shutil.ignore_patterns(SPOOL_FILE, CHILDREN_FOLDER)
    shutil.copytree(tables.folder, target, dirs_exist_ok=True, ignore=inside)
    if tables.home is not None and (tables.home / CHILDREN_FOLDER).is_dir():
        # As they are: some children may have a spool and no tables yet.
        shutil.copytree(tables.home / CHILDREN_FOLDER, target / CHILDREN_FOLDER)
