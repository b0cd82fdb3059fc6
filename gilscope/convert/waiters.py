"""Chooses which of the candidates waited at a tick, where sampling saw only their number."""

import numpy as np
import numpy.typing as npt

from gilscope.convert import spool

Int = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_SEED = 20  # any: the same spool gives the same tables
_ASLEEP_ODDS = 1e4  # of a thread seen asleep on the GIL's condition, a moment after the count


class WaiterChoice:
    """Chooses which threads waited for the GIL at each tick.

    The GIL's condition counts all threads that wait. Sampling sees which threads sleep on it; a waiter that
    was woken and has not got the GIL yet looks like any thread that is ready to run. If all ready threads
    are missing from the count of sleepers, all of them waited; if no waiter is missing, none of them did.
    Otherwise the missing number is drawn, with the odds that each thread showed at unambiguous ticks: a share
    of time is then right on average, though a single tick may name the wrong thread.
    """

    def __init__(self) -> None:
        self._random = np.random.default_rng(_SEED)
        self._waited = np.ones(0)  # of each thread: ticks at which it was ready and surely waited ...
        self._off = np.ones(0)  # ... or surely did not; both begin at one (Laplace's rule)

    def waits(self, tick: Int, thread: npt.NDArray[np.int32], state: Int, waiters: Int) -> Mask:
        """Return which states are waits.

        Args:
            tick: number of the tick at which each state was seen, not decreasing.
            thread: number of the thread it was seen of.
            state: ``STATE_RUN``, ``STATE_WAIT`` (asleep on the condition) or ``STATE_READY``.
            waiters: how many threads waited, by tick.
        """
        ready = state == spool.STATE_READY
        asleep = state == spool.STATE_WAIT
        n_ready = np.bincount(tick[ready], minlength=len(waiters))
        missing = waiters - np.bincount(tick[asleep], minlength=len(waiters))
        self._learn(thread[ready & (missing >= n_ready)[tick]], thread[ready & (missing <= 0)[tick]], thread)
        odds = np.where(asleep, _ASLEEP_ODDS, (self._waited / self._off)[thread])
        # The k largest of log(odds) + Gumbel noise are a draw of k without replacement (Yellott 1977).
        key = np.log(odds) + self._random.gumbel(size=len(odds))
        may = np.flatnonzero(ready | asleep)
        order = may[np.lexsort((-key[may], tick[may]))]
        place = np.arange(len(order)) - np.searchsorted(tick[order], tick[order])
        chosen = np.zeros(len(tick), np.bool_)
        chosen[order[place < waiters[tick[order]]]] = True
        return chosen

    def _learn(
        self,
        waited: npt.NDArray[np.int32],
        off: npt.NDArray[np.int32],
        all_threads: npt.NDArray[np.int32],
    ) -> None:
        size = max(int(all_threads.max(initial=-1)) + 1, len(self._off))
        more = np.ones(size - len(self._off))
        self._waited = np.concatenate((self._waited, more)) + np.bincount(waited, minlength=size)
        self._off = np.concatenate((self._off, more)) + np.bincount(off, minlength=size)
