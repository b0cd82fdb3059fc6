"""What the switch interval changes: a convoy gains by a small one, CPU-bound threads do not.

Run it with ``python examples/switch_interval_sweep.py``. It runs both programs under several intervals,
prints the gain of each, and draws both into switch_interval_sweep.png (if gilscope[plot] is installed).
"""

import threading
import time

import gilscope

INTERVALS = [0.0001, 0.0005, 0.005, 0.02]


def count(n: int) -> None:
    while n:
        n -= 1


def cpu_bound() -> None:
    threads = [threading.Thread(target=count, args=(3_000_000,), name=f"cpu-{i}") for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def convoy() -> None:
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
    programs = {"convoy": convoy, "two CPU-bound threads": cpu_bound}
    results = {name: gilscope.sweep(program, INTERVALS, repeats=5) for name, program in programs.items()}
    for name, result in results.items():
        print(f"{name}:\n{result.report()}")
    if gilscope.plots.available():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 8), layout="constrained")
        for ax, (name, result) in zip(figure.subplots(2), results.items(), strict=True):
            result.plot(ax).set_title(name, loc="left", pad=24)
        figure.savefig("switch_interval_sweep.png")


if __name__ == "__main__":
    main()
