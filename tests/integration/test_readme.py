"""What the README shows runs as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import gilscope

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)


@pytest.mark.parametrize("library", ["polars", "duckdb"])
def test_other_libraries_read_a_trace(tmp_path, library):
    pytest.importorskip(library)
    [code] = [block for block in BLOCKS if f"import {library}" in block]
    with gilscope.trace(tmp_path / "run.gilscope"):
        subprocess.run([sys.executable, "-c", "pass"], check=True)

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert "p99_ns" in done.stdout or "count" in done.stdout
