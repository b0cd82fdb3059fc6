"""Threads scale where C code releases the GIL, and only there.

Being written in C is not enough: ``zlib.crc32`` keeps the GIL for a piece of 4 KiB, because releasing it
would cost more than it saves, and two threads take turns as if they were pure Python. For a piece of 1 MiB
it releases the GIL, and two threads use two cores. ``zlib.compress`` always releases it.

Run it with ``python examples/release_in_c.py``.
"""

import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import gilscope

DATA = b"".join(b"%d," % i for i in range(200_000))[: 1 << 20]
PIECES = [DATA[i : i + 4096] for i in range(0, len(DATA), 4096)]


def crc_of_small_pieces(times: int) -> None:
    for piece in PIECES * times:
        zlib.crc32(piece)


def crc_of_big_pieces(times: int) -> None:
    for _ in range(times):
        zlib.crc32(DATA)


def compress(times: int) -> None:
    for _ in range(times):
        zlib.compress(DATA)


def compare(label: str, work: Callable[[int], None], times: int) -> None:
    began = time.perf_counter()
    work(2 * times)
    in_turn = time.perf_counter() - began
    with gilscope.trace(None) as t, ThreadPoolExecutor(2, thread_name_prefix="worker") as pool:
        list(pool.map(work, [times, times]))
    [cost] = gilscope.analysis.overhead(t).itertuples()
    let_go = (t.intervals.to_pandas()["release"] == "voluntary").sum()
    at_once = cost.wall_ns / 1e9
    speed_up = in_turn / at_once
    print(f"{label:30} {in_turn:8.3f} {at_once:9.3f} {speed_up:9.2f} {cost.held_share:9.1%} {let_go:7}")


def main() -> None:
    print(f"{'seconds':30} {'in turn':>8} {'2 threads':>9} {'speed-up':>9} {'GIL held':>9} {'let go':>7}")
    compare("zlib.crc32, pieces of 4 KiB", crc_of_small_pieces, 400)
    compare("zlib.crc32, pieces of 1 MiB", crc_of_big_pieces, 400)
    compare("zlib.compress, pieces of 1 MiB", compress, 10)
    print("\nWhere the GIL is held all the time, threads take turns. Where it is let go, they run at once.")


if __name__ == "__main__":
    main()
