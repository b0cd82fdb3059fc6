"""What the README shows runs as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import gilscope
from tests.support.processes.programs import python

CHECKOUT = Path(__file__).parents[2]
README = CHECKOUT / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)


@pytest.mark.parametrize(("library", "column"), [("polars", "p99_ns"), ("duckdb", "avg(gap_ns)")])
def test_other_libraries_read_a_trace(tmp_path, library, column):
    pytest.importorskip(library)
    [code] = [block for block in BLOCKS if f"import {library}" in block]
    with gilscope.trace(tmp_path / "run.gilscope"):
        subprocess.run([sys.executable, "-c", "pass"], check=True)

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert column in done.stdout


@pytest.mark.parametrize(("held_s", "status"), [(0, 0), (0.2, 1)])
def test_a_test_suite_that_is_watched_fails_for_a_long_hold(tmp_path, held_s, status):
    [code] = [block for block in BLOCKS if "conftest.py" in block]
    # The limit of the test that passes is out of reach, also on a busy machine.
    (tmp_path / "conftest.py").write_text(code if held_s else code.replace("hold=0.1", "hold=100"))
    (tmp_path / "test_it.py").write_text(
        "from tests.integration.test_watch import Waiter\n"
        "def test_it(tmp_path):\n"
        "    waiter = Waiter(tmp_path)\n"
        f"    waiter.keep_waiting({held_s})\n"
        "    waiter.end()\n"
    )
    done = python("-m", "pytest", "-q", cwd=tmp_path, env={"PYTHONPATH": str(CHECKOUT)})
    assert done.returncode == status, done.stdout
    assert "1 passed" in done.stdout
    assert ("the GIL was held for 0." in done.stdout) == bool(held_s), done.stdout
