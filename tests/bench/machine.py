"""What the figures were taken on, and how busy others kept it meanwhile."""

from __future__ import annotations

import os
import platform
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

_CLOCKSOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")


def _processor() -> str:
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def load() -> str:
    """Return the load averages of the last 1, 5 and 15 minutes as text."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def facts() -> dict[str, str]:
    """Return what the machine and the interpreter are."""
    virtual = any(
        line.startswith("flags") and " hypervisor" in line for line in _lines(Path("/proc/cpuinfo"))
    )
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return {
        "processor": _processor() + (" (virtual machine)" if virtual else ""),
        "cores": f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}",
        "memory": f"{memory:.0f} GB",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "clocksource": " ".join(_lines(_CLOCKSOURCE)) or "unknown",
        "python": " ".join(sys.version.split()),
        "load": load(),
    }


def _busy_s() -> tuple[float, float]:
    """Return seconds that all processors have worked, and seconds the hypervisor took from them."""
    words = (_lines(Path("/proc/stat")) or ["cpu" + " 0" * 10])[0].split()[1:]
    tick = os.sysconf("SC_CLK_TCK")
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(w) / tick for w in words[:8])
    return user + nice + system + irq + softirq, steal


@dataclass(slots=True)
class Others:
    """How much of the machine others used since this was made."""

    _begun: float = field(default_factory=time.monotonic)
    _busy: tuple[float, float] = field(default_factory=_busy_s)
    _own: float = field(default_factory=lambda: sum(os.times()[:4]))

    def text(self) -> str:
        """Return how many cores others kept busy on average, and what the hypervisor took."""
        elapsed = max(time.monotonic() - self._begun, 0.01)
        busy, steal = _busy_s()
        others = max(busy - self._busy[0] - (sum(os.times()[:4]) - self._own), 0.0)
        stolen = steal - self._busy[1]
        return f"others used {others / elapsed:.2f} cores, the hypervisor took {stolen / elapsed:.2f}"
