"""The progress bar appears on a terminal only, and only for long work."""

import sys

import pytest

from gilscope import progress


@pytest.mark.parametrize(
    ("tty", "quiet", "patience", "shown"),
    [
        (True, False, 0.0, True),
        (True, False, 60.0, False),
        (False, False, 0.0, False),
        (True, True, 0.0, False),
    ],
)
def test_a_bar_is_shown_when_it_helps(monkeypatch, capsys, tty, quiet, patience, shown):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: tty, raising=False)
    monkeypatch.setattr(progress, "PATIENCE_S", patience)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress.progress_bar("counting sheep", 10, quiet=quiet) as done:
        done(5)
        done(10)
    assert ("counting sheep" in capsys.readouterr().err) == shown
