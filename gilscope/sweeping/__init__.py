"""`gilscope.sweep`: the same work under several switch intervals."""

from gilscope.sweeping.sweeps import INTERVALS, Best, Sweep, sweep

__all__ = ["INTERVALS", "Best", "Sweep", "sweep"]
