"""The one place that loads the compiled core; importing this module fails with an error that explains why."""

from __future__ import annotations

import sys
from importlib.machinery import EXTENSION_SUFFIXES, PathFinder
from pathlib import Path

from gilscope.errors import UnsupportedInterpreterError

_PACKAGE = Path(__file__).resolve().parent.parent


def _has_core(package: Path) -> bool:
    return any((package / f"_core{suffix}").exists() for suffix in EXTENSION_SUFFIXES)


def _hidden_package() -> Path | None:
    """Return the folder of a gilscope with a core that stands behind this one on the path."""
    others = [folder for folder in sys.path if Path(folder or ".").resolve() != _PACKAGE.parent]
    spec = PathFinder.find_spec("gilscope", others)
    packages = [Path(folder) for folder in (spec and spec.submodule_search_locations) or []]
    return next(filter(_has_core, packages), None)


def _why_missing() -> str:
    """Explain why there is no core beside this file, and what to do."""
    here = _PACKAGE.parent
    build = f"run 'python -m pip install -e .' in {here}"
    if hidden := _hidden_package():
        return (
            f"the sources in {here} have no compiled core, and they hide the gilscope that is installed in "
            f"{hidden.parent}: run Python in another folder, or, to use the sources, {build}"
        )
    if (here / "pyproject.toml").exists():
        return f"the sources in {here} have no compiled core for this Python: {build}"
    return (
        f"the gilscope in {here} has no compiled core for this Python ({sys.implementation.cache_tag}): "
        "run 'python -m pip install --force-reinstall gilscope' with it"
    )


try:
    # Not "from gilscope import _core": its error is the same for a missing file and a failed import.
    import gilscope._core as core
except ModuleNotFoundError as error:
    raise UnsupportedInterpreterError(
        f"{_why_missing()}. Traces can be loaded and analysed without it"
    ) from error
except ImportError as error:
    if "interpreter" not in str(error):
        raise
    raise UnsupportedInterpreterError(
        "traces and watches are begun in the main interpreter, and this is another one "
        f"({error}). Begin them there: the threads of all interpreters that share its GIL are in it"
    ) from error

__all__ = ["core"]
