"""perf uprobes on the interpreter's ``take_gil`` and ``drop_gil``: a referee from outside."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_void_p, cast, pythonapi
from pathlib import Path

from tests.bench.common import SkippedError

_TRACEFS = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
SYMBOLS = ("take_gil", "drop_gil")


def interpreter() -> Path:
    """Return the file that holds the interpreter's code: libpython, or the executable."""
    address = cast(pythonapi.PyEval_SaveThread, c_void_p).value or 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, *_, name = line.split(maxsplit=5)
        low, high = (int(edge, 16) for edge in span.split("-"))
        if low <= address < high:
            return Path(name)
    raise SkippedError("the interpreter's file is not in /proc/self/maps")


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise SkippedError(f"{' '.join(command[:3])} failed: {reason[0] if reason else done.returncode}")
    return done.stdout


def _missing() -> str | None:
    """Return what is missing for uprobes, or None."""
    for tool in ("perf", "nm"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    if os.geteuid() != 0:
        return "uprobes need root"
    file = interpreter()
    symbols = {line.split()[-1] for line in _run("nm", str(file)).splitlines() if line.strip()}
    absent = [name for name in SYMBOLS if name not in symbols]
    return f"{file.name} is stripped: it has no symbol {absent[0]}" if absent else None


def require() -> None:
    """Make sure that uprobes can be had.

    Raises:
        SkippedError: they cannot; the message says why.
    """
    if why := _missing():
        raise SkippedError(why)


def _mount() -> None:
    if not any((folder / "uprobe_events").exists() for folder in _TRACEFS):
        _run("mount", "-t", "tracefs", "nodev", str(_TRACEFS[0]))


def signal_offset(symbol: str) -> int | None:
    """Return where a function calls ``pthread_cond_signal``, from its beginning; None unless at one place."""
    if shutil.which("objdump") is None:
        return None
    listing = _run("objdump", "-d", "--no-show-raw-insn", f"--disassemble={symbol}", str(interpreter()))
    begin = re.search(rf"^([0-9a-f]+) <{symbol}>:$", listing, re.MULTILINE)
    calls = re.findall(r"^\s*([0-9a-f]+):\s+call.*<pthread_cond_signal@", listing, re.MULTILINE)
    if begin is None or len(calls) != 1:
        return None
    return int(calls[0], 16) - int(begin[1], 16)


@contextmanager
def placed(points: dict[str, str]) -> Iterator[str]:
    """Place uprobes on the running interpreter and yield the group of events that they make up.

    Args:
        points: names of events and where they are: a symbol, with ``+offset`` or ``%return``.

    Raises:
        SkippedError: not possible here; the message says why.
    """
    require()
    _mount()
    group = f"gilscope_bench_{os.getpid()}"
    file = str(interpreter())
    try:
        for name, point in points.items():
            _run("perf", "probe", "-q", "-x", file, f"{group}:{name}={point}")
        yield group
    finally:
        subprocess.run(["perf", "probe", "-q", "-d", f"{group}:*"], capture_output=True, check=False)
