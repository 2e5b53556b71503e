"""Parse the values of JSON-RPC and write them: numbers may come in as hexadecimal text or as integers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from eth_typing import Address

Json = dict[str, Any]


def parse_number(value: Any) -> int:
    """Return the number that a value stands for; raises what a wrong one leads to."""
    return int(value, 16) if isinstance(value, str) else int(value)


def parse_bytes(value: Any) -> bytes:
    """Return the bytes that a value stands for; raises what a wrong one leads to."""
    if isinstance(value, int):
        raise TypeError("a number where bytes are meant")  # bytes() would make as many zeros
    return bytes.fromhex(value.removeprefix("0x")) if isinstance(value, str) else bytes(value)


def parse_address(value: Any) -> Address:
    """Return the address that a value stands for, empty where there is none."""
    return cast("Address", parse_bytes(value or b""))


def as_list(value: Any) -> list[Any]:
    """Return a list as it is, a single value as a list of one, and None as an empty list."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def to_hex(value: bytes) -> str:
    """Return bytes in hexadecimal, after 0x."""
    return "0x" + value.hex()
