"""Further interpreters in this process, by whatever name this Python has them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

needs_own_gil = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="interpreters with GILs of their own come with CPython 3.12"
)
needs_pool = pytest.mark.skipif(
    sys.version_info < (3, 14), reason="InterpreterPoolExecutor comes with CPython 3.14"
)


class Interpreter:
    """Another interpreter.

    Args:
        own_gil: whether it has a GIL of its own, or shares that of the main interpreter.
    """

    def __init__(self, *, own_gil: bool = True) -> None:
        self._module: Any = _module()
        if sys.version_info >= (3, 13):
            made = self._module.create("isolated" if own_gil else "legacy", reqrefs=False)
        else:
            made = self._module.create(isolated=own_gil)
        self._made = made
        self.id = int(made)

    def run(self, code: str) -> None:
        """Run code in it, on the calling thread; raise what it raised."""
        if sys.version_info >= (3, 13):
            error = self._module.exec(self._made, code)
            if error is not None:
                raise RuntimeError(str(error))
        else:
            self._module.run_string(self._made, code)

    def end(self) -> None:
        """End it."""
        self._module.destroy(self._made)


def _module() -> Any:
    if sys.version_info >= (3, 13):
        import _interpreters

        return _interpreters
    import _xxsubinterpreters

    return _xxsubinterpreters


@contextmanager
def interpreters(n: int, *, own_gil: bool = True) -> Iterator[list[Interpreter]]:
    """Make interpreters, and end them with the block."""
    made = [Interpreter(own_gil=own_gil) for _ in range(n)]
    try:
        yield made
    finally:
        for one in made:
            one.end()
