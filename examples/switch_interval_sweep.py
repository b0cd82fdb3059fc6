"""The switch interval has no best value: a convoy wants a small one, two CPU-bound threads a large one.

Runs both programs under several intervals, prints what each gains, and draws both into one picture.
"""

import threading
import time

import gilscope

INTERVALS = [0.0001, 0.0005, 0.001, 0.005, 0.02]


def count(n: int = 3_000_000) -> None:
    """Keep a processor, and the GIL, busy."""
    while n:
        n -= 1


def two_cpu_bound_threads() -> None:
    threads = [threading.Thread(target=count, name=f"cpu-{i}") for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def convoy() -> None:
    """Forty round trips of 0.3 ms beside a thread that never stops of its own accord."""
    done = threading.Event()

    def spin() -> None:
        while not done.is_set():
            count(1000)

    cpu = threading.Thread(target=spin, name="cpu")
    io = threading.Thread(target=lambda: [time.sleep(0.0003) for _ in range(40)], name="io")
    cpu.start()
    io.start()
    io.join()
    done.set()
    cpu.join()


def main() -> None:
    for program in (convoy, two_cpu_bound_threads):
        result = gilscope.sweep(program, INTERVALS, repeats=5)
        print(f"{program.__name__}: {result.best()}")
        for row in result.summary().itertuples():
            print(
                f"  {row.interval_ns / 1e6:5.1f} ms: {row.metric * 1e3:6.1f} ms, {row.handoffs_per_s:6.0f} hand-offs/s"
            )
        if gilscope.plots.available():
            ax = result.plot()
            ax.set_title(program.__name__.replace("_", " "), loc="left", pad=24)
            ax.figure.savefig(f"sweep-{program.__name__}.png")


if __name__ == "__main__":
    main()
