"""What every test relies on."""

import sys
import threading

import pytest

from gilscope import session


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """Blame a trace, a hook or a switch interval that stays on the test that left it."""
    delete, interval = threading.Thread._delete, sys.getswitchinterval()
    assert session.active() is None
    yield
    assert session.active() is None
    assert threading.Thread._delete is delete
    assert sys.getswitchinterval() == interval
