"""Options of `trace`: one declaration for all readers; invalid values are refused before anything changes."""

import argparse
import inspect
import math
import sys

import pytest

import gilscope
from gilscope import _core, errors
from gilscope.record import session
from gilscope.record.options import DEFAULT_PATH, OPTIONS, Options, add_arguments, options_of, values_of


def test_the_signature_of_trace_is_the_declaration():
    parameters = inspect.signature(gilscope.trace).parameters.values()
    assert [p.name for p in parameters] == [option.name for option in OPTIONS]
    described = inspect.getdoc(gilscope.trace)  # indented alike on all versions: 3.13 strips docstrings
    for parameter, option in zip(parameters, OPTIONS, strict=True):
        assert parameter.default is option.default
        assert f"\n    {option.name}: " in described


def test_trace_passes_every_option_on():
    given = {
        "path": "x.gilscope",
        "edges": "sampled",
        "period": 0.5,
        "switch_interval": 0.25,
        "overwrite": True,
        "children": True,
        "quiet": True,
        "sites": False,
        "stacks_over": 0.125,
    }
    assert given.keys() == {option.name for option in OPTIONS}
    assert all(given[option.name] != option.default for option in OPTIONS)
    assert vars(gilscope.trace(**given)._options) == vars(Options(**given))
    assert {**vars(Options(**given)), "path": "x.gilscope"} == given


def test_an_unknown_option_is_refused():
    with pytest.raises(TypeError, match="no such option: colour"):
        Options(colour="red")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("path", [DEFAULT_PATH, str(DEFAULT_PATH), None])
def test_only_a_path_that_is_not_given_is_replaced_unasked(path, overwrite):
    assert Options(path=path, overwrite=overwrite).overwrite == (overwrite or path is DEFAULT_PATH)
    assert Options(overwrite=overwrite).overwrite


COMMAND_LINE = {
    "path": (["-o", "x.gilscope"], "x.gilscope"),
    "edges": (["--edges", "sampled"], "sampled"),
    "period": (["--period", "2ms"], 0.002),
    "switch_interval": (["--switch-interval", "500us"], 0.0005),
    "overwrite": (["--overwrite"], True),
    "children": (["--children"], True),
    "quiet": (["--quiet"], True),
    "sites": (["--no-sites"], False),
    "stacks_over": (["--stacks-over", "1ms"], 0.001),
}


@pytest.mark.parametrize("reader", ["run", "plugin"])
def test_command_lines_take_each_option_they_declare(reader):
    parser = argparse.ArgumentParser()
    add_arguments(parser, reader)
    defaults = values_of(parser.parse_args([]), reader)
    assert all(defaults[option.name] is option.default for option in options_of(reader))
    for option in options_of(reader):
        words, value = COMMAND_LINE[option.name]
        assert values_of(parser.parse_args(words), reader) == {**defaults, option.name: value}
    assert "(default: 100us)" in " ".join(parser.format_help().split())


def test_which_reader_takes_which_option():
    names = {reader: {o.name for o in options_of(reader)} for reader in ("run", "plugin", "children")}
    assert names["run"] == {option.name for option in OPTIONS}
    assert names["plugin"] == names["children"] == names["run"] - {"path", "overwrite", "children", "quiet"}


def test_children_take_over_the_values_of_their_parent():
    given = {"edges": "exact", "period": 0.5, "switch_interval": None, "sites": False, "stacks_over": 0.25}
    assert Options(**given, children=True, quiet=True).of_children() == given


@pytest.mark.parametrize("period", [0, -1, -0.001, math.nan, math.inf, "1ms", True, 10**400, 1e-9, 1e9, []])
def test_periods_that_are_refused(period):
    with pytest.raises(errors.OptionError, match="period must be a number of seconds"):
        gilscope.trace(None, period=period)


@pytest.mark.parametrize("interval", [0, -1, math.nan, math.inf, "5ms", 1e10])
def test_switch_intervals_that_are_refused(interval):
    with pytest.raises(errors.OptionError, match="switch_interval must be a number of seconds"):
        gilscope.trace(None, switch_interval=interval)


@pytest.mark.parametrize("edges", ["", "Exact", None, 1])
def test_edges_that_are_unknown(edges):
    with pytest.raises(errors.OptionError, match=r"edges must be one of 'auto', 'exact', 'sampled'"):
        gilscope.trace(None, edges=edges)


@pytest.mark.parametrize("path", ["", 5, ["x"]])
def test_paths_that_are_refused(path):
    with pytest.raises(errors.OptionError, match="path"):
        gilscope.trace(path)


@pytest.mark.parametrize("path", ["no/such/folder/x.gilscope", "file/x.gilscope"])
def test_paths_that_cannot_be_written(tmp_path, path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.TraceWriteError, match="cannot be written") as caught:
        gilscope.trace(tmp_path / path).__enter__()
    assert str(tmp_path / path) in str(caught.value)


def test_edges_that_are_not_available(monkeypatch):
    def refuse(*args, exact, **options):
        if exact:
            raise _core.HooksError("no slot to put a hook into")
        return real(*args, exact=exact, **options)

    real = _core.start
    monkeypatch.setattr(_core, "start", refuse)
    with pytest.raises(errors.EdgesUnavailableError, match=r'no slot.*use edges="sampled"'):
        gilscope.trace(None, edges="exact").__enter__()
    with gilscope.trace(None) as t:
        pass
    assert t.metadata["edges"] == "sampled"
    assert "no slot to put a hook into" in t.metadata["edges_reason"]


def test_an_interpreter_that_is_not_laid_out_as_expected(monkeypatch):
    def refuse(*_args, **_options):
        raise _core.LayoutError("expected a switch interval of 5000 us, found 7 us")

    monkeypatch.setattr(_core, "start", refuse)
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
