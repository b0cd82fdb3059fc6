"""What a stage of `.ci/run` does: runs commands, counts what they checked, and keeps a log of them."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

QUIET = ("-q", "-p", "no:cacheprovider")
_LINES_OF_A_SUCCESS, _LINES_OF_A_FAILURE = 15, 300
_ENVIRONMENT = {
    **{key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")},
    "CI": "true",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
    # Means --no-compile: pip reads this one the other way round. Python compiles what is imported; all of the
    # libraries, with their own tests, would take longer than to install them.
    "PIP_NO_COMPILE": "0",
}


class FailedError(Exception):
    """A stage cannot go on; the message says why."""


@dataclass(frozen=True)
class Line:
    """One line of the summary."""

    what: str
    passed: int
    failed: int
    skipped: int
    note: str

    def __str__(self) -> str:
        verdict = "FAILED" if self.failed else "ok" if self.passed else "skipped" if self.skipped else ""
        return f"{verdict:8} {self.what:44} {self.note}"


@dataclass
class Report:
    """The log of one stage, and its lines of the summary.

    Args:
        name: the stage.
        work: a folder for the files of all stages.
        begun, took: seconds on the monotonic clock.
    """

    name: str
    work: Path
    lines: list[Line] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)
    took: float = 0.0

    def add(self, what: str, passed: int, failed: int, skipped: int, note: str) -> None:
        """Add a line to the summary."""
        self.lines.append(Line(what, passed, failed, skipped, note))

    def skip(self, what: str, why: str) -> None:
        """Name what cannot be checked on this machine: nothing is left out silently."""
        self.add(what, 0, 0, 1, why)

    def fail(self, what: str, why: str) -> None:
        """Name what should have been checked, and why it was not."""
        self.add(what, 0, 1, 0, why)

    def check(self, what: str, count: int, status: int = 0) -> None:
        """Pass if the command succeeded and looked at anything at all."""
        if count > 0 and status == 0:
            self.add(what, 1, 0, 0, f"{count} checked")
        else:
            self.add(what, 0, 1, 0, f"{count} checked, exit status {status}")

    def run(
        self, *command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> tuple[int, str]:
        """Run a command; return its exit status and output, of which the log keeps the end."""
        words = [str(word) for word in command]
        done = subprocess.run(
            words,
            cwd=cwd,
            env=_ENVIRONMENT | (env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        most = _LINES_OF_A_FAILURE if done.returncode else _LINES_OF_A_SUCCESS
        self.log += [f"$ {' '.join(words)}"[:500], *done.stdout.splitlines()[-most:]]
        return done.returncode, done.stdout

    def must(self, *command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
        """Run a command without which the stage cannot go on, and return its output.

        Raises:
            FailedError: if the command fails.
        """
        status, output = self.run(*command, cwd=cwd, env=env)
        if status:
            raise FailedError(f"exit status {status} of {' '.join(map(str, command))[:100]}")
        return output

    def pytest(
        self, what: str, command: Sequence[str | Path], cwd: Path, env: dict[str, str] | None = None
    ) -> None:
        """Run a pytest command and add its counts; it fails where no test passed."""
        handle, name = tempfile.mkstemp(".xml", dir=self.work)
        os.close(handle)
        begun = time.monotonic()
        status, _ = self.run(*command, f"--junitxml={name}", cwd=cwd, env=env)
        passed, failed, skipped = junit_counts(Path(name))
        if status or not passed:
            failed = max(failed, 1)  # a run that broke off, or collected nothing
        note = f"{passed} passed, {failed} failed, {skipped} skipped, {time.monotonic() - begun:.0f} s"
        self.add(what, passed, failed, skipped, note if not status else f"{note}, exit status {status}")


def junit_counts(file: Path) -> tuple[int, int, int]:
    """Return how many tests passed, failed and were skipped; zeros where pytest wrote no report."""
    if not file.exists() or not file.stat().st_size:
        return 0, 0, 0
    suites = list(ET.parse(file).getroot().iter("testsuite"))
    keys = ("tests", "failures", "errors", "skipped")
    tests, failures, errors, skipped = (sum(int(s.get(key, "0")) for s in suites) for key in keys)
    return tests - failures - errors - skipped, failures + errors, skipped


def first_number(word: str, text: str) -> int:
    """Return the first number before a word: 12 for "12 passed"."""
    found = re.search(rf"([0-9]+) {word}", text)
    return int(found[1]) if found else 0


def built(stage: Report, pattern: str = "*.whl") -> Path:
    """Return the wheel, or the sdist, of this run."""
    [file] = (stage.work / "dist").glob(pattern)
    return file
