"""One call into C that keeps the GIL stops every other thread for as long as it lasts.

The eval loop checks for drop requests between bytecodes. A call into C happens inside one bytecode, so no
other thread can interrupt it. Two such calls: ``usleep`` through ``ctypes.PyDLL``, which keeps the GIL on
purpose, and a regular expression that tries every way to divide a row of ``a`` in vain. They are the
longest run intervals of the trace.

Run it with ``python examples/long_hold.py``.
"""

import ctypes
import re
import threading

import gilscope


def sleep_with_the_gil() -> None:
    ctypes.PyDLL(None).usleep(300_000)


def match_in_vain() -> None:
    re.match(r"(a+)+$", "a" * 23 + "b")


def beat(stop: threading.Event) -> None:
    while not stop.wait(0.001):
        pass


def main() -> None:
    stop = threading.Event()
    heartbeat = threading.Thread(target=beat, args=(stop,), name="heartbeat")
    with gilscope.trace(None) as t:
        heartbeat.start()
        for name, call in (("usleep", sleep_with_the_gil), ("regex", match_in_vain)):
            holder = threading.Thread(target=call, name=name)
            holder.start()
            holder.join()
        stop.set()
        heartbeat.join()

    names = t.threads.to_pandas().set_index("thread")["name"]
    intervals = t.intervals.to_pandas()
    intervals["end_ns"] = intervals["start_ns"] + intervals["duration_ns"]
    runs, waits = (intervals[intervals["state"] == state] for state in ("run", "wait"))
    for run in runs.nlargest(2, "duration_ns").itertuples():
        print(f"{names[run.thread]} held the GIL for {run.duration_ns / 1e6:.1f} ms in one piece; during it")
        for wait in waits[(waits["start_ns"] < run.end_ns) & (waits["end_ns"] > run.start_ns)].itertuples():
            overlap_ns = min(wait.end_ns, run.end_ns) - max(wait.start_ns, run.start_ns)
            print(f"  {names[wait.thread]} waited {overlap_ns / 1e6:.1f} ms")
    print("\nThe heartbeat wanted to beat every millisecond. No switch interval helps: the waiting threads")
    print("ask, but a call into C does not check. Use one that releases, as ctypes.CDLL does, or a process.")


if __name__ == "__main__":
    main()
