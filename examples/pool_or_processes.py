"""The same CPU-bound work in a pool of threads and in a pool of processes, and what each costs.

Threads start at once and share their memory, but also one GIL: one of them runs, the others wait.
Processes have a GIL each. They pay at the start, with a whole interpreter each, and for every argument
and result, which must be pickled.

Run it with ``python examples/pool_or_processes.py``.
"""

import multiprocessing
import os
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor

import gilscope

LIMITS = [100_000] * 4


def count_primes(limit: int) -> int:
    return sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(2, limit))


def seconds(pool: Executor) -> float:
    began = time.perf_counter()
    list(pool.map(count_primes, LIMITS))
    return time.perf_counter() - began


def main() -> None:
    began = time.perf_counter()
    list(map(count_primes, LIMITS))
    print(f"One after the other, the work takes {time.perf_counter() - began:.3f} s.")

    with gilscope.trace(None) as t, ThreadPoolExecutor(2, thread_name_prefix="worker") as threads:
        in_threads = seconds(threads)
    table = gilscope.analysis.threads(t)
    workers = table[table["thread_name"].str.startswith("worker")]
    ran, waited = workers["run_ns"].sum() / 1e9, workers["wait_ns"].sum() / 1e9
    [cost] = gilscope.analysis.overhead(t).itertuples()
    print(f"Two threads take {in_threads:.3f} s. They ran {ran:.3f} s and waited {waited:.3f} s for the GIL.")
    print(f"It changed hands {cost.handoffs} times; hand-off overhead: {cost.overhead_share:.1%} of it all.")

    # Processes belong outside the trace: it sees the threads of this process only.
    began = time.perf_counter()
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as processes:
        processes.submit(os.getpid).result()
        start_up = time.perf_counter() - began
        in_processes = seconds(processes)
    print(f"Two processes take {in_processes:.3f} s, and {start_up:.3f} s before that until the first is up.")
    print("They have a GIL each and never wait for the other's.")


if __name__ == "__main__":
    main()
