"""Encode and decode by a contract's ABI, with coders that are built once and used often.

web3's own work the ABI out again at every call and for every log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Final

from bcfl.errors import LedgerError
from bcfl.ledger.words import Plan
from bcfl.ledger.words import address_of as address_of
from bcfl.protocol.hashing import keccak

if TYPE_CHECKING:
    from eth_abi.codec import ABICodec
    from eth_abi.decoding import ContextFramesBytesIO

Entry = Mapping[str, Any]
TUPLE: Final = "tuple"  # how a type begins that is a struct, or a list of them


@cache
def codec() -> ABICodec:
    """Return eth_abi's coder: addresses checksummed, any bytes taken for text."""
    from eth_abi.codec import ABICodec
    from eth_abi.decoding import AddressDecoder, ByteStringDecoder
    from eth_abi.registry import BaseEquals, registry

    class ChecksumDecoder(AddressDecoder):
        decoder_fn = staticmethod(address_of)  # type: ignore[assignment]  # the base gives lower case

    class TextDecoder(ByteStringDecoder):
        """Takes any bytes for text: the contract does not look at them, and a log stays on the chain."""

        @classmethod
        def from_type_str(cls, _kind: str, _registry: object) -> TextDecoder:
            return cls()

        def decode(self, stream: ContextFramesBytesIO) -> str:
            data: bytes = super().decode(stream)  # type: ignore[no-untyped-call]
            return data.decode("utf-8", errors="replace")

    types = registry.copy()  # type: ignore[no-untyped-call]
    types.unregister_decoder("string")
    text = BaseEquals("string", with_sub=False)  # type: ignore[no-untyped-call]
    types.register_decoder(text, TextDecoder, label="string")
    types.unregister_decoder("address")
    address = BaseEquals("address")  # type: ignore[no-untyped-call]
    types.register_decoder(address, ChecksumDecoder, label="address")
    return ABICodec(types)


class FunctionType:
    """The bytes of one function's arguments and results."""

    def __init__(self, entry: Entry) -> None:
        self.name = str(entry["name"])
        self.outputs = _types(entry["outputs"])
        self._inputs = _types(entry["inputs"])
        self._results = Plan(self.outputs)

    @cached_property
    def selector(self) -> bytes:
        """Return the first four bytes of its calldata."""
        return keccak(f"{self.name}({','.join(self._inputs)})".encode())[:4]

    def encode(self, args: Sequence[Any]) -> bytes:
        """Return calldata; raises LedgerError for a value that its type cannot hold."""
        return self.selector + _encode(self.name, self._inputs, args)

    def decode(self, output: bytes) -> Any:
        """Return one value, a tuple of several, or None for none; raises LedgerError for other bytes."""
        values = self._results.decode(output)
        if values is None:
            values = _decode(self.name, self.outputs, output)
        return values[0] if len(values) == 1 else values or None

    def arguments(self, calldata: bytes) -> tuple[Any, ...]:
        """Return the arguments that calldata holds; raises LedgerError for other bytes."""
        return _decode(self.name, self._inputs, calldata[4:])


class EventType:
    """The topics and data of one event's arguments."""

    def __init__(self, entry: Entry) -> None:
        fields = entry["inputs"]
        types = _types(fields)
        self.name = str(entry["name"])
        self.topic = keccak(f"{self.name}({','.join(types)})".encode())
        kinds = [(f["name"], f["indexed"], kind) for f, kind in zip(fields, types, strict=True)]
        self._names = [name for name, _, _ in kinds]
        self._indexed = [_topic_type(kind) for _, indexed, kind in kinds if indexed]
        self._data = [kind for _, indexed, kind in kinds if not indexed]
        self._topics_plan, self._data_plan = Plan(self._indexed), Plan(self._data)
        # Where the arguments are among those of the topics and, behind these, of the data.
        places = sorted(range(len(kinds)), key=lambda place: not kinds[place][1])
        self._order = [places.index(place) for place in range(len(kinds))]

    def decode(self, topics: Sequence[bytes], data: bytes) -> dict[str, Any]:
        """Return arguments by name in the order of the ABI; raises LedgerError for other bytes."""
        plain = self._data_plan.decode(data)
        if plain is None:
            plain = _decode(self.name, self._data, data)
        words = b"".join(topics[1:])
        indexed = self._topics_plan.decode(words)
        if indexed is None:
            indexed = _decode(self.name, self._indexed, words)
        values = indexed + plain
        return dict(zip(self._names, [values[place] for place in self._order], strict=True))


