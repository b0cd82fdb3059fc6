"""Imports go one way; importing gilscope costs next to nothing; examples in docstrings run."""

import ast
import doctest
import graphlib
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import gilscope

PACKAGE = Path(gilscope.__file__).parent

# A room may import the rooms above it in this list, none of its own line. `gilscope` itself stands outside.
ROOMS = [
    {"errors", "units", "progress"},
    {"tables"},
    {"convert"},
    {"analysis"},
    {"plots"},
    {"viztracer", "stacks"},
    {"report"},
    {"export"},
    {"record"},
    {"traces"},
    {"tracer"},
    {"vizplugin", "watching", "sweeping"},
    {"cli"},
]
RANK = {room: i for i, rooms in enumerate(ROOMS) for room in rooms}


def name_of(path: Path) -> str:
    """Return a module's name behind ``gilscope.``; ``__init__`` for gilscope itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in PACKAGE.rglob("*.py")}


def imports(module: str) -> set[str]:
    """Return the modules of gilscope that one imports, wherever in its text it does."""
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "gilscope":
            room = node.module.removeprefix("gilscope").removeprefix(".")
            inside = {f"{room}.{alias.name}".removeprefix(".") for alias in node.names}
            found |= (inside & FILES.keys()) or {room}
        elif isinstance(node, ast.Import):
            found |= {"__init__" for alias in node.names if alias.name == "gilscope"}
    return found & FILES.keys()


def room_of(module: str) -> str:
    """Return the folder, or the file at the top, in which a module stands."""
    return module.partition(".")[0]


OUTSIDE = {"__init__", "__main__"}
INSIDE = sorted(FILES.keys() - OUTSIDE)


def test_every_module_is_in_a_room():
    assert {room_of(module) for module in INSIDE} == RANK.keys()


@pytest.mark.parametrize("module", INSIDE)
def test_rooms_import_only_the_rooms_below(module):
    others = {room_of(other) for other in imports(module) - OUTSIDE} - {room_of(module)}
    assert {other for other in others if RANK[other] >= RANK[room_of(module)]} == set()


def test_modules_import_one_another_in_one_direction():
    graph = {module: imports(module) - OUTSIDE - {module} for module in INSIDE}
    order = graphlib.TopologicalSorter(graph)
    order.prepare()  # raises on a circle


def test_importing_gilscope_loads_nothing_heavy():
    heavy = ["numpy", "pandas", "pyarrow", "viztracer", "rich", "dataclasses", "gilscope._core"]
    code = f"import sys, gilscope; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_recording_and_exporting_do_without_pandas(tmp_path):
    code = """
import sys
import gilscope
with gilscope.trace("bare.gilscope") as t:
    pass
t.to_viztracer("bare.json")
with gilscope.trace("run.gilscope") as t:
    t.mark("here")
    with t.region("there"):
        pass
t.to_viztracer("timeline.json")
with open("report.json", "w") as file:
    file.write('{"traceEvents": []}')
t.merge_into("report.json")
print("pandas" in sys.modules)
"""
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert result.stdout == "False\n"


def test_a_finished_trace_is_read_without_the_recorder(tmp_path):
    with gilscope.trace(tmp_path / "run.gilscope"):
        pass
    code = """
import sys
import gilscope
t = gilscope.load("run.gilscope")
t.report()
t.to_viztracer("run.json")
print(sorted(m for m in sys.modules if m == "gilscope._core" or m.startswith("gilscope.record.")))
"""
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert result.stdout == "['gilscope.record.options']\n"


def test_public_names_exist_and_are_documented():
    for name in gilscope.__all__:
        assert getattr(gilscope, name).__doc__, name


@pytest.fixture
def profile_function_as_before():
    """A new VizTracer puts itself in its place; it is not a function that could be put back."""
    before = sys.getprofile()
    yield
    sys.setprofile(before)


@pytest.mark.usefixtures("profile_function_as_before")
def test_examples_in_docstrings_run():
    tried = 0
    for module in sorted(FILES.keys() - {"__main__"}):
        name = "gilscope" if module == "__init__" else f"gilscope.{module}"
        result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
        assert result.failed == 0, name
        tried += result.attempted
    assert tried > 30


def test_functions_are_short():
    long = []
    for path in FILES.values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno > 60:
                long.append(f"{path.name}:{node.name}")
    assert long == []
