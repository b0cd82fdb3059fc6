"""What `.github/CONTRIBUTING.md` promises: files, rooms, versions as they are, recipes that stay short."""

import argparse
import ast
import re
import tomllib
from pathlib import Path

import pytest

from gilscope import cli, export, vizplugin
from gilscope.record import options
from tests.support.drawn.traces import round_robin
from tests.unit.test_structure import ROOMS

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
DOOR = ROOT / ".github" / "CONTRIBUTING.md"
PRODUCT = [
    file for suffix in ("*.py", "*.pyi", "*.c", "*.h") for file in sorted((ROOT / "gilscope").rglob(suffix))
]


def naming(pattern: str) -> set[str]:
    """Return the product files in whose text a pattern is found."""
    return {
        str(file.relative_to(ROOT / "gilscope")) for file in PRODUCT if re.search(pattern, file.read_text())
    }


def minors() -> list[str]:
    """Return the versions that the classifiers name, oldest first."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))


# ---- the door ----


def test_files_that_it_names_exist():
    text = DOOR.read_text()
    named = re.findall(r"`((?:gilscope|tests|\.ci|\.github)/[\w./-]+|[\w-]+\.(?:toml|md))`", text)
    linked = re.findall(r"\]\(((?!https:)[^)#]+)", text)
    files = [ROOT / name for name in named] + [DOOR.parent / name for name in linked]
    assert len(files) > 20
    assert [str(file) for file in files if not file.exists() and file.name != "NAME.py"] == []


def test_its_layout_has_the_rooms_in_their_order():
    layout = DOOR.read_text().partition("## Layout")[2].partition("## Recipes")[0]
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", layout, re.MULTILINE)
    assert [set(re.findall(r"`(\w+)`", row)) for row in rows] == ROOMS


def test_the_readme_of_the_core_names_each_of_its_files():
    core = ROOT / "gilscope" / "csrc"
    table = "".join(re.findall(r"^\| (`.*?) \|", (core / "README.md").read_text(), re.MULTILINE))
    assert sorted(re.findall(r"`(\w+\.[ch])`", table)) == sorted(file.name for file in core.glob("*.[ch]"))


def test_its_markers_are_those_of_pytest():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    markers = [line.partition(":")[0] for line in project["tool"]["pytest"]["ini_options"]["markers"]]
    assert re.findall(r"^\| `(\w+)` \|", DOOR.read_text().partition("## Layout")[0], re.MULTILINE) == markers


# ---- an option ----


def test_a_new_option_reaches_every_reader_from_its_declaration(monkeypatch):
    readers = ("run", "plugin", "children")
    new = options.Option("novel", False, bool, readers, "a novelty", action="store_true")
    monkeypatch.setattr(options, "OPTIONS", (*options.OPTIONS, new))

    run = cli.make_parser().parse_args(["run", "--novel", "script.py"])
    assert options.values_of(run, "run")["novel"] is True
    assert vizplugin.get_vizplugin("gilscope.vizplugin --novel")._options["novel"] is True
    assert options.Options(novel=True).of_children()["novel"] is True


@pytest.mark.parametrize("option", options.OPTIONS, ids=lambda option: option.name)
def test_an_option_touches_three_files(option):
    reading = naming(rf"\boptions\.{option.name}\b") - {"record/options.py", "tracer.py"}
    assert len(reading) <= 1
    # Other commands have flags of these names, too, and a sweep calls `gilscope run`.
    own = set(option.flags) - {"-o", "--output", "-q", "--quiet"}
    others = {file for flag in own for file in naming(f'"{flag}"')}
    assert others <= {"record/options.py", "sweeping/script.py"}


# ---- an export format ----


def test_a_new_format_needs_its_writer_and_its_declaration(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    trace = round_robin(2, 3).recording()
    monkeypatch.setattr("gilscope.load", lambda path: argparse.Namespace(_tables=trace))
    new = export.Format((".novel",), "stacks.novel", "a novelty", "report.html.file.write", ())
    monkeypatch.setitem(export.FORMATS, "novel", new)

    assert cli.main(["export", "-o", "by-suffix.novel"]) == 0
    assert cli.main(["export", "--format", "novel"]) == 0
    assert {file.name for file in tmp_path.iterdir()} == {"by-suffix.novel", "stacks.novel"}
    with pytest.raises(SystemExit):
        cli.main(["export", "--help"])
    assert ".novel: a novelty" in capsys.readouterr().out


# ---- a version of CPython ----


def test_the_workflow_brings_every_version():
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert re.findall(r"^ +(3\.\d+)$", workflow, re.MULTILINE) == minors()[::-1]


def test_the_last_version_is_named_in_few_places():
    first, last = minors()[0], minors()[-1]
    span = re.compile(rf"{re.escape(first)}\s+to\s+(3\.\d+)")
    named = {file: set(span.findall(file.read_text())) for file in [*PRODUCT, ROOT / "README.md"]}
    assert set().union(*named.values()) == {last}
    assert [str(file.relative_to(ROOT)) for file in PRODUCT if named[file]] == ["gilscope/record/session.py"]
    rows = re.findall(r"\.hex = 0x03(..)", (ROOT / "gilscope" / "csrc" / "cpython.c").read_text())
    assert [f"3.{int(row, 16)}" for row in rows] == minors()


# ---- an event kind ----


def kinds() -> list[str]:
    """Return the record kinds of record.h, without ``GS_``."""
    text = (ROOT / "gilscope" / "csrc" / "record.h").read_text()
    body = re.sub(r"/\*.*?\*/", "", re.search(r"enum gs_kind \{(.*?)\n\};", text, re.S)[1], flags=re.S)
    return re.findall(r"GS_(\w+)", body)


def names_in(file: Path) -> set[str]:
    """Return the names that the code of a Python file uses."""
    tree = ast.walk(ast.parse(file.read_text()))
    return {getattr(node, "id", getattr(node, "attr", "")) for node in tree}


def test_an_event_kind_touches_six_files():
    python = {file: names_in(file) for file in (ROOT / "gilscope" / "convert").glob("*.py")}
    transitions = kinds().index("THREAD")  # what a run and a wait are made of, the core of every reader
    assert len(kinds()[transitions:]) > 15
    for kind in kinds()[transitions:]:
        native = naming(rf"\bGS_{kind}\b")
        read = {file for file, names in python.items() if kind in names}
        assert len(native) >= 2  # else no test would notice that kinds are named in another way
        assert read
        assert len(native) + len(read) <= 6, (kind, native, read)


def test_record_kinds_are_read_in_convert_only():
    rooms = {Path(file).parts[0] for file in naming(r"gilscope\.convert(\.spool import| import .*\bspool\b)")}
    assert rooms == {"convert"}
