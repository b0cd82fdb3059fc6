"""Small sound traces to begin with: recorded, sampled, unfinished, and the golden spools."""

import tempfile
from functools import cache
from pathlib import Path

import gilscope
from gilscope.convert import spool
from tests.fuzz import files as f
from tests.fuzz.files import Files
from tests.support.drawn.spools import Spool, appears, says
from tests.support.processes.programs import run_threads, spin

DATA = Path(__file__).parents[1] / "data"
RECORDED = 5
"""Which of the seeds is a trace with tables, recorded with exact edges."""

FACTS = {
    "gilscope_version": "0.1.0",
    "python_version": "3.11.7",
    "pid": 4242,
    "argv": ["program.py"],
    "edges": "exact",
    "complete": False,
    "not_measured": [],
}


def unfinished(data: bytes, **facts: object) -> Files:
    """Return what a killed process leaves: its spool, and the metadata of the beginning."""
    return f.with_metadata({f.SPOOL: data}, {**FACTS, **facts})


def _located() -> Spool:
    """Return a spool with sites: a function of a program, called from its module."""
    code = compile("def f():\n    pass\nf()", "program.py", "exec")
    s = Spool().batch(0)
    s.describe(
        [(0, 1, "<module>", "program.py", code.co_linetable), (1, 1, "f", "program.py", b"\x80\x00")],
        [(3, 1, 0, 4), (4, 3, 1, 0), (5, 2, 1, 2)],
    )
    begun = [(spool.BEGIN, 0, 0, 1), *appears(0, 7, 1), (spool.RELEASE, 0, 4, 5)]
    s.batch(10, [*begun, (spool.REQUEST, 0, 5000, 6), (spool.ACQUIRE, 0, 0, 7)])
    s.describe(sites=[(6, 4, 1, 0)])
    return s.batch(20, [(spool.RELEASE, 0, 6, 12), (spool.ACQUIRE, 0, 0, 14), (spool.END, 0, 0, 18)]).last(21)


def _told() -> Spool:
    """Return a spool with a name, a call of setswitchinterval, a hole, and CPU times."""
    s = Spool().batch(0, cpus=[(7, 100)])
    begun = [(spool.BEGIN, 0, 0, 1), *appears(0, 7, 1), (spool.RELEASE, 0, 0, 5)]
    s.batch(
        10,
        [*begun, *appears(1, 8, 6), (spool.REQUEST, 1, 5000, 6), (spool.ACQUIRE, 1, 0, 7)],
        cpus=[(7, 200)],
    )
    call = [(spool.INTERVAL, 1, 500, 12), (spool.INTERVAL_WAS, 1, 5000, 12), (spool.LINE, 1, 3, 12)]
    s.batch(20, [*says(1, 8, "worker", 11), *call, (spool.TEXT, 1, 0x79702E61, 12), (spool.TEXT, 1, 0, 12)])
    s.batch(
        30,
        [
            (spool.LOST, 1, 3, 22),
            (spool.RELEASE, 1, 0, 25),
            (spool.CPU_LOW, 1, 9, 26),
            (spool.CPU_HIGH, 1, 0, 26),
        ],
    )
    return s.batch(40, [(spool.ACQUIRE, 0, 0, 32), (spool.END, 0, 0, 38)]).last(41)


def _seen() -> Spool:
    """Return a spool with sampled edges."""
    s = Spool(flags=spool.SAMPLED | spool.COUNTED)
    for i in range(12):
        states = [(7 + i % 2, spool.STATE_RUN), (8 - i % 2, spool.STATE_WAIT), (9, spool.STATE_READY)]
        s.batch(
            1_000_000 * (i + 1), says(0, 7, "seen", 0) if i == 3 else (), states=states, switches=i, waiters=1
        )
    return s.last(13_000_000)


@cache
def seeds() -> tuple[Files, ...]:
    out = [unfinished((DATA / f"{name}.spool").read_bytes()) for name in ("golden", "golden-calls")]
    out += [
        unfinished(bytes(_told().data)),
        unfinished(bytes(_seen().data), edges="sampled"),
        unfinished(bytes(_located().data)),
    ]
    with tempfile.TemporaryDirectory() as scratch:
        for edges in ("exact", "sampled"):
            path = Path(scratch) / edges
            with gilscope.trace(path, edges=edges, quiet=True):
                run_threads(lambda: spin(0.03), lambda: spin(0.03))
            out.append(f.read(path))
        for i, made in enumerate(out[2:4]):
            t = gilscope.load(f.write(made, Path(scratch) / f"made{i}"))
            out.append(f.read(t.save(Path(scratch) / f"saved{i}")))
    return tuple(out)
