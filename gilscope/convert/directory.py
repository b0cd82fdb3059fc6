"""Who the threads are: from the records that tell of threads, their names and their CPU time."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gilscope.convert import spool
from gilscope.errors import TraceFormatError
from gilscope.tables.rows import NO_TIME

MOST_THREADS = 1 << 20
"""As many as a record can tell apart."""
LONGEST_NAME = 4096
"""Bytes; what is behind them is cut off."""
UNKNOWN = 0
"""Native id of a thread of which the record that tells it was lost."""


@dataclass(slots=True)
class Thread:
    """One thread of a trace; times are nanoseconds since the start of the trace."""

    native_id: int
    interpreter: int = 0
    """Id of the interpreter whose GIL its first record is about."""
    ident: int | None = None
    name: str | None = None
    first_ns: int = 0
    last_ns: int = 0
    run_ns: int = 0
    wait_ns: int = 0
    cpu_first_ns: int = 0
    cpu_last_ns: int | None = None

    @property
    def cpu_ns(self) -> int:
        """The CPU time in the trace; `NO_TIME` if it was never read."""
        if self.cpu_last_ns is None:
            return NO_TIME
        return min(max(self.cpu_last_ns - self.cpu_first_ns, 0), spool.LATEST)

    @property
    def label(self) -> str:
        """The name, or the native id of a thread that the main interpreter did not start."""
        if self.name:
            return self.name
        native = f"native {self.native_id}" if self.native_id else "unknown thread"
        return f"interpreter {self.interpreter}, {native}" if self.interpreter else native


@dataclass(slots=True)
class _Said:
    """What one thread is in the middle of saying about a thread (mostly itself)."""

    about: Thread
    low: int = 0
    text: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class Directory:
    """The threads of a trace in order of appearance, and the names said of them.

    A native id is used again by the kernel: what is said of it goes to the newest thread that has it.

    Args:
        by_record: whether a thread appears with its first record (exact edges), or when
            the sampler sees it run or wait.
    """

    by_record: bool
    threads: list[Thread] = field(default_factory=list)
    _newest: dict[int, int] = field(default_factory=dict)
    _expected: dict[int, Thread] = field(default_factory=dict)  # known of, not yet appeared
    _said: dict[int, _Said] = field(default_factory=dict)
    _speakers: dict[int, int] = field(default_factory=dict)  # native ids
    _numbers: npt.NDArray[np.int32] = field(default_factory=lambda: np.full(MOST_THREADS, -1, np.int32))
    _unsettled: dict[int, int] = field(default_factory=dict)  # number of the GIL of its first record

    def appear(self, native_id: int, time_ns: int, interpreter: int = 0) -> int:
        """Enter a thread when it is first seen; return its number."""
        if len(self.threads) >= MOST_THREADS:
            raise TraceFormatError(f"more than {MOST_THREADS} threads appear, which no trace can hold")
        thread = self._expected.pop(native_id, None) or Thread(native_id)
        thread.interpreter = interpreter
        thread.first_ns = thread.last_ns = time_ns
        self.threads.append(thread)
        self._newest[native_id] = len(self.threads) - 1
        return len(self.threads) - 1

    def number_of(self, native_id: int, time_ns: int) -> int:
        """Return the number of the thread with this native id; enter it when it is new."""
        number = self._newest.get(native_id)
        return self.appear(native_id, time_ns) if number is None else number

    def number_of_speaker(self, speaker: int, time_ns: int) -> int:
        """Return the number of the thread that wrote a record; -1 where its first record was lost."""
        if self.by_record:
            return int(self.numbers(np.array([speaker], np.int32), np.array([time_ns], np.int64))[0])
        native_id = self._speakers.get(speaker)
        return -1 if native_id is None else self.number_of(native_id, time_ns)

    def numbers(self, speakers: npt.NDArray[np.int32], times: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Return the numbers of the threads that wrote records, in order; with exact edges.

        Threads of several GILs enter a trace at the same moment, and not always in the order in which the
        core numbered them. One whose first record was lost enters with the first that was not, as nobody
        knows who.
        """
        numbers = self._numbers[speakers]
        if len(numbers) and numbers.min() < 0:
            new, first = np.unique(speakers[numbers < 0], return_index=True)
            at = times[numbers < 0][first]
            for i in np.argsort(first).tolist():
                self._numbers[new[i]] = self.appear(UNKNOWN, int(at[i]))
            numbers = self._numbers[speakers]
        return numbers

    def number_of_silent(self, native_id: int, time_ns: int, interpreter: int) -> int:
        """Return the number of a thread that is said to have held another GIL all along.

        If it has spoken of anything meanwhile that was another thread: one that nobody knows.
        """
        silent = native_id != UNKNOWN and native_id not in self._newest
        return self.appear(native_id if silent else UNKNOWN, time_ns, interpreter)

    def _known(self, native_id: int) -> Thread:
        number = self._newest.get(native_id)
        if number is not None:
            return self.threads[number]
        if len(self._expected) >= MOST_THREADS:
            raise TraceFormatError(f"more than {MOST_THREADS} threads are told of, which no trace can hold")
        return self._expected.setdefault(native_id, Thread(native_id))

    def hear(self, kind: int, speaker: int, arg: int, time_ns: int, *, gil: int = 0) -> None:
        """Take in one record of a kind that is no transition.

        Args:
            kind: a record kind of `gilscope.convert.spool`.
            speaker: the number under which the core knows the thread that wrote it.
            arg: the record's argument.
            time_ns: when it was written.
            gil: the number of the GIL of which it was written.
        """
        if kind == spool.THREAD:
            self._speakers[speaker] = arg
            if self.by_record:
                number = self._numbers[speaker] = self.appear(arg, time_ns)
                if gil:
                    self._unsettled[number] = gil
        if kind in (spool.THREAD, spool.NAME):
            self._said[speaker] = _Said(self._known(arg))
            return
        if kind == spool.INTERVAL:
            self._said.pop(speaker, None)  # it goes on about something else
        said = self._said.get(speaker)
        if said is None:
            return  # its beginning was lost
        if kind in (spool.IDENT_LOW, spool.CPU_LOW):
            said.low = arg
        elif kind == spool.IDENT_HIGH:
            said.about.ident = arg << 32 | said.low
        elif kind == spool.CPU_HIGH:
            said.about.cpu_last_ns = arg << 32 | said.low
        elif kind == spool.TEXT and len(said.text) < LONGEST_NAME:
            said.text += arg.to_bytes(4, "little")
            said.about.name = bytes(said.text).rstrip(b"\0").decode("utf-8", "replace")

    def settle(self, gil: int, interpreter: int, threads: list[int]) -> None:
        """Take in whose GIL the one with this number is, of which these threads have just written."""
        for number in threads:
            if self._unsettled.get(number) == gil:
                self.threads[number].interpreter = interpreter
                del self._unsettled[number]

    def start_cpu(self, native_id: int, cpu_ns: int) -> None:
        """Take in the CPU time a thread had when the trace began."""
        self._known(native_id).cpu_first_ns = cpu_ns

    def cpu(self, native_id: int, cpu_ns: int) -> None:
        """Take in a later reading."""
        number = self._newest.get(native_id)
        # Less than before: another thread has this native id now, and has not appeared yet.
        if number is not None and cpu_ns >= (self.threads[number].cpu_last_ns or 0):
            self.threads[number].cpu_last_ns = cpu_ns
