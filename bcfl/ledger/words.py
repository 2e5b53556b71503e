"""Decode what the contract's events and most of its functions are made of: words, lists of words, bytes.

A plan takes bytes apart only where they are in the form that encoders give them, and gives what eth_abi gives
there. For anything else it returns None: then eth_abi decodes, or says what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

from bcfl.protocol.addresses import checksummed

WORD: Final = 32
NUMBER: Final = re.compile(r"uint(\d{1,3})")
BYTES: Final = re.compile(r"bytes(\d{1,2})")
STRUCT: Final = re.compile(r"\(([a-z0-9,]+)\)")
ADDRESS_BITS: Final = 160


class Unusual(Exception):
    """Bytes are in another form than encoders give them."""


@lru_cache(maxsize=4096)
def address_of(address: str | bytes) -> str:
    """Return the checksummed form of an address."""
    return checksummed(address)


Take = Callable[[bytes], Any]  # of one word; raises Unusual
Part = Callable[
    [bytes, int, int], Any
]  # of all bytes, where it stands in their head, and its end; raises Unusual


class Plan:
    """How to take the values of some types apart; `is_known` says whether all of these types are usual."""

    def __init__(self, types: Sequence[str]) -> None:
        parts = [_part(kind) for kind in types]
        self.is_known = all(part is not None for part in parts)
        self._parts: list[tuple[int, Part]] = []
        place = 0
        for kind, part in zip(types, parts, strict=True):
            if part is not None:
                self._parts.append((place, part))
            place += WORD * _words(kind)
        self._head = place

    def decode(self, data: bytes) -> tuple[Any, ...] | None:
        """Return the values in `data`; None where they have to be looked at more closely."""
        if not self.is_known or len(data) < self._head:
            return None
        try:
            return tuple([part(data, place, self._head) for place, part in self._parts])
        except Unusual:
            return None


def _words(kind: str) -> int:
    """Return how many words of a head a type takes."""
    struct = STRUCT.fullmatch(kind)
    return len(struct[1].split(",")) if struct else 1


def _part(kind: str) -> Part | None:
    struct = STRUCT.fullmatch(kind)
    if struct:
        takes = [_take(each) for each in struct[1].split(",")]
        known = [take for take in takes if take is not None]
        return _struct(known) if len(known) == len(takes) else None
    if kind in ("bytes", "string"):
        return _text if kind == "string" else _content
    take = _take(kind.removesuffix("[]"))
    if take is None:
        return None
    return _list(take) if kind.endswith("[]") else _single(take)


def _take(kind: str) -> Take | None:
    """Return what takes a word of an elementary type; None for any other type."""
    if kind == "address":
        return _address
    if kind == "bool":
        return _bool
    if number := NUMBER.fullmatch(kind):
        return _number(int(number[1]))
    if size := BYTES.fullmatch(kind):
        return _bytes(int(size[1]))
    return None


def _single(take: Take) -> Part:
    return lambda data, place, _: take(data[place : place + WORD])


def _struct(takes: Sequence[Take]) -> Part:
    def part(data: bytes, place: int, _: int) -> tuple[Any, ...]:
        return tuple(
            take(data[at : at + WORD]) for at, take in zip(range(place, len(data), WORD), takes, strict=False)
        )

    return part


def _list(take: Take) -> Part:
    def part(data: bytes, place: int, head: int) -> tuple[Any, ...]:
        start, count = _tail(data, place, head)
        if count > (len(data) - start) // WORD:
            raise Unusual
        return tuple([take(data[at : at + WORD]) for at in range(start, start + WORD * count, WORD)])

    return part


def _content(data: bytes, place: int, head: int) -> bytes:
    start, length = _tail(data, place, head)
    padded = start + -(-length // WORD) * WORD
    if padded > len(data) or any(data[start + length : padded]):
        raise Unusual
    return data[start : start + length]


def _text(data: bytes, place: int, head: int) -> str:
    return _content(data, place, head).decode("utf-8", errors="replace")


def _tail(data: bytes, place: int, head: int) -> tuple[int, int]:
    """Return where the content of a dynamic value starts, and its length, which stands before it."""
    offset = int.from_bytes(data[place : place + WORD], "big")
    if offset < head or offset + WORD > len(data):
        raise Unusual
    return offset + WORD, int.from_bytes(data[offset : offset + WORD], "big")


def _address(word: bytes) -> str:
    if int.from_bytes(word, "big") >> ADDRESS_BITS:
        raise Unusual
    return address_of(word[12:])


def _bool(word: bytes) -> bool:
    value = int.from_bytes(word, "big")
    if value > 1:
        raise Unusual
    return bool(value)


def _number(bits: int) -> Take:
    def take(word: bytes) -> int:
        value = int.from_bytes(word, "big")
        if value >> bits:
            raise Unusual
        return value

    return take


def _bytes(size: int) -> Take:
    def take(word: bytes) -> bytes:
        if size < WORD and any(word[size:]):
            raise Unusual
        return word[:size]

    return take
