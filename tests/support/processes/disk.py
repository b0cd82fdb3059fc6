"""A disk in the test's hand: what a program's recorder writes waits until the test lets it, or is refused.

The kernel asks a supervisor about each `writev` (seccomp's user notification, which needs no privilege); the
sampler writes its spool with nothing else, and nothing else in the program calls it.
"""

import ctypes
import fcntl
import os
import platform
import select
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_CALLS = {"x86_64": (317, 20), "aarch64": (277, 66)}  # numbers of seccomp and writev
_NO_NEW_PRIVS, _SET_MODE_FILTER, _NEW_LISTENER = 38, 1, 8
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ASK, _ALLOW = 0x7FC00000, 0x7FFF0000
_RECEIVE, _ANSWER = 0xC0502100, 0xC0182101
_CONTINUE = 1
ROOT = Path(__file__).parents[2]


def hand_over(descriptor: int) -> None:
    """Give this process's disk to whoever is at the other end of a socket; threads made later are in it too.

    Args:
        descriptor: of a Unix socket. An empty message goes through it where the kernel does not do this.
    """
    seccomp, writev = _CALLS[platform.machine()]
    rules = ((_LOAD, 0, 0, 0), (_JUMP_IF_EQUAL, 0, 1, writev), (_RETURN, 0, 0, _ASK), (_RETURN, 0, 0, _ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(rules), ctypes.addressof(code)))
    libc = ctypes.CDLL(None)
    libc.syscall.restype = ctypes.c_long
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    listener = libc.syscall(seccomp, _SET_MODE_FILTER, _NEW_LISTENER, program)
    with socket.socket(fileno=descriptor) as s:
        if listener >= 0:
            socket.send_fds(s, [b"disk"], [listener])
            os.close(listener)


class Disk(threading.Thread):
    """Answers for a program's disk: at once, unless it is held.

    Args:
        listener: what `hand_over` sent.
    """

    def __init__(self, listener: int) -> None:
        super().__init__(daemon=True)
        self._listener = listener
        self._changed = threading.Condition()
        self._held = self._writing = False
        self._error = 0
        self.start()

    def hold(self) -> None:
        """Let nothing through from now on; return when somebody stands there and waits to write."""
        with self._changed:
            self._held = True
            self._changed.wait_for(lambda: self._writing)

    def let_go(self, error: int = 0) -> None:
        """Let everything through, or refuse it with an error number."""
        with self._changed:
            self._held, self._error = False, error
            self._changed.notify_all()

    def run(self) -> None:
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        while not any(event & select.POLLHUP for _, event in poll.poll()):
            asked = bytearray(80)
            fcntl.ioctl(self._listener, _RECEIVE, asked)
            with self._changed:
                self._writing = True
                self._changed.notify_all()
                self._changed.wait_for(lambda: not self._held)
                self._writing = False
                error = self._error
            answer = struct.pack(
                "QqiI", *struct.unpack_from("Q", asked), 0, -error, 0 if error else _CONTINUE
            )
            fcntl.ioctl(self._listener, _ANSWER, answer)
        os.close(self._listener)


@contextmanager
def program_on_a_disk(script: str, cwd: Path) -> Iterator[tuple[subprocess.Popen[str], Disk]]:
    """Run a Python program whose disk is in the test's hand; skip where the kernel does not do this."""
    if platform.machine() not in _CALLS:
        pytest.skip(f"no numbers of system calls for {platform.machine()}")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    begin = f"from tests.support.processes import disk; disk.hand_over({theirs.fileno()})\n"
    with (
        ours,
        subprocess.Popen(
            [sys.executable, "-c", begin + script],
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as program,
    ):
        theirs.close()
        _, descriptors, _, _ = socket.recv_fds(ours, 16, 1)
        if not descriptors:
            program.kill()
            pytest.skip("the kernel lets no process answer for another's system calls (seccomp)")
        disk = Disk(descriptors[0])
        try:
            yield program, disk
        finally:
            disk.let_go()
