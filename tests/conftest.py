"""What every test relies on."""

import signal
import sys
import threading

import pytest
from hypothesis import settings

from gilscope.record import session

# A shell starts what runs in its background with Ctrl-C ignored, and that is inherited: programs under test
# would never be interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)

# For interpreters after the first: what is drawn at random does not depend on them.
settings.register_profile("brief", max_examples=15)


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """Blame a trace, a watch, a hook or a switch interval that stays on the test that left it."""
    delete, interval = threading.Thread._delete, sys.getswitchinterval()
    assert session.active() is None
    yield
    assert session.active() is None
    assert "gilscope.watch" not in [thread.name for thread in threading.enumerate()]
    assert threading.Thread._delete is delete
    assert sys.getswitchinterval() == interval
