"""Runs a script or a module as ``python`` would, inside a trace."""

from __future__ import annotations

import atexit
import os
import runpy
import signal
import sys
import types
from pathlib import Path

from gilscope.errors import OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gilscope.tracer import _Tracing


def run_program(tracing: _Tracing, command: list[str], *, module: bool) -> int:
    """Run a program under a trace that lasts until the interpreter exits.

    The trace includes the time in which the interpreter waits for the program's threads, as after any
    script, and ends at exit. The exit status, `SystemExit` and uncaught exceptions are the program's own.

    Args:
        tracing: what `gilscope.trace` returned.
        command: the script or module, and its arguments.
        module: whether ``command[0]`` is a module.

    Raises:
        OptionError: if the script does not exist.
    """
    if not module and not Path(command[0]).exists():
        raise OptionError(f"can't open file {command[0]!r}: no such script")
    sys.argv = list(command)
    # As python itself does. Until now the entry is the folder of the command gilscope, or "".
    if not sys.flags.safe_path:
        sys.path[0] = os.getcwd() if module else str(Path(command[0]).resolve().parent)
    atexit.register(_end_by_interrupt, interrupted := [])  # registered first, so called last
    tracing.__enter__()
    try:
        if module:
            runpy.run_module(command[0], run_name="__main__", alter_sys=True)
        else:
            _run_script(command[0])
    except SystemExit:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            interrupted.append(True)
        error = error.with_traceback(_without_our_frames(error.__traceback__))
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


def _end_by_interrupt(interrupted: list[bool]) -> None:
    """End the process by SIGINT, as python does after an uncaught KeyboardInterrupt: shells look for it."""
    if interrupted:
        sys.stdout.flush()
        sys.stderr.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)


def _run_script(script: str) -> None:
    path = Path(script)
    if path.is_dir() or path.suffix in (".zip", ".pyz"):
        runpy.run_path(script, run_name="__main__")
        return
    file = os.path.abspath(script)
    code = compile(path.read_bytes(), file, "exec", dont_inherit=True)
    main = types.ModuleType("__main__")
    main.__file__ = file
    main.__builtins__ = __builtins__  # type: ignore[attr-defined]
    sys.modules["__main__"] = main
    # Threads and atexit handlers may need the module's names after its last line.
    atexit.register(main.__dict__.get, "__name__")
    exec(code, main.__dict__)


def _without_our_frames(trace: types.TracebackType | None) -> types.TracebackType | None:
    """Return a traceback that begins with the first frame of the program."""
    ours = (__file__, runpy.__file__, "<frozen runpy>")
    while trace is not None and trace.tb_frame.f_code.co_filename in ours:
        trace = trace.tb_next
    return trace
