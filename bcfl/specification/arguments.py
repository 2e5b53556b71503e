"""Bring arguments into the form in which a contract decodes them, and count their bytes, without encoding."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from typing import Any, Final

from bcfl.errors import LedgerError
from bcfl.ledger.abi import address_of, type_of

WORD: Final = 32  # bytes
ARRAY: Final = re.compile(r"(.*)\[(\d*)\]$")


@dataclass(frozen=True)
class Shape:
    """A type of the ABI: how to bring a value into form, and the bytes that a value in form takes."""

    convert: Callable[[Any], Any]  # raises ValueError or TypeError for what the type cannot hold
    size: Callable[[Any], int]  # of the value itself, without a pointer to it
    is_dynamic: bool = False

    def in_list(self, value: Any) -> int:
        """Return the bytes that a value takes among others, with the pointer where it needs one."""
        return self.size(value) + WORD * self.is_dynamic


class Arguments:
    """The arguments of one function."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self.name = str(entry["name"])
        self.types = plain_types(entry)
        self._shapes = [shape_of(kind) for kind in self.types]

    def convert(self, args: Sequence[Any]) -> tuple[Any, ...]:
        """Return arguments in form: lists and structs as tuples; raises LedgerError."""
        if not (args or self._shapes):
            return ()
        try:
            return tuple(shape.convert(arg) for shape, arg in zip(self._shapes, args, strict=True))
        except (ValueError, TypeError) as error:
            raise LedgerError(
                f"{self.name}: arguments that do not fit ({', '.join(self.types)}): {error}"
            ) from None

    def size(self, args: Sequence[Any]) -> int:
        """Return the bytes of the calldata for arguments in form."""
        return 4 + sum(shape.in_list(arg) for shape, arg in zip(self._shapes, args, strict=True))


def plain_types(kind: Mapping[str, Any] | str) -> tuple[str, ...]:
    """Return the types of a function's arguments, by its entry in an ABI, or those in a struct."""
    if isinstance(kind, str):
        return tuple(_parts(kind[1:-1]))
    return tuple(map(type_of, kind["inputs"]))


@lru_cache(maxsize=256)
def shape_of(kind: str) -> Shape:
    """Return the shape of a type by its name in an ABI."""
    if match := ARRAY.match(kind):
        return _array(shape_of(match[1]), int(match[2]) if match[2] else None)
    if kind.startswith("("):
        return _struct([shape_of(part) for part in _parts(kind[1:-1])])
    if kind in ("bytes", "string"):
        return Shape(_text if kind == "string" else bytes, _padded, is_dynamic=True)
    return Shape(_word(kind), lambda _: WORD)


def _word(kind: str) -> Callable[[Any], Any]:
    if kind == "address":
        return address_of
    if kind == "bool":
        return _bool
    if kind.startswith("bytes"):
        return _bytes32
    return _signed if kind.startswith("int") else _number


def _array(item: Shape, length: int | None) -> Shape:
    def convert(values: Iterable[Any]) -> tuple[Any, ...]:
        items = tuple(item.convert(value) for value in values)
        if length is not None and len(items) != length:
            raise ValueError(f"{len(items)} items in place of {length}")
        return items

    prefix = 0 if length is not None else WORD
    is_dynamic = length is None or item.is_dynamic
    if item.is_dynamic:
        return Shape(convert, lambda items: prefix + sum(map(item.in_list, items)), is_dynamic)
    return Shape(
        convert, lambda items: prefix + (len(items) * item.size(items[0]) if items else 0), is_dynamic
    )


def _struct(parts: Sequence[Shape]) -> Shape:
    def convert(value: Any) -> tuple[Any, ...]:
        if is_dataclass(value):
            value = [getattr(value, field.name) for field in fields(value)]
        return tuple(part.convert(item) for part, item in zip(parts, value, strict=True))

    def size(value: Any) -> int:
        return sum(part.in_list(item) for part, item in zip(parts, value, strict=True))

    return Shape(convert, size, any(part.is_dynamic for part in parts))


def _parts(text: str) -> list[str]:
    """Split the types of a struct at the commas that are not inside another struct."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _padded(value: bytes | str) -> int:
    data = value.encode() if isinstance(value, str) else value
    return WORD + (len(data) + WORD - 1) // WORD * WORD


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is no number")
    if not 0 <= value < 1 << 256:
        raise ValueError(f"{value} does not fit a word")
    return int(value)


def _signed(value: Any) -> int:
    _number(value + (1 << 255) if isinstance(value, int) and not isinstance(value, bool) else value)
    return int(value)


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _bytes32(value: Any) -> bytes:
    if not isinstance(value, bytes | bytearray):
        raise TypeError(f"{value!r} are no bytes")
    if len(value) > WORD:
        raise ValueError(f"{len(value)} bytes do not fit a word")
    return bytes(value).ljust(WORD, b"\0")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
