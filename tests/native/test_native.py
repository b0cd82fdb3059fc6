"""The C core without Python: each ``test_*.c`` is built with the parts of the core it tests, and run.

``GILSCOPE_SANITIZE=address,undefined`` or ``GILSCOPE_SANITIZE=thread`` in the environment builds all of it
with the compiler's sanitizers, as `.ci/run` does. `tests.native.coverage` gives the flags that count what is
reached in ``GILSCOPE_COVERAGE``.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

HERE = Path(__file__).parent
CORE = HERE.parents[1] / "gilscope" / "csrc"
SANITIZE = os.environ.get("GILSCOPE_SANITIZE", "")
FLAGS = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fno-omit-frame-pointer"]
SANITIZED = [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all"] if SANITIZE else []
COUNTED = os.environ.get("GILSCOPE_COVERAGE", "").split()
SYMBOLS = {"address": "__asan_", "undefined": "__ubsan_", "thread": "__tsan_"}
TIMEOUT_S = 600  # a program ends itself long before: check.h sets an alarm for each test

# How a shared object whose calls are replaced may be linked, and what may then be done to its slots.
LINKED = {
    "lazy": ("rw-p", ["-Wl,-z,norelro", "-Wl,-z,lazy"]),
    "relro": ("r--p", ["-Wl,-z,relro", "-Wl,-z,now"]),
    "no-plt": ("r--p", ["-Wl,-z,relro", "-Wl,-z,now", "-fno-plt"]),
}


@dataclass(frozen=True)
class Program:
    """What a test program is built from, beside its own file."""

    core: tuple[str, ...] = ()
    helpers: tuple[str, ...] = ()


READER = ("layout.c", "cpython.c", "condition.c")  # of the interpreter's memory
HOOKS = ("hooks.c", "slots.c", "got.c", "gils.c", "emit.c", "sites.c", "frames.c", *READER)
# All that a forked child must give up.
FORKED = (*HOOKS, "fork.c", "watch.c", "recorder.c", "collector.c", "sampler.c", "spool.c", "threads.c")
PROGRAMS = {
    "test_condition": Program(("condition.c",)),
    "test_frames": Program(("frames.c", *READER)),
    "test_gils": Program(FORKED),
    "test_got": Program(("got.c",)),
    "test_hooks": Program(("cost.c", *FORKED)),
    "test_layout": Program(READER),
    "test_program": Program(("program.c", "emit.c")),
    "test_refusal": Program(FORKED),
    "test_ring": Program(),
    "test_sampler": Program(("sampler.c",)),
    "test_sites": Program(("sites.c", "frames.c", *READER)),
    "test_spool": Program(("spool.c",)),
    "test_threads": Program(("threads.c", *READER), ("fakegil.c",)),
    "test_watch": Program(FORKED),
}


@cache
def compiler() -> str:
    """Return the C compiler; without one skip, but fail under CI, where a skip would go unseen."""
    for name in filter(None, (os.environ.get("CC"), "cc", "gcc", "clang")):
        if shutil.which(name):
            return name
    reason = "no C compiler on PATH (cc, gcc, clang, or the environment's CC)"
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must run the C tests, but there is {reason}")
    pytest.skip(reason)


def run(*command: str | Path, timeout: float = TIMEOUT_S) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C"}
    environment.pop("LD_BIND_NOW", None)  # slots that are bound lazily are among what is tested
    return subprocess.run(
        [str(word) for word in command],
        check=False,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )


def build(output: Path, *words: str | Path) -> Path:
    flags = [*FLAGS, *SANITIZED, *COUNTED, "-pthread", f"-I{HERE}", f"-I{CORE}"]
    result = run(compiler(), *flags, *words, "-o", output)
    assert result.returncode == 0, result.stdout
    return output


def check_instrumented(file: Path) -> None:
    if not SANITIZE:
        return
    symbols = run("nm", "--dynamic", file).stdout
    assert any(SYMBOLS[kind] in symbols for kind in SANITIZE.split(",")), f"{file.name} is not instrumented"


@dataclass(frozen=True)
class Builder:
    """Builds what one test runs; each source is compiled once for all tests.

    Args:
        objects: folder of the object files.
        folder: where the programs and shared objects are put.
    """

    objects: Path
    folder: Path

    def program(self, name: str, *more: str | Path) -> Path:
        program = PROGRAMS[name]
        sources = [
            HERE / f"{name}.c",
            *(CORE / file for file in program.core),
            *(HERE / file for file in program.helpers),
        ]
        return self._linked(self.folder / name, *map(self._compiled, sources), *more)

    def shared_object(self, source: str, linked: str) -> Path:
        words = [HERE / source, "-fPIC", "-shared", *LINKED[linked][1]]
        return self._linked(self.folder / f"{linked}-{source}.so", *words)

    def with_a_gil(self, name: str, linked: str) -> Path:
        """Build a program whose GIL is a shared object's, so that it has slots."""
        return self.program(name, self.shared_object("fakegil.c", linked), f"-Wl,-rpath,{self.folder}")

    def _compiled(self, source: Path) -> Path:
        file = self.objects / f"{source.name}.o"
        return file if file.exists() else build(file, "-c", source)

    def _linked(self, output: Path, *words: str | Path) -> Path:
        build(output, *words, "-ldl")
        check_instrumented(output)
        return output


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("objects")


