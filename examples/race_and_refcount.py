"""What the GIL protects, and what it does not.

It protects the interpreter: reference counts, and operations of one step in C, such as ``list.append``. It
does not protect operations of several steps: read a number, add one, write it back. If the GIL changes
hands in between, the late write discards all that the other thread has added.

Since CPython 3.10 a running thread hands over only at backward jumps and calls, so a bare ``n += 1``
loses nothing. That is not guaranteed: 3.9 loses updates there, and so may the next version. With a
call between read and write, every version loses them.

Run it with ``python examples/race_and_refcount.py``.
"""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import gilscope

UPDATES = 3_000_000
thing = object()
shared = SimpleNamespace(things=[], n=0)


def append(times: int) -> None:
    for _ in range(times):
        shared.things.append(thing)


def add_one(times: int) -> None:
    for _ in range(times):
        shared.n += 1


def plus_one(n: int) -> int:
    return n + 1


def add_one_by_call(times: int) -> None:
    for _ in range(times):
        shared.n = plus_one(shared.n)


def handoffs(work: Callable[[int], None]) -> int:
    with gilscope.trace(None) as t, ThreadPoolExecutor(2, thread_name_prefix=work.__name__) as pool:
        list(pool.map(work, [UPDATES, UPDATES]))
    return len(t.handoffs)


def main() -> None:
    print(f"Two threads, {UPDATES:,} updates each:")
    before = sys.getrefcount(thing)
    count = handoffs(append)
    added = sys.getrefcount(thing) - before
    print(f"append: {len(shared.things):,} in the list, {added:,} references added, {count} hand-offs")
    for code, work in (("n += 1", add_one), ("n = plus_one(n)", add_one_by_call)):
        shared.n = 0
        count = handoffs(work)
        print(f"{code}: n is {shared.n:,}, {2 * UPDATES - shared.n:,} updates lost, {count} hand-offs")
    print("\nThe GIL keeps lists and reference counts whole, not your sums: for those, use threading.Lock.")


if __name__ == "__main__":
    main()
