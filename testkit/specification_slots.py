"""Read and write the specification's state by the contract's words: the same tests set up both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bcfl.ledger.abi import address_of
from bcfl.protocol.hashing import word
from bcfl.specification.chain import VirtualChain
from bcfl.specification.state import Entry, Lead, Proposal, RoundClock, State

Fields = tuple[tuple[str, int], ...]  # names and bits, the lowest first

CLOCK: Fields = (
    ("phase", 4), ("updates", 16), ("round", 24), ("opened", 32), ("deadline", 32), ("since", 16),
    ("acted", 64), ("expected", 64), ("engine", 4),
)  # fmt: skip
LEAD: Fields = (
    ("leader", 8), ("turn", 6), ("is_standing", 1), ("is_held", 1), ("whole", 24), ("attested_weight", 24),
    ("attested", 64), ("failed", 64), ("samples", 31), ("matches", 32),
)  # fmt: skip
PROPOSAL: Fields = (("author", 8), ("cid", 56), ("content", 192))
ENTRY: Fields = (
    ("disputes", 12), ("opened", 4), ("pending", 36), ("surcharge", 4), ("lost", 24), ("proposal", 32),
    ("announced", 32), ("waiting", 112),
)  # fmt: skip
DISPUTE_FIELDS = {5: "height", 6: "index", 7: "node"}  # by their places in the contract's struct


@dataclass(frozen=True)
class Variable:
    """A variable of the contract in the specification: how its word is read and written."""

    get: Callable[[State], int]
    put: Callable[[State, int], None]


def packed(module: str, name: str, kind: type[Any], fields: Fields) -> Variable:
    """Return a variable that is a record here and one word in the contract."""

    def get(state: State) -> int:
        record, shift, total = getattr(getattr(state, module), name), 0, 0
        for field, bits in fields:
            total |= int(getattr(record, field)) << shift
            shift += bits
        return total

    def put(state: State, value: int) -> None:
        values: dict[str, Any] = {}
        for field, bits in fields:
            item = value & (1 << bits) - 1
            values[field], value = bool(item) if field.startswith("is_") else item, value >> bits
        setattr(getattr(state, module), name, kind(**values))

    return Variable(get, put)


def plain(module: str, name: str, is_digest: bool = False) -> Variable:
    """Return a variable that is a number or a digest on both sides."""

    def get(state: State) -> int:
        value = getattr(getattr(state, module), name)
        return int.from_bytes(value, "big") if is_digest else int(value)

    def put(state: State, value: int) -> None:
        setattr(getattr(state, module), name, word(value) if is_digest else value)

    return Variable(get, put)


def _put_books(state: State, value: int) -> None:
    state.treasury.pool, state.treasury.owed = value & (1 << 128) - 1, value >> 128


VARIABLES: Mapping[str, Variable] = {
    "rounds.clock": packed("rounds", "clock", RoundClock, CLOCK),
    "rounds.head": plain("rounds", "head", is_digest=True),
    "election.lead": packed("election", "lead", Lead, LEAD),
    "election.target": plain("election", "target"),
    "proposals.proposal": packed("proposals", "proposal", Proposal, PROPOSAL),
    "proposals.root": plain("proposals", "root", is_digest=True),
    "proposals.cid": plain("proposals", "cid", is_digest=True),
    "verification.accepted": plain("verification", "accepted", is_digest=True),
    "verification.votes": plain("verification", "votes", is_digest=True),
    "docket.word": packed("docket", "entry", Entry, ENTRY),
    "registry.staked": plain("registry", "staked"),
    "treasury.books": Variable(lambda state: state.treasury.owed << 128 | state.treasury.pool, _put_books),
}
BY_ACCOUNT = {"registry.stakes": ("registry", "stakes"), "treasury.credits": ("treasury", "credits")}


class SpecificationSlots:
    """What `StorageSlots` is to the bytecode: the variables by `module.variable`."""

    def __init__(self, chain: VirtualChain) -> None:
        self.chain = chain

    def snapshot(self) -> State:
        """Return a copy of the state, for `restore`."""
        return self.chain.state.copy()

    def restore(self, state: State) -> None:
        """Go back to a state; blocks and time stay."""
        self.chain.state.restore(state.copy())

    def get(self, name: str, key: int | None = None) -> int:
        """Return the value of a variable, or of a map at an account."""
        if key is None:
            return VARIABLES[name].get(self.chain.state)
        return int(self._map(name).get(_account(key), 0))

    def read(self, *names: tuple[str, int | None]) -> list[int]:
        """Return the values of several variables and entries at once."""
        return [self.get(name, key) for name, key in names]

    def balances(self, *addresses: str) -> list[int]:
        """Return what accounts have, in wei."""
        return [self.chain.balance(address) for address in addresses]

    def put(self, *values: tuple[str, int | None, int]) -> None:
        """Write variables (name, None, value) and entries of maps (name, key, value)."""
        for name, key, value in values:
            if key is None:
                VARIABLES[name].put(self.chain.state, value)
            else:
                self._map(name)[_account(key)] = value

    def put_balance(self, address: str, wei: int) -> None:
        """Give any account so many wei."""
        self.chain.state.accounts.balances[address_of(address)] = wei

    def put_field(self, name: str, key: int, place: int, value: int) -> None:
        """Write one word of a dispute."""
        assert name == "disputes.disputes", name
        disputes, field = self.chain.state.disputes.disputes, DISPUTE_FIELDS[place]
        changes: dict[str, Any] = {field: word(value) if field == "node" else value}
        disputes[key] = replace(disputes[key], **changes)

    def _map(self, name: str) -> dict[str, int]:
        module, field = BY_ACCOUNT[name]
        entries: dict[str, int] = getattr(getattr(self.chain.state, module), field)
        return entries


def _account(key: int) -> str:
    return address_of(f"0x{key:040x}")
