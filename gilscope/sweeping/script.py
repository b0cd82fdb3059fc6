"""A sweep over a script: each run in a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gilscope.sweeping.sweeps import Measured, figures, run_name
from gilscope.tracer import load

_BARE = (
    "import os, runpy, sys; sys.setswitchinterval(float(sys.argv[1])); del sys.argv[:2]; "
    "sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0])); "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)
_TAIL = 2000  # characters of a failed script's error output that the message shows


class ScriptError(RuntimeError):
    """Raised if a run of the script fails, or prints no metric."""


@dataclass(frozen=True)
class Script:
    """Runs a script; an instance is a `gilscope.sweeping.sweeps.Runner`.

    Args:
        command: the script and its arguments.
        last_line: whether the last line of its output is the metric; otherwise the wall time is.
        traced: whether to trace runs. If so, the wall time is that of the script, otherwise of the process.
        keep: folder for the traces; None to delete them.
    """

    command: Sequence[str]
    last_line: bool
    traced: bool
    keep: Path | None

    def __call__(self, interval: float, repeat: int) -> Measured:
        """Run the script once, and return what was measured."""
        if not self.traced:
            begun = time.perf_counter()
            output = self._run([sys.executable, "-c", _BARE, repr(interval), *self.command])
            return self._row(time.perf_counter() - begun, output)
        with tempfile.TemporaryDirectory(prefix="gilscope-sweep-") as folder:
            kept = self.keep / run_name(interval, repeat) if self.keep and repeat >= 0 else None
            path = kept or Path(folder) / "run.gilscope"
            options = ["-q", "-o", str(path), "--overwrite", "--switch-interval", repr(interval)]
            output = self._run([sys.executable, "-m", "gilscope", "run", *options, *self.command])
            t = load(path)
            row = self._row(t.metadata["duration_ns"] / 1e9, output)
            return row | figures(t) | ({"trace": str(kept)} if kept else {})

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
        if done.returncode:
            raise ScriptError(
                f"the script ended with status {done.returncode}:\n{done.stderr[-_TAIL:].strip()}"
            )
        return done.stdout

    def _row(self, seconds: float, output: str) -> Measured:
        return {
            "wall_ns": round(seconds * 1e9),
            "metric": self._metric(output) if self.last_line else seconds,
        }

    @staticmethod
    def _metric(output: str) -> float:
        line = next((line for line in reversed(output.splitlines()) if line.strip()), "")
        try:
            return float(line)
        except ValueError:
            raise ScriptError(
                f"the last line it printed is {line[:80]!r}; expected the metric, a number"
            ) from None
