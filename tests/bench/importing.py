"""``import gilscope``: how long it takes more than bare Python, and what it does not load."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

from gilscope.progress import progress_bar
from tests.bench.common import ROOT, TARGET, Bound, Figure, Plan, median, shuffled, spread

_LIGHT = Bound(30.0, TARGET)
_LAZY = Bound(0, TARGET)
_HEAVY = ("numpy", "pandas", "pyarrow", "viztracer", "rich")
_BARE, _IMPORT = "pass", "import gilscope"


def _wall_ms(code: str) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    return (time.perf_counter() - begun) * 1e3


def loaded(code: str) -> list[str]:
    """Return which heavy packages are loaded after running some code in a fresh Python."""
    show = f"{code}\nimport sys\nprint(*[name for name in {_HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", show], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.split()


def run(plan: Plan) -> Iterator[Figure]:
    """Start fresh processes with and without the import, in random order."""
    _wall_ms(_IMPORT)  # byte code is written once
    more, bare = [], []
    with progress_bar("import", plan.pairs) as done:
        for seed in range(plan.pairs):
            took = {code: _wall_ms(code) for code in shuffled((_BARE, _IMPORT), seed)}
            more.append(took[_IMPORT] - took[_BARE])
            bare.append(took[_BARE])
            done(seed + 1)
    note = f"{spread(more, 1)}; bare Python {median(bare):.1f} ms"
    yield Figure("import gilscope, more than bare Python", median(more), "ms", _LIGHT, note=note)
    found = loaded(_IMPORT)
    note = ", ".join(found) if found else f"none of {', '.join(_HEAVY)}"
    yield Figure("heavy packages loaded by the import", len(found), "", _LAZY, note=note)
    with_core = loaded("import gilscope\nwith gilscope.trace(None) as t: pass\nimport gilscope.errors")
    yield Figure("heavy packages loaded by a trace", len(with_core), "", note=", ".join(with_core))
