"""Found first by every Python that a traced process starts: it records itself, then starts as it would have.

Pythons of any age and kind find this file, so it is written for all of them.
"""

import os
import sys

if __name__ == "sitecustomize":
    # Out of the way before anything else: nobody is to see that this folder was on the path.
    _here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [p for p in sys.path if os.path.abspath(p) != _here]
    _kept = sys.modules.pop(__name__, None)  # Python 2 clears a module that nobody refers to
    if sys.version_info >= (3, 11):  # noqa: UP036
        try:
            from gilscope.record.children import begin_at_startup

            begin_at_startup()
        except Exception:  # whatever it is, this program is not to suffer for it
            pass
    # The one that would have been found; site is prepared for there being none.
    import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
