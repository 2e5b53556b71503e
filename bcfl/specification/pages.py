"""Keep a map that grows for ever, of which a copy costs next to nothing: what a long simulation needs."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from itertools import chain
from typing import Final, Self, TypeVar

PAGE_BITS: Final = 8

Value = TypeVar("Value")


class Pages(MutableMapping[int, Value]):
    """A map by numbers that follow one another, in pages of 256.

    Copies share their pages, for none is ever changed: whoever writes puts another one in its place.
    """

    def __init__(self) -> None:
        self._pages: dict[int, dict[int, Value]] = {}
        self._count = 0

    def copy(self) -> Self:
        """Return a copy that shares what both have."""
        twin = object.__new__(type(self))
        twin._pages, twin._count = self._pages.copy(), self._count
        return twin

    def __getitem__(self, key: int) -> Value:
        """Return the value at a key; raises KeyError."""
        return self._pages[key >> PAGE_BITS][key]

    def __setitem__(self, key: int, value: Value) -> None:
        """Put a value at a key."""
        page = self._pages.get(key >> PAGE_BITS, {})
        self._count += key not in page
        self._pages[key >> PAGE_BITS] = {**page, key: value}

    def __delitem__(self, key: int) -> None:
        """Remove a key; raises KeyError."""
        page = self._pages[key >> PAGE_BITS].copy()
        del page[key]
        self._pages[key >> PAGE_BITS] = page
        self._count -= 1

    def __iter__(self) -> Iterator[int]:
        """Yield the keys, page by page."""
        return chain.from_iterable(self._pages.values())

    def __len__(self) -> int:
        """Return how many keys there are."""
        return self._count
