"""Check a client by test vectors: calls of a federation, and what each has to come to.

`python -m bcfl.specification.vectors FILE ...` plays the calls of files on the specification and compares;
with `--write` it writes what they come to into the files. docs/specification.md describes the format.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from bcfl.errors import Reverted
from bcfl.ledger.artifact import artifact
from bcfl.ledger.contract import Contract, Key
from bcfl.protocol.hashing import keccak
from bcfl.protocol.types import Terms
from bcfl.specification.arguments import plain_types
from bcfl.specification.chain import VirtualChain
from bcfl.specification.contract import Specification

FORMAT: Final = 1
OBSERVED: Final = 10  # calls between two digests of what the views say
VIEWS: Final = (
    "active_miners", "devices_registered", "lead_now", "model", "owed", "owner", "pool", "puzzle",
    "round_clock", "staked", "target", "turn_credits",
)  # fmt: skip
VIEWS_OF_ACCOUNTS: Final = ("credits", "device_of", "miner", "resources", "rest")


@dataclass(frozen=True)
class Name:
    """An account without its key: nobody signs on a chain without an EVM."""

    address: str
    key: bytes = b""


@dataclass(frozen=True)
class Step:
    """One call; `parent` is the hash of the block before that of the call, which a race starts from."""

    time: int
    parent: bytes
    sender: str
    function: str
    args: tuple[Any, ...]
    value: int


@dataclass(frozen=True)
class Vector:
    """A federation with its calls in order; `accounts` are rich, the first one is the owner."""

    name: str
    chain_id: int
    accounts: tuple[str, ...]
    terms: Terms
    root: bytes
    cid: bytes
    pool: int
    steps: tuple[Step, ...]

    def on_specification(self) -> Iterator[dict[str, Any]]:
        """Play on a new specification; yields what each call comes to."""
        chain = VirtualChain(accounts=self.accounts, chain_id=self.chain_id)
        owner = Name(self.accounts[0])
        contract, _ = Specification.create(chain, owner, self.terms, self.root, self.cid, self.pool)

        def prepare(step: Step) -> None:
            chain.warp(step.time)
            chain.adopt(step.parent)

        return self.play(contract, prepare, Name)

    def play(
        self, contract: Contract, prepare: Callable[[Step], None], key_of: Callable[[str], Key]
    ) -> Iterator[dict[str, Any]]:
        """Make the calls on any adapter of a contract; yields what each comes to.

        `prepare` sets the time of the next block; every call is in a block of its own, where it reverts too.
        """
        for place, step in enumerate(self.steps):
            prepare(step)
            try:
                receipt = contract.send(key_of(step.sender), step.function, *step.args, value=step.value)
                events = [[event.name, _out(dict(event.args))] for event in receipt.events]
                outcome: dict[str, Any] = {"events": events}
            except Reverted as error:
                outcome = {"reverted": str(error)}
            if place % OBSERVED == OBSERVED - 1 or place == len(self.steps) - 1:
                outcome["digest"] = "0x" + keccak(observation(contract, self.accounts)).hex()
            yield outcome


def observation(contract: Contract, accounts: Sequence[str]) -> bytes:
    """Return what the views say, as compact JSON with sorted keys; of one that reverts null."""
    views: dict[str, Any] = {name: _out(contract.call(name)) for name in VIEWS}
    for account in accounts:
        for name in VIEWS_OF_ACCOUNTS:
            try:
                views[f"{name} {account}"] = _out(contract.call(name, account))
            except Reverted:
                views[f"{name} {account}"] = None
    return json.dumps(views, sort_keys=True, separators=(",", ":")).encode()


def dump(vector: Vector, outcomes: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of a file: one line for each call."""
    head = {
        "format": FORMAT,
        "name": vector.name,
        "chain_id": vector.chain_id,
        "accounts": list(vector.accounts),
        "terms": {field.name: _out(getattr(vector.terms, field.name)) for field in fields(Terms)},
        **{name: _out(getattr(vector, name)) for name in ("root", "cid", "pool")},
    }
    lines = [
        json.dumps(
            {name: _out(value) for name, value in vars(step).items()} | dict(outcome), separators=(",", ":")
        )
        for step, outcome in zip(vector.steps, outcomes, strict=True)
    ]
    return json.dumps(head, separators=(",", ":"))[:-1] + ',"calls":[\n' + ",\n".join(lines) + "\n]}\n"


def load(text: str) -> tuple[Vector, list[dict[str, Any]]]:
    """Return the vector in a file, and what its calls have to come to."""
    content = json.loads(text)
    if content["format"] != FORMAT:
        raise ValueError(f"vectors of format {content['format']}: this reads {FORMAT}")
    steps, outcomes = [], []
    for call in content["calls"]:
        types = _types()[call["function"], len(call["args"])]
        args = tuple(_in(value, kind) for value, kind in zip(call["args"], types, strict=True))
        parent = bytes.fromhex(call["parent"][2:])
        steps.append(
            Step(int(call["time"]), parent, call["sender"], call["function"], args, int(call["value"]))
        )
        outcomes.append({name: call[name] for name in ("events", "reverted", "digest") if name in call})
    kinds = {field.name: "bytes32" if field.name == "layout" else "uint256" for field in fields(Terms)}
    terms = Terms(**{name: _in(value, kinds[name]) for name, value in content["terms"].items()})
    genesis = bytes.fromhex(content["root"][2:]), bytes.fromhex(content["cid"][2:]), int(content["pool"])
    people = tuple(content["accounts"])
    return Vector(content["name"], content["chain_id"], people, terms, *genesis, tuple(steps)), outcomes


def _types() -> dict[tuple[str, int], tuple[str, ...]]:
    """Return the types of all functions' arguments, by name and number."""
    entries = [entry for entry in artifact()["abi"] if entry["type"] == "function"]
    return {(entry["name"], len(entry["inputs"])): plain_types(entry) for entry in entries}


def _out(value: Any) -> Any:
    """Return a value as JSON has it: bytes in hexadecimal, numbers in decimal as text, lists as lists."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, Mapping):
        return {name: _out(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_out(item) for item in value]
    return value


def _in(value: Any, kind: str) -> Any:
    """Return a value of a type out of JSON."""
    if isinstance(value, list):
        if kind.startswith("(") and kind.endswith(")"):
            return tuple(_in(item, part) for item, part in zip(value, plain_types(kind), strict=True))
        return tuple(_in(item, kind[: kind.rindex("[")]) for item in value)
    if kind.startswith(("uint", "int")):
        return int(value)
    if kind.startswith("bytes"):
        return bytes.fromhex(value[2:])
    return value


def check(path: Path) -> str | None:
    """Return the first difference between a file and the specification; None where there is none."""
    vector, expected = load(path.read_text())
    for place, (outcome, wanted) in enumerate(zip(vector.on_specification(), expected, strict=True)):
        if outcome != wanted:
            return f"{path}: call {place}, {vector.steps[place].function}: {outcome}, not {wanted}"
    return None


def main(arguments: Sequence[str]) -> int:
    """Check files, or write them anew with `--write`; returns the exit code."""
    names = [argument for argument in arguments if argument != "--write"]
    if not names:
        print("usage: python -m bcfl.specification.vectors [--write] FILE ...", file=sys.stderr)
        return 2
    failures = 0
    for path in map(Path, names):
        if "--write" in arguments:
            vector, _ = load(path.read_text())
            path.write_text(dump(vector, list(vector.on_specification())))
        elif (difference := check(path)) is not None:
            print(difference)
            failures += 1
        else:
            print(f"{path}: the same")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
