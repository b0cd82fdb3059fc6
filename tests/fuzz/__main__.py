"""Searches for traces that gilscope cannot bear: ``python -m tests.fuzz --minutes 15 --corpus FOLDER``.

Inputs that reach new lines of gilscope are kept in ``FOLDER/corpus`` and are where the next search begins;
what went wrong is in ``FOLDER/findings``, each with what was said. Ctrl-C ends a search like the end of its
time.
"""

import argparse
import hashlib
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz import files as f
from tests.fuzz.engine import Search, bound_memory
from tests.fuzz.files import Files
from tests.fuzz.seeds import seeds

MOST_BYTES = 2 << 30
_SAY_EVERY_S = 10


def _name(files: Files) -> str:
    return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:16]


def _save(files: Files, folder: Path) -> Path:
    path = folder / _name(files)
    if not path.exists():
        f.write(files, path)
    return path


class Worker:
    """One process that searches; the input it is at lies in ``current`` in case it is its last."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        kept = [f.read(path) for path in sorted((folder / "corpus").iterdir())]
        self.search = Search([*seeds(), *kept], random.Random(seed), self._keep)
        self._run = self.search.run
        self.search.run = self._run_saved  # type: ignore[method-assign]
        self._said: set[str] = set()

    def _keep(self, files: Files) -> None:
        _save(files, self.folder / "corpus")

    def _run_saved(self, files: Files, *, html: bool) -> None:
        current = self.folder / "current"
        shutil.rmtree(current, ignore_errors=True)
        f.write(files, current)
        self._run(files, html=html)
        for what in self.search.findings.keys() - self._said:
            finding = self.search.findings[what]
            path = _save(finding.files, self.folder / "findings")
            path.with_suffix(".txt").write_text(finding.trace)
            print(f"\nFOUND {what}: {path}", flush=True)
            self._said.add(what)

    def go(self, until: float) -> None:
        said = time.monotonic()
        self.search.begin()
        while time.monotonic() < until:
            self.search.step()
            if time.monotonic() - said > _SAY_EVERY_S:
                said = time.monotonic()
                self._say(until - said)
        self._say(0)

    def _say(self, left: float) -> None:
        s = self.search
        print(
            f"{s.tried} traces, {s.used} of them loaded; {len(s.lines)} lines; {len(s.corpus)} kept; "
            f"{len(s.findings)} findings; {left / 60:.1f} minutes left",
            flush=True,
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--corpus", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    args = _arguments()
    for name in ("corpus", "findings"):
        (args.corpus / name).mkdir(parents=True, exist_ok=True)
    seed = random.SystemRandom().getrandbits(32) if args.seed is None else args.seed
    until = time.monotonic() + 60 * args.minutes
    if args.worker:
        worker = Worker(args.corpus, seed)
        bound_memory(MOST_BYTES)
        try:
            worker.go(until)
        except KeyboardInterrupt:
            worker._say(0)
        return bool(worker.search.findings)
    return _keep_searching(args.corpus, seed, until)


def _keep_searching(folder: Path, seed: int, until: float) -> int:
    """Start workers until the time is over: an input that kills one is a finding as well."""
    found = 0
    while (left := (until - time.monotonic()) / 60) > 0.05:
        command = [
            sys.executable,
            "-m",
            "tests.fuzz",
            "--worker",
            "--corpus",
            str(folder),
            "--seed",
            str(seed),
        ]
        print(f"seed {seed}", flush=True)
        with subprocess.Popen([*command, "--minutes", str(left)]) as worker:
            try:
                status = worker.wait()
            except KeyboardInterrupt:
                return int(worker.wait() != 0 or found)
        if status in (0, 1):
            return int(status or found)
        found, seed = 1, seed + 1
        path = _save(f.read(folder / "current"), folder / "findings")
        print(f"\nFOUND a dead worker (status {status}): {path}", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
