"""`gilscope.watch`: a mode to leave on, which reports long holds of the GIL while a thread waits."""

from gilscope.watching.longholds import LongHold, Place
from gilscope.watching.watches import Watch, watch

__all__ = ["LongHold", "Place", "Watch", "watch"]
