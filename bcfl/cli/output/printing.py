"""What the queries print: one JSON object, or fields and tables, coloured and fitted on a terminal only."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from bcfl.cli.output.terminal import plain, plain_json, say
from bcfl.pages import texts
from bcfl.pages.texts import clock_name as clock_name
from bcfl.pages.texts import clock_words as clock_words
from bcfl.pages.texts import count_times_from as count_times_from
from bcfl.pages.texts import ether as ether
from bcfl.pages.texts import format_time as format_time
from bcfl.pages.texts import metric_text as metric_text
from bcfl.pages.texts import plural as plural

GAP: Final = "  "
HEX: Final = re.compile(r"0x([0-9a-fA-F]{4})[0-9a-fA-F]{32,}([0-9a-fA-F]{4})")
NUMBER: Final = re.compile(r"\b(\d{4})\d{32,}(\d{4})\b")
CID: Final = re.compile(r"\bb[a-z2-7]{58}\b")
LEAST: Final = 20  # columns that a text is folded to
Row = Sequence[object]
View = TypeVar("View", bound=Mapping[str, object])


@dataclass(frozen=True)
class Column:
    """A table's column: its heading, and whether it holds numbers."""

    heading: str
    right: bool = False
    spare: bool = False  # left out where a terminal is too narrow


def print_json(content: Mapping[str, object]) -> None:
    """Print one object on stdout, bytes as 0x and digits."""
    say(json_text(content, indent=2))


def json_text(content: object, indent: int | None = None) -> str:
    """Return JSON as `bcfl.pages.texts` writes it, with nothing in it that commands a terminal."""
    return plain_json(texts.json_text(content, indent))


def show(view: View, as_json: bool, print_text: Callable[[View], None]) -> None:
    """Print a view as JSON, or as `print_text` does."""
    if as_json:
        print_json(view)
    else:
        print_text(view)


def print_fields(fields: Sequence[tuple[str, object]]) -> None:
    """Print one `name  value` a line."""
    width = max(len(name) for name, _ in fields)
    lines = [(f"{name:<{width}}", text_of(value)) for name, value in fields]
    if not sys.stdout.isatty():
        for name, value in lines:
            say((name + GAP + value).rstrip())
        return
    from rich.text import Text

    room = terminal_width() - width - len(GAP)
    console = _console()
    for name, value in lines:
        first, *following = folded(value if len(value) <= room else shortened(value), room)
        console.print(Text.assemble((name, "dim"), GAP, first), soft_wrap=True)
        for line in following:
            console.print(Text(" " * (width + len(GAP)) + line), soft_wrap=True)


def print_table(columns: Sequence[Column], rows: Sequence[Row], title: str | None = None) -> None:
    """Print a table under its title; piped, its cells are whole and two blanks apart."""
    cells = [[text_of(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_rich(columns, cells, title)
        return
    for line in [*(["", title] if title else []), *aligned(columns, cells)]:
        say(line)


def aligned(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> list[str]:
    """Return heading and rows as lines of columns of equal width."""
    widths = _widths(columns, cells)
    lines = []
    for row in [[column.heading for column in columns], *cells]:
        parts = [
            f"{cell:>{width}}" if column.right else f"{cell:<{width}}"
            for cell, width, column in zip(row, widths, columns, strict=True)
        ]
        lines.append(GAP.join(parts).rstrip())
    return lines


def print_folded(text: str, hanging: int) -> None:
    """Print a line; what a terminal has no room for stands below it, `hanging` columns to the right."""
    for line in folded(plain(text), terminal_width(), hanging):
        say(line)


def folded(text: str, room: int, hanging: int = 0) -> list[str]:
    """Return a text as lines of `room` columns, broken between words, all but the first indented."""
    if len(text) <= room:
        return [text]
    return textwrap.wrap(
        text, max(room, hanging + LEAST), subsequent_indent=" " * hanging, break_on_hyphens=False
    )


def shortened(text: str) -> str:
    """Return a text with the middle of its addresses, hashes, CIDs and longest numbers left out."""
    text = NUMBER.sub(r"\1…\2", HEX.sub(r"0x\1…\2", text))
    return CID.sub(lambda m: f"{m[0][:5]}…{m[0][-6:]}", text)


def text_of(value: object) -> str:
    """Return a value as a table shows it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return f"{value:,}" if isinstance(value, int) else plain(value)


def terminal_width() -> int:
    """Return the columns of the terminal that stdout is; no limit where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize


def _print_rich(columns: Sequence[Column], cells: Sequence[Sequence[str]], title: str | None) -> None:
    from rich.table import Table
    from rich.text import Text

    console = _console()
    if title:
        console.print(Text("\n" + title, "bold"))
    if _too_wide(columns, cells):
        cells = [[shortened(cell) for cell in row] for row in cells]
    for column in [column for column in columns if column.spare]:
        if _too_wide(columns, cells):
            columns, cells = _without(column, columns, cells)
    table = Table(box=None, pad_edge=False, padding=(0, len(GAP), 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column.heading, justify="right" if column.right else "left", overflow="fold")
    for row in cells:
        table.add_row(*row)
    console.print(table)


def _too_wide(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> bool:
    return sum(_widths(columns, cells)) + len(GAP) * (len(columns) - 1) > terminal_width()


def _without(
    column: Column, columns: Sequence[Column], cells: Sequence[Sequence[str]]
) -> tuple[list[Column], list[list[str]]]:
    """Return a table without one of its columns."""
    places = [place for place, other in enumerate(columns) if other is not column]
    return [columns[place] for place in places], [[row[place] for place in places] for row in cells]


def _widths(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> list[int]:
    headings = [column.heading for column in columns]
    return [max(map(len, column)) for column in zip(headings, *cells, strict=True)]


def _console() -> Any:
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
