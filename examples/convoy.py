"""The convoy: beside a CPU-bound thread, every round trip of an I/O thread costs a switch interval.

A thread releases the GIL while it waits for an answer, and must acquire it again to continue. By then the
CPU-bound thread holds it, and receives a drop request only after a switch interval: 5 ms. So a round trip
of half a millisecond takes ten times as long, and the rest is waiting for the GIL.

Run it with ``python examples/convoy.py``, then look at it with ``gilscope view convoy.gilscope``.
"""

import socket
import subprocess
import sys
import threading
import time
from statistics import median

import gilscope

SERVER = """
import socket, time
connection = socket.socket(fileno=0)
while question := connection.recv(4):
    time.sleep(0.0005)
    connection.sendall(question)
"""


def crunch(stop: threading.Event) -> None:
    while not stop.is_set():
        sum(range(1000))


def ask(connection: socket.socket, times_ms: list[float]) -> None:
    for _ in range(200):
        began = time.perf_counter()
        connection.sendall(b"ping")
        connection.recv(4)
        times_ms.append(1e3 * (time.perf_counter() - began))


def main() -> None:
    ours, theirs = socket.socketpair()
    alone: list[float] = []
    beside: list[float] = []
    stop = threading.Event()
    cpu = threading.Thread(target=crunch, args=(stop,), name="cpu")
    io = threading.Thread(target=ask, args=(ours, beside), name="io")
    with subprocess.Popen([sys.executable, "-c", SERVER], stdin=theirs.fileno()), ours, theirs:
        ask(ours, alone)
        with gilscope.trace("convoy.gilscope", overwrite=True) as t:
            cpu.start()
            io.start()
            io.join()
            stop.set()
            cpu.join()

    table = gilscope.analysis.threads(t)
    [row] = table[table["thread_name"] == "io"].itertuples()
    wait_ms, interval_ms = row.wait_p50_ns / 1e6, sys.getswitchinterval() * 1e3
    print(f"A round trip to a server takes {median(alone):.3f} ms.")
    print(f"Beside a CPU-bound thread it takes {median(beside):.3f} ms. In {len(beside)} round trips")
    print(f"the io thread waited {row.waits} times for the GIL, {wait_ms:.3f} ms each (median): the cpu")
    print(f"thread releases it only when asked to, after a switch interval of {interval_ms:g} ms.\n")
    print(t.report())
    print("To look at it: gilscope view convoy.gilscope")


if __name__ == "__main__":
    main()
