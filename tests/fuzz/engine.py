"""A search for inputs that do what they must not, led by the lines of gilscope that they reach."""

import faulthandler
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import gilscope
from tests.fuzz import files as f
from tests.fuzz import victim
from tests.fuzz.files import Files
from tests.fuzz.mutations import mutate

PACKAGE = str(Path(gilscope.__file__).parent)
SLOW_S = 30
"""No small trace may take this long, even on a busy machine."""
Line = tuple[str, int]


class TooSlowError(BaseException):
    """An input took longer than `SLOW_S`."""


@dataclass
class Finding:
    """An input that did what it must not."""

    what: str
    files: Files
    trace: str


@dataclass
class Search:
    """What a search has seen so far.

    Args:
        corpus: traces to change; those that reach new lines are added.
        chance: the only source of chance.
        keep: called with each input that is added.
        html: the share of inputs of which the page with its pictures is made, which takes longest.
    """

    corpus: list[Files]
    chance: random.Random
    keep: Callable[[Files], None] = lambda _files: None
    html: float = 0.03
    lines: set[Line] = field(default_factory=set)
    findings: dict[str, Finding] = field(default_factory=dict)
    tried: int = 0
    used: int = 0

    def begin(self) -> None:
        """Run the corpus as it is."""
        for files in list(self.corpus):
            self.run(files, html=False)

    def step(self) -> None:
        """Change one trace and see what it does."""
        files = mutate(self.chance.choice(self.corpus), self.chance, self.corpus)
        before = len(self.lines)
        self.run(files, html=self.chance.random() < self.html)
        if len(self.lines) > before and sum(map(len, files.values())) < 1 << 17:
            self.corpus.append(files)
            self.keep(files)

    def run(self, files: Files, *, html: bool) -> None:
        """Use one trace; note what it reaches, and what it did wrong."""
        self.tried += 1
        folder = Path(tempfile.mkdtemp(prefix="gilscope-fuzz-"))
        try:
            path = f.write(files, folder / "t.gilscope")
            with watched(self.lines), limited(SLOW_S):
                self.used += victim.use(path, html=html, commands=html) > 0
        except (Exception, TooSlowError) as error:
            self._blame(error, files)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _blame(self, error: BaseException, files: Files) -> None:
        frames = [x for x in traceback.extract_tb(error.__traceback__) if x.filename.startswith(PACKAGE)]
        where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "outside"
        what = f"{type(error).__name__} at {where}"
        said = "".join(traceback.format_exception(error))
        self.findings.setdefault(what, Finding(what, files, said))


@contextmanager
def watched(lines: set[Line]) -> Iterator[None]:
    """Add each line of gilscope that runs; what others trace, goes on."""

    def on_call(frame: FrameType, _event: str, _arg: Any) -> Any:
        return on_line if frame.f_code.co_filename.startswith(PACKAGE) else None

    def on_line(frame: FrameType, event: str, _arg: Any) -> Any:
        if event == "line":
            lines.add((frame.f_code.co_filename, frame.f_lineno))
        return on_line

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        yield
    finally:
        sys.settrace(before)


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """End what takes too long: Python code by an exception, other code with the process."""

    def too_slow(_number: int, _frame: FrameType | None) -> None:
        raise TooSlowError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, too_slow)
    faulthandler.dump_traceback_later(2 * seconds, exit=True)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


def bound_memory(more: int) -> None:
    """Let this process have this many bytes more than it has now."""
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def search(corpus: Sequence[Files], seed: int, count: int) -> Search:
    """Run a search of this many steps, the same each time."""
    found = Search(list(corpus), random.Random(seed))
    for _ in range(count):
        found.step()
    return found
