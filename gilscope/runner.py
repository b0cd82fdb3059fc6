"""Runs a script or a module as ``python`` would, inside a trace."""

from __future__ import annotations

import atexit
import os
import runpy
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING

from gilscope.errors import OptionError

if TYPE_CHECKING:
    from gilscope.tracer import _Tracing


def run(tracing: _Tracing, command: list[str], *, module: bool) -> int:
    """Run a program under a trace that lasts until the interpreter exits.

    The trace goes on while the interpreter waits for the program's threads, as it does after any script,
    and ends at exit. The exit status, `SystemExit` and uncaught exceptions are the program's own.

    Args:
        tracing: what `gilscope.trace` returned.
        command: the script or module, and its arguments.
        module: whether ``command[0]`` is a module.

    Raises:
        OptionError: there is no such script.
    """
    if not module and not Path(command[0]).exists():
        raise OptionError(f"can't open file {command[0]!r}: no such script")
    sys.argv = list(command)
    # Where python itself would put it; what stands there is the folder of the command gilscope, or "".
    if not sys.flags.safe_path:
        sys.path[0] = os.getcwd() if module else str(Path(command[0]).resolve().parent)
    tracing.__enter__()
    try:
        if module:
            runpy.run_module(command[0], run_name="__main__", alter_sys=True)
        else:
            _run_script(command[0])
    except SystemExit:
        raise
    except BaseException as error:
        # The interpreter prints it, and the traceback begins with the program's own frames.
        raise _without_our_frames(error) from None
    return 0


def _run_script(script: str) -> None:
    path = Path(script)
    if path.is_dir() or path.suffix in (".zip", ".pyz"):
        runpy.run_path(script, run_name="__main__")
        return
    code = compile(path.read_bytes(), script, "exec", dont_inherit=True)
    main = types.ModuleType("__main__")
    main.__file__ = script
    main.__builtins__ = __builtins__  # type: ignore[attr-defined]
    sys.modules["__main__"] = main
    # Threads and atexit handlers may need the module's names after its last line.
    atexit.register(main.__dict__.get, "__name__")
    exec(code, main.__dict__)


def _without_our_frames(error: BaseException) -> BaseException:
    ours = {__file__, runpy.__file__}
    trace = error.__traceback__
    while trace is not None and (
        trace.tb_frame.f_code.co_filename in ours or trace.tb_frame.f_code.co_filename == "<frozen runpy>"
    ):
        trace = trace.tb_next
    return error.with_traceback(trace)