class Abi:
    """The functions and events of a contract."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        # Vyper's default arguments make several functions of one name, told apart by their number.
        functions = [entry for entry in entries if entry["type"] == "function"]
        self._entries = {(entry["name"], len(entry["inputs"])): entry for entry in functions}
        self._functions: dict[tuple[str, int], FunctionType] = {}  # those that were asked for
        events = [EventType(entry) for entry in entries if entry["type"] == "event"]
        self.events = {event.topic: event for event in events}
        self._constructor = next((e["inputs"] for e in entries if e["type"] == "constructor"), ())

    def function(self, name: str, arguments: int) -> FunctionType:
        """Return the function of that name and number of arguments; raises LedgerError when there is none."""
        key = name, arguments
        if key not in self._functions and key in self._entries:
            self._functions[key] = FunctionType(self._entries[key])
        if function := self._functions.get(key):
            return function
        counts = sorted(count for function_name, count in self._entries if function_name == name)
        if counts:
            choices = " or ".join(map(str, counts))
            raise LedgerError(f"{name} takes {choices} arguments, not {arguments}")
        names = sorted({function_name for function_name, _ in self._entries})
        raise LedgerError(f"the contract has no function {name}{_nearest(name, names)}")

    def function_of(self, calldata: bytes) -> FunctionType | None:
        """Return the function that calldata calls; None when it is not of this contract."""
        return self._selectors.get(calldata[:4])

    @cached_property
    def _selectors(self) -> dict[bytes, FunctionType]:
        kinds = [self.function(name, arguments) for name, arguments in self._entries]
        return {kind.selector: kind for kind in kinds}

    def event(self, name: str) -> EventType:
        """Return the event of that name; raises LedgerError when there is none."""
        for event in self.events.values():
            if event.name == name:
                return event
        names = sorted(event.name for event in self.events.values())
        raise LedgerError(f"the contract has no event {name}{_nearest(name, names)}")

    def constructor(self, args: Sequence[Any]) -> bytes:
        """Return what follows the bytecode at deployment; raises LedgerError for unfit arguments."""
        return _encode("constructor", self.constructor_types, args)

    @property
    def constructor_types(self) -> list[str]:
        """Return the types of what follows the bytecode at deployment."""
        return _types(self._constructor)


def _types(fields: Iterable[Entry]) -> list[str]:
    return list(map(type_of, fields))


def type_of(field: Entry) -> str:
    """Return the type of an argument by its entry in an ABI; that of a struct is `(uint256,address)`."""
    kind = str(field["type"])
    if not kind.startswith(TUPLE):
        return kind
    return f"({','.join(map(type_of, field['components']))}){kind.removeprefix(TUPLE)}"


def _topic_type(kind: str) -> str:
    """Return the type of a topic: an indexed value of no fixed size is on chain as its hash only."""
    return "bytes32" if kind in ("string", "bytes") or kind.endswith((")", "]")) else kind


def _encode(name: str, types: Sequence[str], args: Sequence[Any]) -> bytes:
    from eth_abi.exceptions import EncodingError

    try:
        return codec().encode(types, [_plain(arg) for arg in args])
    except (EncodingError, ValueError, TypeError) as error:
        raise LedgerError(f"{name}: arguments that do not fit ({', '.join(types)}): {error}") from error


def _decode(name: str, types: Sequence[str], data: bytes) -> tuple[Any, ...]:
    from eth_abi.exceptions import DecodingError

    try:
        return codec().decode(types, data)
    except (DecodingError, ValueError, OverflowError) as error:
        raise LedgerError(f"{name}: the chain's bytes do not fit the ABI; is it this contract?") from error


def _plain(value: Any) -> Any:
    """Return a value without dataclasses, which stand for structs, in lists too."""
    if is_dataclass(value):
        return tuple(_plain(getattr(value, field.name)) for field in fields(value))
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _nearest(name: str, names: Sequence[str]) -> str:
    matches = get_close_matches(name, names, 1)
    return f"; did you mean {matches[0]}?" if matches else ""
