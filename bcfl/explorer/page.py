"""Hold what a page is made of, and cut long lists into pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from bcfl.errors import BcflError

Item = TypeVar("Item")
MOST_DIGITS: Final = 9
SIZE: Final = 50  # rows of a page
Params = Mapping[str, str]


class NotFound(BcflError):
    """There is nothing at an address of the explorer."""


@dataclass(frozen=True)
class Page:
    """A page: its `view` is what its JSON says; `extra` is drawn from that, and only shown."""

    template: str
    title: str
    view: Mapping[str, Any]
    tab: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Slice:
    """One page of a long list; pages count from 1."""

    number: int
    pages: int
    total: int
    start: int
    stop: int

    @property
    def json(self) -> dict[str, int]:
        """Return which part of how many this is."""
        return {"page": self.number, "pages": self.pages, "total": self.total}


def cut(items: Sequence[Item], params: Params, size: int = SIZE) -> tuple[Sequence[Item], Slice]:
    """Return the page of a list that `?page=` names, the nearest where there is none of that number."""
    pages = max(1, -(-len(items) // size))
    number = min(max(1, number_in(params, "page", 1)), pages)
    start = (number - 1) * size
    stop = min(start + size, len(items))
    return items[start:stop], Slice(number, pages, len(items), start, stop)


def number_in(params: Params, name: str, default: int) -> int:
    """Return a whole number of the query string; `default` for anything else."""
    text = params.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS else default
