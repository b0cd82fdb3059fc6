"""A long recording of a busy program: flat memory, and every transition written or counted as lost.

Usage: ``python -m tests.stress.load [--minutes M] [--rate N] [--starved] [--folder FOLDER]``; without numbers
a minute of 200,000 transitions a second. Once a second it prints what was made, how much spool there is, and
resident memory, and in the end what was lost; Ctrl-C ends it like the end of its time. ``--starved``: the
sampler runs only when no other thread wants its processor, and one always does.

It needs room for the spool alone, 24 bytes a transition at most (16, and those who wait make records too):
17 GB for the whole hour, ``--minutes 60``. It does not begin where there is less. Nothing is converted: the
spool is read batch by batch, and removed.

The exit status is 1 where memory grew, or transitions are neither written nor counted; 2 without that room.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gilscope import _core
from gilscope.convert import spool
from gilscope.progress import progress_bar
from tests.stress.many import resident_kb

RATE = 200_000
THREADS = 4
_BEAT_S = 0.01
_PERIOD_NS = 10_000_000
MOST_GROWTH_KB = 4096
_RING_IS_THERE = 1 << 20
"""Transitions after which all of the ring has been written to once, however late the sampler comes."""
_MOST_BYTES = 24
"""A transition is a record of 16 bytes; where threads fight for the GIL, others tell of requests."""


@dataclass
class Load:
    """Threads that make transitions at a rate: each write of a byte lets the GIL go and takes it again.

    Args:
        rate: transitions a second, of all threads together.
    """

    rate: int
    made: list[int] = field(default_factory=lambda: [0] * THREADS)
    stop: threading.Event = field(default_factory=threading.Event)

    def work(self, which: int) -> None:
        """Write this many bytes per beat; beats after a late one have their usual length."""
        null = os.open(os.devnull, os.O_WRONLY)
        turns = round(self.rate * _BEAT_S / THREADS / 2)
        due = time.monotonic()
        while not self.stop.is_set():
            for _ in range(turns):
                os.write(null, b"x")
            self.made[which] += 2 * turns
            due = max(due + _BEAT_S, time.monotonic() - _BEAT_S)
            self.stop.wait(due - time.monotonic())
        os.close(null)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the threads run for a block."""
        threads = [threading.Thread(target=self.work, args=(i,), daemon=True) for i in range(THREADS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a load.

    Args:
        made: transitions that the program made, at least.
        kept: transitions in the spool.
        lost: transitions that the spool says were lost.
        memory_kb: resident memory, once a second from when all of the ring has been laid out.
        spool_bytes: the size of the spool.
        cut_short: whether the recording ended before its time.
    """

    made: int
    kept: int
    lost: int
    memory_kb: list[int]
    spool_bytes: int
    cut_short: bool

    @property
    def growth_kb(self) -> int:
        """How much memory grew from when all buffers were there."""
        return max(self.memory_kb) - self.memory_kb[0]

    def faults(self) -> list[str]:
        """Say what is not as it should be."""
        found = []
        if self.growth_kb > MOST_GROWTH_KB:
            found.append(f"resident memory grew by {self.growth_kb} kB")
        if self.kept + self.lost < self.made:
            found.append(f"{self.made - self.kept - self.lost} transitions are neither written nor counted")
        if self.cut_short:
            found.append("the recording was cut short")
        return found


def room(seconds: float, rate: int) -> int:
    """Return how many bytes the spool of a load can need."""
    return round(seconds * rate * _MOST_BYTES)


def count(path: Path, *, quiet: bool = True) -> tuple[int, int, bool]:
    """Read a spool: return how many transitions are in it, how many were lost, and whether it is whole."""
    kept = lost = 0
    whole = False
    with (
        spool.SpoolReader(path) as reader,
        progress_bar("reading the spool", reader.size, quiet=quiet) as done,
    ):
        for batch in reader.batches():
            kind = batch.records["word"] & np.uint64(31)
            kept += int(np.isin(kind, (spool.ACQUIRE, spool.RELEASE)).sum())
            lost += int((batch.records["word"][kind == spool.LOST] >> np.uint64(32)).sum())
            whole = batch.last
            done(reader.position)
    return kept, lost, whole


@contextmanager
def starved() -> Iterator[None]:
    """Keep the sampler off its processor: it takes what others leave there, and that is next to nothing."""
    sampler = next(
        int(task.name)
        for task in Path("/proc/self/task").iterdir()
        if (task / "comm").read_text() == "gilscope\n"
    )
    processor = min(os.sched_getaffinity(0))
    burn = f"import os\nos.sched_setaffinity(0, {{{processor}}})\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", burn]) as other:
        try:
            os.sched_setaffinity(sampler, {processor})
            os.sched_setscheduler(sampler, os.SCHED_IDLE, os.sched_param(0))
            yield
        finally:
            other.kill()


def run(
    folder: Path,
    seconds: float,
    rate: int = RATE,
    *,
    starve: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Result:
    """Record a load.

    Args:
        folder: where the spool goes; it is removed in the end.
        seconds: how long.
        rate: transitions a second.
        starve: whether to keep the sampler off its processor.
        say: called with a line once a second.
    """
    memory: list[int] = []
    load, path = Load(rate), folder / "spool.bin"
    _core.start(path, exact=True, period_ns=_PERIOD_NS)
    try:
        begin = time.monotonic()
        with starved() if starve else nullcontext(), load.running():
            while (now := time.monotonic() - begin) < seconds:
                time.sleep(min(1.0, seconds - now))
                made, size, resident = sum(load.made), path.stat().st_size, resident_kb()
                say(f"{now:8.0f} s {made:14,} transitions {size / 1e6:10.1f} MB spool {resident:8} kB")
                if made >= _RING_IS_THERE:
                    memory.append(resident)
    except KeyboardInterrupt:
        say("interrupted")
    finally:
        stopped = _core.stop()
    kept, lost, whole = count(path, quiet=seconds < 600)
    path.unlink()
    return Result(sum(load.made), kept, lost, memory, stopped["spool_bytes"], not whole)


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress.load", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="60: the whole hour")
    parser.add_argument("--rate", type=int, default=RATE, help="transitions a second")
    parser.add_argument("--starved", action="store_true", help="keep the sampler off its processor")
    parser.add_argument("--folder", type=Path, help="where the spool goes (default: a temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        need, free = room(60 * args.minutes, args.rate), shutil.disk_usage(folder).free
        if free < need:
            print(
                f"{folder}: {free / 1e9:.1f} GB free, {need / 1e9:.1f} GB may be needed; give a --folder "
                "on a larger disk, or fewer --minutes",
                file=sys.stderr,
            )
            return 2
        result = run(
            Path(folder),
            60 * args.minutes,
            args.rate,
            starve=args.starved,
            say=lambda line: print(line, flush=True),
        )
    print(
        f"{result.made:,} transitions made, {result.kept:,} written, {result.lost:,} lost; "
        f"{result.spool_bytes / 1e6:.0f} MB; resident memory {result.growth_kb:+} kB from when all buffers "
        "were there"
    )
    for fault in result.faults():
        print(f"FAILED: {fault}")
    return int(bool(result.faults()))


if __name__ == "__main__":
    sys.exit(main())
