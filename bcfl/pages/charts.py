"""Describe charts: what `static/charts.js` draws, and what the table beside each one says without a script.

{% import "macros.html" as show %}
{{ show.chart(curves) }}
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal

from bcfl.pages.texts import DASH, duration, metric_text

Unit = Literal["", "percent", "gas", "seconds", "count"]
Value = float | int | None
TABLE_COLUMNS: Final = 24  # of a map's table, the last ones; its canvas has all
TABLE_ROWS: Final = 100  # of a table

# What a letter of a map means, and the colour that the style sheet gives it: `--NAME`.
CODES: Final[Mapping[str, tuple[str, str]]] = {
    "1": ("level 1", "level-1"),
    "2": ("level 2", "level-2"),
    "3": ("level 3", "level-3"),
    "4": ("level 4", "level-4"),
    "u": ("unavailable", "unavailable"),
    "m": ("malformed", "malformed"),
    "t": ("time", "time"),
    "d": ("duplicate", "duplicate"),
    "q": ("quality", "quality"),
    "o": ("outlier", "outlier"),
    "?": ("not judged", "pending"),
    ".": ("no update", "none"),
}


def code(verdict: str | None, level: int | None) -> str:
    """Return the letter of a verdict: the level of what is accepted, else the first of the reason."""
    if verdict is None:
        return "?"
    return str(level) if level else verdict[:1]


def value_text(value: Value, unit: Unit) -> str:
    """Return a value of a curve in words."""
    if value is None or not math.isfinite(value):
        return DASH
    if unit == "percent":
        return f"{value:.2%}"
    if unit == "seconds":
        return duration(value)
    return f"{value:,.0f}" if unit in ("gas", "count") else metric_text("", value)


@dataclass(frozen=True)
class Series:
    """One curve: its values by x, its colour by number (0 to 7) or by a name of the style sheet."""

    label: str
    values: Sequence[Value]
    unit: Unit = ""
    tone: int | str = 0


@dataclass(frozen=True)
class Curves:
    """Curves over rounds, bars, or bars on one another; `href` with {} for x is where a click leads."""

    title: str
    x: Sequence[int]
    series: Sequence[Series]
    form: Literal["line", "bars", "stack"] = "line"
    x_label: str = "round"
    href: str | None = None
    kind: str = field(default="curves", init=False)

    @property
    def json(self) -> dict[str, Any]:
        """Return what the script draws."""
        return _plain(self) | {"series": [_plain(each) for each in self.series]}

    @property
    def table_rows(self) -> list[tuple[int, list[str]]]:
        """Return x and the values in words of the rows of the table: the last ones."""
        first = max(0, len(self.x) - TABLE_ROWS)
        columns = [[value_text(value, each.unit) for value in each.values[first:]] for each in self.series]
        return [(x, [column[place] for column in columns]) for place, x in enumerate(self.x[first:])]


@dataclass(frozen=True)
class Cells:
    """A map of rows by columns; a cell is a letter of CODES.

    `row_names` are shown, `row_hrefs` are where they lead; `column_href` has {} for the column.
    """

    title: str
    row_names: Sequence[str]
    columns: Sequence[int]
    cells: Sequence[str]  # a row each, a letter a column
    row_label: str = "device"
    column_label: str = "round"
    row_hrefs: Sequence[str] = ()
    column_href: str | None = None
    kind: str = field(default="cells", init=False)

    @property
    def json(self) -> dict[str, Any]:
        """Return what the script draws."""
        return _plain(self) | {"codes": {letter: CODES[letter] for letter in self.legend}}

    @property
    def legend(self) -> list[str]:
        """Return the letters that occur, in the order of CODES."""
        present = set().union(*map(set, self.cells))
        return [letter for letter in CODES if letter in present]

    @property
    def table_columns(self) -> Sequence[int]:
        """Return the columns of the table: the last ones."""
        return self.columns[-TABLE_COLUMNS:]

    @property
    def table_rows(self) -> list[tuple[str, str | None, str]]:
        """Return name, address and letters of the rows of the table."""
        hrefs = [*self.row_hrefs, *[None] * (len(self.row_names) - len(self.row_hrefs))]
        letters = [row[-TABLE_COLUMNS:] for row in self.cells]
        return list(zip(self.row_names, hrefs, letters, strict=True))[:TABLE_ROWS]


def _plain(item: Series | Curves | Cells) -> dict[str, Any]:
    """Return the fields of a chart by name, as they are: `asdict` would copy every cell."""
    return {each.name: getattr(item, each.name) for each in fields(item)}
