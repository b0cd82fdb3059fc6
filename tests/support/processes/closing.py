"""Waiting until somebody who writes to a file closes it: no polling, the kernel tells."""

import ctypes
import os
import select


def closing(path):
    """Watch a file from now on; return what waits until it has been closed by someone who wrote to it."""
    libc = ctypes.CDLL(None, use_errno=True)
    in_close_write = 8
    watch = libc.inotify_init()
    if watch < 0 or libc.inotify_add_watch(watch, os.fsencode(path), in_close_write) < 0:
        raise OSError(ctypes.get_errno(), f"cannot watch {os.fspath(path)}")

    def wait():
        if not select.select([watch], [], [], 60)[0]:
            raise TimeoutError(f"nobody has closed {os.fspath(path)}")
        os.close(watch)

    return wait
