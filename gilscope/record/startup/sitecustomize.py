"""Found first by every Python that a traced process starts: begins its recording, then imports the original.

Pythons of all versions and implementations find this file, so its syntax must be valid in all of them.
"""

import os
import sys

if __name__ == "sitecustomize":
    # First of all: the program must not see that this folder was on the path.
    _here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [p for p in sys.path if os.path.abspath(p) != _here]
    _kept = sys.modules.pop(__name__, None)  # Python 2 clears a module without references
    if sys.version_info >= (3, 11):  # noqa: UP036
        try:
            from gilscope.record.children import begin_at_startup

            begin_at_startup()
        except Exception:  # of any kind: the program must run as without us
            pass
    # The module that would have been found; site handles the error if there is none.
    import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
