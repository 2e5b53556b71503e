"""View the contract itself: what it logged, and what its functions that only read return."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, TypedDict

from bcfl.errors import ConfigError
from bcfl.ledger.abi import address_of
from bcfl.ledger.artifact import artifact
from bcfl.ledger.contract import Contract, Event

Entry = Mapping[str, Any]  # of an ABI
READS: Final = ("view", "pure")
ADDRESS_LETTERS: Final = 42
DIGEST_BYTES: Final = 32
EXPECTED: Final = {"address": "an address (0x and 40 digits)", "bytes32": "32 bytes (0x and 64 digits)"}


class EventView(TypedDict):
    """A log of the contract."""

    name: str
    args: dict[str, Any]
    block: int
    timestamp: int
    transaction: bytes
    log_index: int


class CallView(TypedDict):
    """A call and its result, structs by the names of their fields."""

    function: str
    arguments: list[Any]
    result: Any


def event_view(event: Event) -> EventView:
    """Return an event with its arguments by name."""
    return {
        "name": event.name,
        "args": dict(event.args),
        "block": event.block,
        "timestamp": event.timestamp,
        "transaction": event.transaction,
        "log_index": event.log_index,
    }


def parse_call(function: str, texts: Sequence[str]) -> tuple[Entry, list[object]]:
    """Return a function of the contract and its arguments from text; raises ConfigError."""
    entry = find_function(artifact()["abi"], function, len(texts))
    kinds = [parameter["type"] for parameter in entry["inputs"]]
    return entry, [parse_argument(kind, text) for kind, text in zip(kinds, texts, strict=True)]


def call_view(contract: Contract, entry: Entry, arguments: list[object]) -> CallView:
    """Return the result of a call that only reads."""
    result = contract.call(entry["name"], *arguments)
    return {
        "function": entry["name"],
        "arguments": arguments,
        "result": name_fields(entry["outputs"], result),
    }


def find_function(abi: Iterable[Entry], name: str, count: int) -> Entry:
    """Return the function of that name with `count` arguments that only reads; raises ConfigError."""
    functions = [entry for entry in abi if entry["type"] == "function"]
    namesakes = [entry for entry in functions if entry["name"] == name]
    views = sorted({entry["name"] for entry in functions if entry["stateMutability"] in READS})
    if not namesakes:
        near = get_close_matches(name, views, 1, 0.0)[0]
        raise ConfigError(f"the contract has no function {name}; the nearest that only reads is {near}")
    if namesakes[0]["stateMutability"] not in READS:
        raise ConfigError(f"{name} changes the chain: `bcfl call` takes {', '.join(views)}")
    fitting = [entry for entry in namesakes if len(entry["inputs"]) == count]
    if not fitting:
        raise ConfigError(f"{name} takes {_signature(namesakes[0])}, not {count} arguments")
    return fitting[0]


def parse_argument(kind: str, text: str) -> object:
    """Return an argument of an ABI type from its text; raises ConfigError."""
    try:
        if kind == "address":
            return _address(text)
        if kind.startswith("uint"):
            return _unsigned(text, int(kind[4:] or 256))
        if kind == "bytes32":
            return _digest(text)
    except ValueError:
        raise ConfigError(
            f"{text!r} is not {EXPECTED.get(kind, f'a whole number that fits {kind}')}"
        ) from None
    raise ConfigError(f"an argument of the type {kind} cannot be given on the command line")


def name_fields(outputs: Sequence[Entry], result: Any) -> Any:
    """Return what a call returned, a struct by the names of its fields."""
    if len(outputs) != 1:
        return list(result)
    fields = outputs[0].get("components")
    return {field["name"]: value for field, value in zip(fields, result, strict=True)} if fields else result


def _address(text: str) -> str:
    if len(text) != ADDRESS_LETTERS or not text.startswith("0x"):
        raise ValueError(text)
    return address_of(bytes.fromhex(text[2:]))


def _unsigned(text: str, bits: int) -> int:
    number = int(text, 0)
    if not 0 <= number < 2**bits:
        raise ValueError(text)
    return number


def _digest(text: str) -> bytes:
    digest = bytes.fromhex(text.removeprefix("0x"))
    if len(digest) != DIGEST_BYTES:
        raise ValueError(text)
    return digest


def _signature(entry: Entry) -> str:
    names = [f"{parameter['type']} {parameter['name']}".strip() for parameter in entry["inputs"]]
    return f"({', '.join(names)})" if names else "no arguments"
