"""The threads of a trace: from the records about threads, their names and their CPU time."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gilscope.convert import spool
from gilscope.errors import TraceFormatError
from gilscope.tables.rows import NO_TIME

MOST_THREADS = 1 << 20
"""The number of threads that a record can distinguish."""
LONGEST_NAME = 4096
"""Bytes; the rest of a longer name is cut off."""
UNKNOWN = 0
"""Native id of a thread whose first record was lost."""


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
class _Description:
    """What one thread has recorded so far about a thread, mostly itself."""

    about: Thread
    low: int = 0
    text: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class Threads:
    """The threads of a trace in order of appearance, and their names.

    The kernel reuses native ids: a record about one belongs to the newest thread that has it.

    Args:
        by_record: whether a thread appears with its first record (exact edges), or when
            the sampler sees it run or wait.
    """

    by_record: bool
    in_order: list[Thread] = field(default_factory=list)
    _newest: dict[int, int] = field(default_factory=dict)
    _expected: dict[int, Thread] = field(default_factory=dict)  # described, but not yet seen
    _open: dict[int, _Description] = field(default_factory=dict)
    _speakers: dict[int, int] = field(default_factory=dict)  # native ids
    _numbers: npt.NDArray[np.int32] = field(default_factory=lambda: np.full(MOST_THREADS, -1, np.int32))
    _undecided: dict[int, int] = field(default_factory=dict)  # number of the GIL of its first record

    def appear(self, native_id: int, time_ns: int, interpreter: int = 0) -> int:
        """Enter a thread when it is first seen; return its number."""
        if len(self.in_order) >= MOST_THREADS:
            raise TraceFormatError(f"more than {MOST_THREADS} threads appear, which no trace can hold")
        thread = self._expected.pop(native_id, None) or Thread(native_id)
        thread.interpreter = interpreter
        thread.first_ns = thread.last_ns = time_ns
        self.in_order.append(thread)
        self._newest[native_id] = len(self.in_order) - 1
        return len(self.in_order) - 1

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
        core numbered them. A thread whose first record was lost enters with its next record, as an unknown
        thread.
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
        """Return the number of a thread that held another GIL during the whole trace.

        If a thread with this native id has written records, the holder is another, unknown thread.
        """
        silent = native_id != UNKNOWN and native_id not in self._newest
        return self.appear(native_id if silent else UNKNOWN, time_ns, interpreter)

    def _known(self, native_id: int) -> Thread:
        number = self._newest.get(native_id)
        if number is not None:
            return self.in_order[number]
        if len(self._expected) >= MOST_THREADS:
            raise TraceFormatError(f"more than {MOST_THREADS} threads are described, which no trace can hold")
        return self._expected.setdefault(native_id, Thread(native_id))

    def read(self, kind: int, speaker: int, arg: int, time_ns: int, *, gil: int = 0) -> None:
        """Read one record that is not a transition.

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
                    self._undecided[number] = gil
        if kind in (spool.THREAD, spool.NAME):
            self._open[speaker] = _Description(self._known(arg))
            return
        if kind == spool.INTERVAL:
            self._open.pop(speaker, None)  # what follows is about a switch interval
        description = self._open.get(speaker)
        if description is None:
            return  # its beginning was lost
        if kind in (spool.IDENT_LOW, spool.CPU_LOW):
            description.low = arg
        elif kind == spool.IDENT_HIGH:
            description.about.ident = arg << 32 | description.low
        elif kind == spool.CPU_HIGH:
            description.about.cpu_last_ns = arg << 32 | description.low
        elif kind == spool.TEXT and len(description.text) < LONGEST_NAME:
            description.text += arg.to_bytes(4, "little")
            description.about.name = bytes(description.text).rstrip(b"\0").decode("utf-8", "replace")

    def set_interpreter(self, gil: int, interpreter: int, threads: list[int]) -> None:
        """Set the interpreter of threads that have written records of its GIL."""
        for number in threads:
            if self._undecided.get(number) == gil:
                self.in_order[number].interpreter = interpreter
                del self._undecided[number]

    def start_cpu(self, native_id: int, cpu_ns: int) -> None:
        """Set the CPU time that a thread had when the trace began."""
        self._known(native_id).cpu_first_ns = cpu_ns

    def cpu(self, native_id: int, cpu_ns: int) -> None:
        """Set a later reading of a thread's CPU time."""
        number = self._newest.get(native_id)
        # Less than before: another thread has this native id now, and has not appeared yet.
        if number is not None and cpu_ns >= (self.in_order[number].cpu_last_ns or 0):
            self.in_order[number].cpu_last_ns = cpu_ns