@pytest.fixture
def builder(objects: Path, tmp_path: Path) -> Builder:
    return Builder(objects, tmp_path)


def check(*command: str | Path) -> None:
    """Run a test program; it must end well and have checked something."""
    result = run(*command)
    counts = re.search(r"^(\d+) tests, (\d+) checks$", result.stdout, re.MULTILINE)
    assert result.returncode == 0 and counts, f"exit status {result.returncode}\n{result.stdout}"
    assert int(counts[1]) > 0
    assert int(counts[2]) > 0


def test_no_program_is_left_out() -> None:
    assert sorted(p.stem for p in HERE.glob("test_*.c")) == sorted(PROGRAMS)


def test_ring(builder: Builder) -> None:
    check(builder.program("test_ring"))


def test_sampler(builder: Builder) -> None:
    check(builder.program("test_sampler"))


def test_frames(builder: Builder) -> None:
    check(builder.program("test_frames", "-rdynamic"))


def test_sites(builder: Builder) -> None:
    check(builder.program("test_sites"))


def test_spool(builder: Builder, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    check(builder.program("test_spool"), tmp_path / "files")


def test_program(builder: Builder) -> None:
    check(builder.program("test_program"))


def test_threads(builder: Builder) -> None:
    check(builder.program("test_threads"))


def test_layout(builder: Builder) -> None:
    check(builder.program("test_layout", "-rdynamic"), "exported")


def test_layout_of_an_interpreter_that_hides_it(builder: Builder) -> None:
    check(builder.program("test_layout"))


@pytest.mark.parametrize("linked", LINKED)
def test_got(builder: Builder, linked: str) -> None:
    victim = builder.shared_object("victim.c", linked)
    check(builder.program("test_got"), LINKED[linked][0], victim)


@pytest.mark.parametrize("linked", LINKED)
def test_hooks(builder: Builder, linked: str) -> None:
    check(builder.with_a_gil("test_hooks", linked))


@pytest.mark.parametrize("linked", LINKED)
def test_refusal(builder: Builder, linked: str) -> None:
    check(builder.with_a_gil("test_refusal", linked))


@pytest.mark.parametrize("linked", LINKED)
def test_watch(builder: Builder, linked: str) -> None:
    check(builder.with_a_gil("test_watch", linked))


@pytest.mark.parametrize("linked", LINKED)
def test_gils(builder: Builder, linked: str) -> None:
    check(builder.with_a_gil("test_gils", linked))


@pytest.mark.parametrize(("system", "needs_one"), [("Darwin", False), ("Linux", True)])
def test_a_compiler_is_needed_on_linux_only(tmp_path: Path, system: str, needs_one: bool) -> None:
    if not shutil.which("cmake"):
        pytest.skip("no cmake on PATH")
    result = run(
        "cmake",
        *("-S", CORE, "-B", tmp_path),
        f"-DCMAKE_SYSTEM_NAME={system}",
        f"-DCMAKE_C_COMPILER={tmp_path / 'no-compiler'}",
    )
    assert (result.returncode != 0) == needs_one, result.stdout
    assert ("no-compiler" in result.stdout) == needs_one, result.stdout


BUGS = {
    "address": {"leak": "detected memory leaks", "beyond": "heap-buffer-overflow"},
    "undefined": {"overflow": "signed integer overflow"},
    "thread": {"race": "data race"},
}

if SANITIZE:

    def test_the_sanitizers_find_what_they_are_there_for(tmp_path: Path) -> None:
        program = build(tmp_path / "planted", HERE / "planted.c", "-O0")
        assert run(program).returncode == 0
        for kind in SANITIZE.split(","):
            for bug, message in BUGS[kind].items():
                result = run(program, bug)
                assert result.returncode != 0
                assert message in result.stdout
