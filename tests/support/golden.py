"""Makes golden files from a real recording: ``python -m tests.support.golden NAME``.

A golden spool is made once, when records of a new kind appear, and never again: the tables it gives are the
proof that old spools are still read as they were meant.
"""

import json
import sys
import threading
from pathlib import Path

from gilscope import _core
from gilscope.convert.conversion import Conversion
from gilscope.convert.spool import SpoolReader
from gilscope.record.intervalcalls import IntervalCalls
from gilscope.record.threadnames import ThreadNames
from gilscope.tables import schema
from gilscope.tables.stored import Tables

DATA = Path(__file__).parents[1] / "data"


def tables(file: Path, folder: Path) -> dict[str, list[dict[str, object]]]:
    """Return the tables that a spool gives, as plain rows."""
    with SpoolReader(file) as reader:
        totals = Conversion(reader, folder, interval_argument=False).run()
    recording = Tables(folder, {"duration_ns": totals.duration_ns, "edges": "exact"})
    return {name: recording.table(name).to_pylist() for name in schema.TABLES}


def record(file: Path) -> None:
    """Record two threads for a moment: names, a switch interval set on the way, marks and regions."""
    names, watch = ThreadNames(_core.name_thread), IntervalCalls(_core.note_interval)
    before = sys.getswitchinterval()
    recording = _core.start(file, exact=True, period_ns=5_000_000)["recording"]
    try:
        names.install()
        watch.install()
        threads = [threading.Thread(target=sum, args=(range(400_000),), name=n) for n in ("cpu-ä", "other")]
        exec(compile("import sys\nsys.setswitchinterval(0.0005)", "program.py", "exec"))
        _core.mark(recording, "half time, ä".encode())
        around = _core.region_begin(recording, b"around")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        _core.region_begin(recording, b"")  # does not end
        mover = threading.Thread(target=_core.region_end, args=(around,), name="mover")
        mover.start()
        mover.join()
        names.record_living()
    finally:
        watch.remove()
        names.remove()
        _core.stop()
        sys.setswitchinterval(before)


if __name__ == "__main__":
    import tempfile

    target = DATA / sys.argv[1]
    record(target.with_suffix(".spool"))
    with tempfile.TemporaryDirectory() as scratch:
        rows = tables(target.with_suffix(".spool"), Path(scratch))
    target.with_suffix(".json").write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
