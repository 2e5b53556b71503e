"""What plans take apart is what eth_abi gives; what is in another form they leave to it."""

from __future__ import annotations

import random
from typing import Any, Final

import pytest
from eth_abi.exceptions import DecodingError
from eth_utils.abi import collapse_if_tuple

from bcfl.ledger.abi import codec, type_of
from bcfl.ledger.artifact import artifact
from bcfl.ledger.words import Plan

STRUCT: Final = "(uint256,uint8,address)"
KINDS: Final = (
    "address",
    "bool",
    "bytes",
    "bytes32",
    "bytes32[]",
    "string",
    "uint256",
    "uint256[]",
    "uint8",
    "bytes4",
    "bool[]",
    STRUCT,
)


def value(chance: random.Random, kind: str) -> Any:
    if kind == STRUCT:
        return (chance.getrandbits(256), chance.getrandbits(8), value(chance, "address"))
    if kind.endswith("[]"):
        return [value(chance, kind[:-2]) for _ in range(chance.randrange(4))]
    if kind.startswith("uint"):
        return chance.getrandbits(int(kind[4:]))
    return {
        "address": f"0x{chance.getrandbits(160):040x}",
        "bool": chance.random() < 0.5,
        "bytes": chance.randbytes(chance.randrange(70)),
        "string": "aé\u6f22"[: chance.randrange(4)] * chance.randrange(20),
        "bytes32": chance.randbytes(32),
        "bytes4": chance.randbytes(4),
    }[kind]


def damaged(chance: random.Random, data: bytes) -> bytes:
    for _ in range(chance.randrange(1, 4)):
        way, place = chance.random(), chance.randrange(len(data) + 1)
        if way < 0.5 and place < len(data):
            data = data[:place] + bytes([chance.choice((0, 1, 32, 64, 255))]) + data[place + 1 :]
        elif way < 0.8:
            data = data[:place]
        else:
            data += chance.randbytes(chance.randrange(40))
    return data


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_says_what_eth_abi_says_or_nothing(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(100):
        kinds = [chance.choice(KINDS) for _ in range(chance.randrange(1, 6))]
        data = codec().encode(kinds, [value(chance, kind) for kind in kinds])
        values = Plan(kinds).decode(data)
        assert values is not None
        assert repr(values) == repr(codec().decode(kinds, data))
        other = damaged(chance, data)
        values = Plan(kinds).decode(other)
        if values is not None:
            assert repr(values) == repr(codec().decode(kinds, other))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("bool", [2]),
        ("uint8", [256]),
        ("address", [1 << 160]),
        ("uint256[]", [32, 2**255]),
        ("uint256[]", [0, 0]),
        ("bytes", [32, 1, 1]),
        ("string", [64]),
    ],
)
def test_odd_words_are_left_to_eth_abi(kind: str, words: list[int]) -> None:
    data = b"".join(word.to_bytes(32, "big") for word in words)
    assert Plan([kind]).decode(data) is None
    with pytest.raises((DecodingError, OverflowError)):
        codec().decode([kind], data)


def test_types_that_no_plan_knows_are_left_to_eth_abi() -> None:
    assert not Plan(["uint256", "int128"]).is_known
    assert Plan(["int128"]).decode(bytes(32)) is None
    assert Plan(["uint256[3]"]).decode(bytes(96)) is None


def test_every_event_of_the_contract_has_a_plan() -> None:
    kinds = {
        item["type"] for entry in artifact()["abi"] if entry["type"] == "event" for item in entry["inputs"]
    }
    assert kinds <= set(KINDS)


def test_types_are_named_as_the_library_names_them() -> None:
    inner = {"type": "tuple[3]", "components": [{"type": "bytes32"}, {"type": "address[]"}]}
    nested = {"type": "tuple[]", "components": [{"type": "uint256"}, inner]}
    content = artifact()["abi"]
    fields = [field for entry in content for side in ("inputs", "outputs") for field in entry.get(side, ())]
    assert any(field["type"].startswith("tuple") for field in fields)
    for field in (nested, *fields):
        assert type_of(field) == collapse_if_tuple(dict(field))
    assert type_of(nested) == "(uint256,(bytes32,address[])[3])[]"
