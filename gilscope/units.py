"""Formats figures and names for people, and reads durations that people write."""

import math

_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


def duration(ns: float | None) -> str:
    """Return a number of nanoseconds with three digits and a unit; "-" if it is unknown.

    Example:
        >>> duration(5_049_300)
        '5.05 ms'
        >>> duration(None)
        '-'
    """
    if ns is None or math.isnan(ns):
        return "-"
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if abs(ns) >= size * 0.9995:
            value = ns / size
            digits = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
            return f"{value:.{digits}f} {unit}"
    return f"{ns:.0f} ns"


def percent(share: float | None) -> str:
    """Return a share in percent; "-" if it is unknown.

    Example:
        >>> percent(0.1234)
        '12.3 %'
    """
    return "-" if share is None or math.isnan(share) else f"{100 * share:.1f} %"


def short_path(path: str) -> str:
    """Return a file's name and that of its folder, which distinguishes one ``__init__.py`` from another.

    Example:
        >>> short_path("/home/a/project/parser/__init__.py")
        'parser/__init__.py'
    """
    return "/".join(path.split("/")[-2:])


def count(n: float | None) -> str:
    """Return a whole number with its thousands apart; "-" if it is unknown.

    Example:
        >>> count(12_345.4)
        '12,345'
    """
    return "-" if n is None or math.isnan(n) else f"{n:,.0f}"


def factor(value: float | None) -> str:
    """Return a factor with three digits; "-" if it is unknown.

    Example:
        >>> factor(2.5), factor(1234.5)
        ('2.5 x', '1,234 x')
    """
    if value is None or math.isnan(value):
        return "-"
    return f"{value:,.0f} x" if value >= 99.5 else f"{value:.3g} x"


def instant(ns: float) -> str:
    """Return a time since the start of the trace.

    Example:
        >>> instant(1_234_567_890)
        '1.235 s'
    """
    return f"{ns / 1e9:.3f} s"


def printable(name: str) -> str:
    r"""Return a name with control characters escaped, so that none reaches the terminal.

    Example:
        >>> print(printable("a\x1b[2J"))
        a\x1b[2J
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def seconds(text: str) -> float:
    """Read a duration of the command line, such as ``0.001``, ``1ms`` or ``500us``.

    Returns:
        Seconds.

    Raises:
        argparse.ArgumentTypeError: if the text is not a duration.

    Example:
        >>> seconds("5ms")
        0.005
    """
    unit = next((u for u in _SECONDS if text.endswith(u)), "")
    try:
        return float(text.removesuffix(unit)) * _SECONDS.get(unit, 1.0)
    except ValueError:
        from argparse import ArgumentTypeError  # of any other error argparse does not show the message

        raise ArgumentTypeError(f"{text!r} is not a duration; use 0.001, 1ms or 500us") from None


def times(text: str) -> list[float]:
    """Read durations separated by commas.

    Returns:
        Seconds.

    Raises:
        argparse.ArgumentTypeError: if one of them is not a duration.

    Example:
        >>> times("0.5ms,5ms")
        [0.0005, 0.005]
    """
    return [seconds(part) for part in text.split(",")]
