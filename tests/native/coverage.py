"""How much of the C core the tests reach: ``python -m tests.native.coverage [FOLDER [TEST ...]]``.

Builds the C tests and the extension with ``gcc --coverage``, runs the tests of the core and those that trace
real programs, all or the given ones, and prints lines and branches covered per file and, of each file, what
nothing reached.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORE = ROOT / "gilscope" / "csrc"
# The last: counting hides from the compiler what is set when.
FLAGS = ("--coverage", "-O0", "-fprofile-update=atomic", "-Wno-maybe-uninitialized")
# What traces: the others compute on tables.
TRACING = ("tests/integration", "tests/unit/test_bench.py", "--ignore=tests/integration/test_viewer.py")

# An editable install would find the package before PYTHONPATH does.
SITE = """import sys
sys.meta_path[:] = [f for f in sys.meta_path if type(f).__name__ != "ScikitBuildRedirectingFinder"]
"""


@dataclass
class Reached:
    """How often each line of a file, and each branch of it, was taken."""

    lines: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    branches: dict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))


def pytest(*arguments: str, cwd: Path, **environment: str) -> int:
    """Run tests and return the exit status; what was reached until a failure counts, too."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=cwd, env={**os.environ, **environment}, check=False).returncode


def build_extension(site: Path) -> None:
    """Put the package, with an extension that counts, where PYTHONPATH finds it first."""
    shutil.copytree(
        ROOT / "gilscope", site / "gilscope", ignore=shutil.ignore_patterns("csrc", "*.so", "__pycache__")
    )
    (site / "sitecustomize.py").write_text(SITE)
    python = f"-I{sysconfig.get_path('include')}"
    sources = sorted(map(str, CORE.glob("*.c")))
    words = [
        "-std=gnu11",
        "-DPy_LIMITED_API=0x030b0000",
        "-fPIC",
        "-shared",
        "-pthread",
        "-Wl,-z,nodelete",
        python,
    ]
    output = ["-o", str(site / "gilscope" / "_core.abi3.so")]
    subprocess.run(["gcc", *FLAGS, *words, *sources, "-ldl", *output], cwd=site, check=True)


def collect(folder: Path) -> dict[str, Reached]:
    """Add up what all programs reached, by file of the core."""
    reached: dict[str, Reached] = defaultdict(Reached)
    for counts in sorted(folder.rglob("*.gcda")):
        command = ["gcov", "--json-format", "--stdout", "--branch-probabilities", counts.name]
        output = subprocess.run(command, cwd=counts.parent, capture_output=True, text=True, check=True).stdout
        for report in filter(None, output.splitlines()):
            for file in json.loads(report)["files"]:
                if Path(counts.parent, file["file"]).resolve().parent == CORE:
                    add(reached[Path(file["file"]).name], file["lines"])
    return reached


def add(reached: Reached, lines: list[dict]) -> None:
    for line in lines:
        number = line["line_number"]
        reached.lines[number] += line["count"]
        for i, branch in enumerate(line["branches"]):
            reached.branches[number, i] += branch["count"]


def share(counts: dict) -> str:
    taken = sum(count > 0 for count in counts.values())
    return f"{taken:4}/{len(counts):4} {100 * taken / max(len(counts), 1):5.1f} %"


def show(reached: dict[str, Reached]) -> None:
    print(f"{'file':14} {'lines':>17} {'branches':>17}")
    for name, file in sorted(reached.items()):
        print(f"{name:14} {share(file.lines):>17} {share(file.branches):>17}")
    every = Reached(
        {(n, k): v for n, f in reached.items() for k, v in f.lines.items()},
        {(n, k): v for n, f in reached.items() for k, v in f.branches.items()},
    )
    print(f"{'all':14} {share(every.lines):>17} {share(every.branches):>17}")
    for name, file in sorted(reached.items()):
        source = (CORE / name).read_text().splitlines()
        never = {n for n, count in file.lines.items() if not count}
        partly = {n for (n, _), count in file.branches.items() if not count} - never
        for number in sorted(never | partly):
            what = "never" if number in never else "partly"
            print(f"{name}:{number}: {what}: {source[number - 1].strip()}")


def main(folder: Path, tracing: tuple[str, ...]) -> int:
    site, suite = folder / "site", folder / "suite"
    folder.mkdir(exist_ok=True)
    native = ("tests/native", f"--basetemp={folder / 'native'}")
    failed = pytest(*native, cwd=ROOT, GILSCOPE_COVERAGE=" ".join(FLAGS))
    build_extension(site)
    suite.mkdir()
    for name in ("tests", "examples"):
        shutil.copytree(ROOT / name, suite / name)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, suite)
    failed |= pytest(*tracing, cwd=suite, PYTHONPATH=str(site))
    reached = collect(folder)
    show(reached)
    return int(bool(failed or not reached))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main(Path(sys.argv[1]).absolute(), tuple(sys.argv[2:]) or TRACING))
    with tempfile.TemporaryDirectory(prefix="gilscope-coverage-") as scratch:
        sys.exit(main(Path(scratch), TRACING))
