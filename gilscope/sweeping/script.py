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
_TAIL = 2000  # characters of a failed script's words


class ScriptError(RuntimeError):
    """A run of the script failed, or printed no metric."""


@dataclass(frozen=True)
class Script:
    """Runs a script; an instance is a `gilscope.sweeping.sweeps.Runner`.

    Args:
        command: the script and its arguments.
        last_line: whether the last line it prints is the metric; else it is the wall time.
        traced: whether runs are traced. The wall time is then that of the script alone, else of the process.
        keep: folder that gets the traces.
    """

    command: Sequence[str]
    last_line: bool
    traced: bool
    keep: Path | None

    def __call__(self, interval: float, repeat: int) -> Measured:
        """Run it once."""
        if not self.traced:
            begun = time.perf_counter()
            said = self._run([sys.executable, "-c", _BARE, repr(interval), *self.command])
            return self._row(time.perf_counter() - begun, said)
        with tempfile.TemporaryDirectory(prefix="gilscope-sweep-") as folder:
            kept = self.keep / run_name(interval, repeat) if self.keep and repeat >= 0 else None
            path = kept or Path(folder) / "run.gilscope"
            options = ["-q", "-o", str(path), "--overwrite", "--switch-interval", repr(interval)]
            said = self._run([sys.executable, "-m", "gilscope", "run", *options, *self.command])
            t = load(path)
            row = self._row(t.metadata["duration_ns"] / 1e9, said)
            return row | figures(t) | ({"trace": str(kept)} if kept else {})

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
        if done.returncode:
            raise ScriptError(f"it ended with status {done.returncode}:\n{done.stderr[-_TAIL:].strip()}")
        return done.stdout

    def _row(self, seconds: float, said: str) -> Measured:
        return {"wall_ns": round(seconds * 1e9), "metric": self._metric(said) if self.last_line else seconds}

    @staticmethod
    def _metric(said: str) -> float:
        line = next((line for line in reversed(said.splitlines()) if line.strip()), "")
        try:
            return float(line)
        except ValueError:
            raise ScriptError(
                f"the last line it printed is {line[:80]!r}, and should be the metric: a number"
            ) from None
