"""The history of one GIL: its transitions, chunk by chunk, become intervals and hand-offs."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gilscope.convert import transitions as tr
from gilscope.convert.spool import ACQUIRE, RELEASE, REQUEST
from gilscope.convert.transitions import Transitions
from gilscope.tables.rows import NO_SITE


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold that was on when the trace began; ``native_id`` is 0 if the holder is unknown."""

    native_id: int
    start_ns: int


def interpreter_of(arg: int) -> int:
    """Return the interpreter's id that an argument is: the recorder stores its lower 31 bits."""
    return arg & 0x7FFF_FFFF


@dataclass(slots=True)
class GilHistory:
    """What is known of one GIL so far.

    Args:
        interpreter: id of its interpreter; None if the record that contains it was lost.
        held: the hold that was on when the trace began, until transitions are known.
    """

    interpreter: int | None
    held: Hold | None = None
    illegal: int = 0
    _carry: Transitions = field(default_factory=Transitions.none)
    _last_ns: int = 0

    def add(self, t: Transitions, arg: npt.NDArray[np.uint64]) -> tr.Folded:
        """Add transitions in order, with the arguments of their records; return the rows they give."""
        self._last_ns = int(t.time[-1])
        if self.interpreter is None:
            named = np.flatnonzero(t.kind != REQUEST)  # a request has another argument
            self.interpreter = interpreter_of(int(arg[named[0]])) if len(named) else None
        if self.held:
            self._let_go(t)
        return self._keep(tr.fold(self._carry.then(t), self.interpreter or 0))

    def _let_go(self, t: Transitions) -> None:
        """Find the end of the hold that was on when the trace began.

        Every acquire since has been recorded: if a release comes first, the hold was on all the while,
        and it was the releaser's. Else the holder was seen in the middle of taking it.
        """
        own = np.flatnonzero((t.kind == ACQUIRE) | (t.kind == RELEASE))
        if not len(own):
            return
        first = int(own[0])
        if self.held and t.kind[first] == RELEASE:
            begin = np.array([self.held.start_ns], np.int64)
            nowhere = np.array([NO_SITE], np.int32)
            acquire = Transitions(np.array([ACQUIRE], np.uint8), t.thread[first : first + 1], begin, nowhere)
            self._carry = acquire.then(self._carry)
        self.held = None

    def finish(self, time_ns: int | None = None) -> tr.Folded:
        """Return rows for what is open: it ends at this time, or with the last transition of this GIL."""
        end_ns = self._last_ns if time_ns is None else time_ns
        return self._keep(tr.finish(self._carry, end_ns, self.interpreter or 0))

    def _keep(self, folded: tr.Folded) -> tr.Folded:
        self._carry = folded.carry
        self.illegal += folded.illegal
        return folded
