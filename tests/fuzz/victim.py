"""Uses all of gilscope that reads a trace. Whatever is in the trace, only a `GilscopeError` may come out."""

import contextlib
import io
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gilscope
from gilscope import analysis, cli
from gilscope.errors import GilscopeError
from gilscope.tables import schema

HELPERS: tuple[Callable[[Any], Any], ...] = (
    analysis.threads,
    analysis.overhead,
    lambda t: analysis.overhead(t, by="thread"),
    lambda t: analysis.overhead(t, by="interpreter"),
    lambda t: analysis.overhead(t, by=t.metadata["duration_ns"] / 5e9),
    analysis.handoffs,
    analysis.holds,
    lambda t: analysis.holds(t, over=0.001),
    analysis.blame,
    analysis.convoys,
    lambda t: analysis.timeline(t, window=t.metadata["duration_ns"] / 7e9),
    analysis.fairness,
    lambda t: analysis.compare([t, t], t),
    analysis.findings,
    analysis.switch_interval,
)


def _uses(t: gilscope.Trace, *, html: bool) -> Iterator[Callable[[], Any]]:
    """Yield everything that can be done with a trace: some of it may be refused, the rest still be had."""
    yield lambda: json.dumps(t.metadata)
    for name in schema.TABLES:
        yield lambda name=name: t.table(name).to_pandas()
        yield lambda name=name: [b.to_pylist() for b in t.batches(name)]
    for helper in HELPERS:
        yield lambda helper=helper: helper(t)
    yield lambda: t.report().encode("utf-8")
    yield lambda: json.loads(t.report(format="json"))
    if html:
        yield lambda: t.report(format="html").encode("utf-8")
    yield lambda: _timeline(t)


def _timeline(t: gilscope.Trace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = t.to_viztracer(Path(folder) / "timeline.json")
        json.loads(file.read_text(encoding="utf-8"))


def use(folder: Path, *, html: bool = False, commands: bool = True) -> int:
    """Load a trace and use everything; return how many uses were not refused."""
    with warnings.catch_warnings():
        # Arithmetic on nonsense may say so.
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            t = gilscope.load(folder)
        except GilscopeError:
            return 0
        done = 0
        for one in _uses(t, html=html):
            with contextlib.suppress(GilscopeError):
                one()
                done += 1
        if commands:
            _commands(folder)
    return done


def _commands(folder: Path) -> None:
    for words in (["report"], ["info"]):
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = cli.main([*words, str(folder)])
        assert status in (0, 2), words
        assert err.getvalue().startswith("gilscope: ") if status else not err.getvalue()
