"""Sites in a timeline: the names of runs, and details of runs and waits."""

from __future__ import annotations

import functools

import numpy as np
import pyarrow as pa

from gilscope.tables.rows import NO_SITE, Numbers
from gilscope.viztracer.jsontext import dumps, quoted, titles


class Sites:
    """The rows of the table ``sites``, as JSON.

    Args:
        table: the table.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def known(self, sites: Numbers) -> Numbers:
        """Return sites, with those that are not in the table replaced by `NO_SITE`."""
        return np.where(sites < len(self._table), sites, np.int32(NO_SITE))

    def name(self, site: int) -> str:
        """Return the function of a site as a slice's name, in quotes."""
        return titles([self._rows[site][0]])[0]

    def details(self, site: int) -> str:
        """Return function, file and line of a site as JSON that precedes other keys; "" for `NO_SITE`."""
        if site == NO_SITE:
            return ""
        function, file, line = self._rows[site]
        keys = f'"function":{quoted([function])[0]},'
        if file is not None:
            keys += f'"file":{quoted([file])[0]},'
        return keys if line is None else f'{keys}"line":{dumps(line)},'

    @functools.cached_property
    def _rows(self) -> list[tuple[str, str | None, int | None]]:
        columns = (self._table[name].to_pylist() for name in ("function", "file", "line"))
        return list(zip(*columns, strict=True))
