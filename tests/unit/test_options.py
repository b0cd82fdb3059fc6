"""What `trace` refuses before it touches anything."""

import math
import sys

import pytest

import gilscope
from gilscope import _core, errors
from gilscope.record import session


@pytest.mark.parametrize("period", [0, -1, -0.001, math.nan, math.inf, "1ms", True, 10**400, 1e-9, 1e9, []])
def test_periods_that_cannot_be(period):
    with pytest.raises(errors.OptionError, match="period must be a number of seconds"):
        gilscope.trace(None, period=period)


@pytest.mark.parametrize("interval", [0, -1, math.nan, math.inf, "5ms", 1e10])
def test_switch_intervals_that_cannot_be(interval):
    with pytest.raises(errors.OptionError, match="switch_interval must be a number of seconds"):
        gilscope.trace(None, switch_interval=interval)


@pytest.mark.parametrize("edges", ["", "Exact", None, 1])
def test_edges_that_are_unknown(edges):
    with pytest.raises(errors.OptionError, match=r"edges must be one of 'auto', 'exact', 'sampled'"):
        gilscope.trace(None, edges=edges)


@pytest.mark.parametrize("path", ["", 5, ["x"]])
def test_paths_that_are_none(path):
    with pytest.raises(errors.OptionError, match="path"):
        gilscope.trace(path)


@pytest.mark.parametrize("path", ["no/such/folder/x.gilscope", "file/x.gilscope"])
def test_paths_that_cannot_be_written(tmp_path, path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.TraceWriteError, match="cannot be written") as caught:
        gilscope.trace(tmp_path / path).__enter__()
    assert str(tmp_path / path) in str(caught.value)


def test_edges_that_cannot_be_had(monkeypatch):
    def refuse(*, probe, observe):
        if probe:
            raise _core.ProbeError("no slot to put a hook into")
        return real(probe=probe, observe=observe)

    real = _core.prove
    monkeypatch.setattr(_core, "prove", refuse)
    with pytest.raises(errors.EdgesUnavailableError, match=r'no slot.*use edges="sampled"'):
        gilscope.trace(None, edges="exact").__enter__()
    with gilscope.trace(None) as t:
        pass
    assert t.metadata["edges"] == "sampled"
    assert "no slot to put a hook into" in t.metadata["edges_reason"]


def test_an_interpreter_that_does_not_prove_itself(monkeypatch):
    def refuse(**_):
        raise _core.LayoutError("expected a switch interval of 5000 us, found 7 us")

    monkeypatch.setattr(_core, "prove", refuse)
    for edges in ("auto", "exact", "sampled"):
        with pytest.raises(errors.UnsupportedInterpreterError, match="found 7 us"):
            gilscope.trace(None, edges=edges).__enter__()


def test_a_gil_that_is_off(monkeypatch):
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    with pytest.raises(errors.UnsupportedInterpreterError, match="GIL off: there is no lock to trace"):
        gilscope.trace(None).__enter__()


def test_another_operating_system(monkeypatch):
    monkeypatch.setattr(session.sys, "platform", "darwin")
    with pytest.raises(errors.UnsupportedPlatformError, match=r"Linux only.*loading and analysing"):
        gilscope.trace(None).__enter__()


def test_every_error_is_a_gilscope_error():
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), gilscope.GilscopeError)
        assert getattr(gilscope, name) is getattr(errors, name)
