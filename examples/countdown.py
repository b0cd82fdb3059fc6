"""The textbook experiment: two threads count down no faster than one thread doing it twice.

The GIL lets one thread run Python code at a time, so two CPU-bound threads take turns: while one
runs, the other waits. The trace shows where the time went: how long each thread ran and waited, and the
hand-off overhead, which is the time the GIL was free although a thread was waiting for it.

Run it with ``python examples/countdown.py``.
"""

import sys
import threading
import time

import gilscope

START = 10_000_000


def countdown() -> None:
    n = START
    while n > 0:
        n -= 1


def in_two_threads() -> None:
    threads = [threading.Thread(target=countdown, name=f"countdown-{i}") for i in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    began = time.perf_counter()
    countdown()
    countdown()
    in_sequence = time.perf_counter() - began
    with gilscope.trace(None) as t:
        in_two_threads()

    [cost] = gilscope.analysis.overhead(t).itertuples()
    print(f"Two countdowns from {START:,}, one after the other: {in_sequence:.3f} s.")
    print(f"The same in two threads: {cost.wall_ns / 1e9:.3f} s. A second core does not help, because")
    table = gilscope.analysis.threads(t)
    for row in table[table["thread_name"].str.startswith("countdown")].itertuples():
        print(f"  {row.thread_name} ran {row.run_ns / 1e9:.3f} s and waited {row.wait_ns / 1e9:.3f} s")
    print(f"The GIL changed hands {cost.handoffs} times, {cost.forced} of them forced: a thread had waited")
    print(f"for a switch interval ({sys.getswitchinterval() * 1e3:g} ms) and asked the other to let go.")
    print(f"Hand-off overhead: {cost.overhead_ns / 1e6:.1f} ms, {cost.overhead_share:.1%} of the time.")


if __name__ == "__main__":
    main()
