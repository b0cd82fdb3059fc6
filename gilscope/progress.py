"""A progress bar for work that takes over a second, on a terminal only."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE_S = 1.0


@contextmanager
def progress_bar(what: str, total: int, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """Yield a function that takes how much is done; a bar appears after `PATIENCE_S` seconds.

    Args:
        what: the name of the work, for the user.
        total: the amount of work, in any unit.
        quiet: show no bar.

    Example:
        >>> with progress_bar("writing", 10, quiet=True) as done:
        ...     done(10)
    """
    if quiet or not sys.stderr.isatty():
        yield lambda _done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    # Without a refreshing thread: it would request the GIL, and cannot start at interpreter exit.
    bar = Progress(console=Console(stderr=True), auto_refresh=False, transient=True)
    task = bar.add_task(what, total=total)
    begun = time.monotonic()

    def done(amount: int) -> None:
        if not bar.live.is_started and time.monotonic() - begun > PATIENCE_S:
            bar.start()
        bar.update(task, completed=amount)
        if bar.live.is_started:
            bar.refresh()

    try:
        yield done
    finally:
        if bar.live.is_started:
            bar.stop()
