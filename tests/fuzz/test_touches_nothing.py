"""Loading and reporting a trace writes, runs and imports nothing, and opens no file that the trace names."""

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from gilscope.convert import spool
from tests.fuzz import files as f
from tests.fuzz.mutations import mutate
from tests.fuzz.seeds import seeds, unfinished
from tests.support.drawn.spools import Spool, appears, says

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
EVIL = "evil_module.__import__('os').system('touch evil')"

WATCH = """
import contextlib, io, os, sys, tempfile
import gilscope, gilscope.cli
from gilscope.errors import GilscopeError

def use(path):
    try:
        t = gilscope.load(path)
    except GilscopeError:
        return
    for format in ("text", "json", "html"):
        with contextlib.suppress(GilscopeError):
            t.report(format=format)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        gilscope.cli.main(["info", path])

RUNS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty",
        "pty.spawn", "socket.connect", "socket.bind", "ctypes.dlopen", "pickle.find_class", "webbrowser.open")
CHANGES = ("os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink",
           "os.truncate", "os.utime", "shutil.rmtree", "shutil.copyfile", "shutil.move", "tempfile.mkdtemp")
NAMES = ("import", "compile", "exec")
temporary = os.path.join(tempfile.gettempdir(), "gilscope-")
wrong, opened = [], 0

def hook(event, args):
    global opened
    if event == "open":
        path, mode, flags = args
        opened += 1
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and not str(path).startswith(temporary):
            wrong.append((event, str(path)))
        if "named" in str(path):
            wrong.append((event, str(path)))
    elif event in RUNS:
        wrong.append((event, repr(args)[:200]))
    elif event in CHANGES and not str(args[0]).startswith(temporary) and args[-1] in (None, -1):
        wrong.append((event, repr(args)[:200]))
    elif event in NAMES and "evil" in repr(args).lower():
        wrong.append((event, repr(args)[:200]))

first, *others = sys.argv[1:]
use(first)  # imports what gilscope needs, and lets matplotlib write its cache of fonts
sys.addaudithook(hook)
for path in others:
    use(path)
print(len(others), opened, wrong)
"""


def evil() -> f.Files:
    call = [(spool.INTERVAL, 0, 500, 5), (spool.INTERVAL_WAS, 0, 5000, 5), (spool.LINE, 0, 1, 5)]
    text = f"{EVIL}.py".encode() + b"\0" * 4
    call += [
        (spool.TEXT, 0, int.from_bytes(text[i : i + 4], "little"), 5) for i in range(0, len(text) - 3, 4)
    ]
    s = Spool().batch(0)
    s.batch(
        10, [(spool.BEGIN, 0, 0, 1), *appears(0, 7, 1), *says(0, 7, EVIL, 2), *call, (spool.END, 0, 0, 8)]
    )
    return unfinished(bytes(s.last(9).data), argv=[EVIL, "../../evil"], host=EVIL, clock=EVIL)


def naming(files: list[Path]) -> f.Files:
    """Return a trace in which each file is one of a line that held the GIL."""
    s = Spool().batch(0)
    s.describe(
        [(i, 1, "f", str(file), b"\x80\x00") for i, file in enumerate(files)],
        [(3 + i, 1, i, 0) for i in range(len(files))],
    )
    records = [(spool.BEGIN, 0, 0, 1), *appears(0, 7, 1)]
    for i in range(len(files)):
        records += [(spool.RELEASE, 0, 3 + i, 10 * i + 5), (spool.ACQUIRE, 0, 0, 10 * i + 6)]
    s.batch(1000, [*records, (spool.END, 0, 0, 999)])
    return unfinished(bytes(s.last(1001).data))


def named(folder: Path) -> list[Path]:
    """Make files that a trace may name and nothing should open: a FIFO would wait for ever."""
    folder.mkdir()
    (folder / "named.py").write_text("secret\n")
    os.mkfifo(folder / "named-fifo.py")
    (folder / "named-endless.py").symlink_to("/dev/zero")
    return sorted(folder.iterdir())


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p.relative_to(folder)): (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob("*")}


def test_loading_and_reporting_touches_nothing(tmp_path):
    chance = Random(20)
    made = [seeds()[0], evil(), seeds()[4], *(mutate(evil(), chance, seeds()) for _ in range(12))]
    made += [mutate(seeds()[4], chance, seeds()) for _ in range(12)]
    home = tmp_path / "home"
    home.mkdir()
    made.append(naming(named(home / "files")))
    paths = [f.write(files, home / "traces" / str(i)) for i, files in enumerate(made)]
    (home / "cwd").mkdir()
    (tmp_path / "tmp").mkdir()
    before = snapshot(home)

    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp"), "MPLCONFIGDIR": str(tmp_path / "mpl")}
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WATCH, *map(str, paths)],
        cwd=home / "cwd",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert result.returncode == 0, result.stderr
    count, opened, wrong = result.stdout.split(maxsplit=2)
    assert wrong.strip() == "[]"
    assert int(count) == len(made) - 1
    assert int(opened) > len(made)
    assert snapshot(home) == before
    assert [*(tmp_path / "tmp").iterdir()] == []
