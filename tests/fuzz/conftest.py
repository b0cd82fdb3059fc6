"""What tests of hostile traces share."""

import pytest

import gilscope
from tests.fuzz import files as f


@pytest.fixture
def load(tmp_path):
    """Return what loads files as a trace."""

    def run(files: f.Files) -> gilscope.Trace:
        return gilscope.load(f.write(files, tmp_path / "t.gilscope"))

    return run
