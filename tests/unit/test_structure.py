"""Imports go one way; importing gilscope costs next to nothing; examples in docstrings run."""

import ast
import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import gilscope

PACKAGE = Path(gilscope.__file__).parent

ORDER = [
    {"errors", "schema", "arrays", "spans"},
    {"files", "arrowfile", "soundness"},
    {"excerpts"},
    {"spool"},
    {"transitions", "names", "attribution"},
    {"writer", "stories"},
    {"texts", "sites", "longholds"},
    {"sources", "switchintervals", "marks", "ticks"},
    {"tables"},
    {"recording", "options", "threadnames", "switchwatch", "progress"},
    {"folder", "together", "doubts"},
    {"units"},
    {"analysis.gils"},
    {"analysis.inputs"},
    {"analysis.source"},
    {"analysis.estimates", "analysis.handoffs", "analysis.convoys"},
    {"analysis.regions", "analysis.places"},
    {"analysis.threads", "analysis.overhead", "analysis.holds"},
    {"analysis.windows", "analysis.comparison", "analysis.findings", "analysis.intervals", "analysis.sites"},
    {"analysis"},
    {"plots.canvas"},
    {"plots.lanes", "plots.latency", "plots.shares", "plots.sweeps"},
    {"plots"},
    {"viztracer.text", "viztracer.rows"},
    {"viztracer.regions", "viztracer.selection", "viztracer.sites"},
    {"viztracer.lanes"},
    {"viztracer.details", "viztracer.slices", "viztracer.events"},
    {"viztracer.timeline"},
    {"viztracer.processes"},
    {"viztracer.files", "viztracer.merge"},
    {"viztracer"},
    {"flames"},
    {"htmlparts"},
    {"htmllines"},
    {"report", "html", "viewer", "vizlanes"},
    {"exports"},
    {"session"},
    {"children"},
    {"startup.sitecustomize"},
    {"regions"},
    {"traceobject"},
    {"tracer"},
    {"sweeping", "vizplugin", "watching"},
    {"runner", "doctor", "sweepscript"},
    {"__init__"},
    {"cli"},
    {"__main__"},
]
RANK = {module: i for i, room in enumerate(ORDER) for module in room}


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


def test_every_module_has_its_place():
    assert FILES.keys() == RANK.keys()


@pytest.mark.parametrize("module", sorted(RANK))
def test_imports_go_one_way(module):
    upwards = {other for other in imports(module) if RANK[other] > RANK[module]}
    # The doctor records a trace, and `gilscope` is the name under which it is made.
    assert upwards <= ({"__init__"} if module == "doctor" else set())


def test_importing_gilscope_loads_nothing_heavy():
    heavy = ["numpy", "pandas", "pyarrow", "viztracer", "rich", "gilscope._core"]
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


def test_public_names_exist_and_are_documented():
    for name in gilscope.__all__:
        assert getattr(gilscope, name).__doc__, name


@pytest.fixture
def profile_function_as_before():
    """A VizTracer puts itself in its place when it is made, and is none that could be put back."""
    before = sys.getprofile()
    yield
    sys.setprofile(before)


@pytest.mark.usefixtures("profile_function_as_before")
def test_examples_in_docstrings_run():
    tried = 0
    for module in sorted(RANK.keys() - {"__main__"}):
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
