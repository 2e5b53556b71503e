"""Read and write the specification's state by the contract's words: the same tests set up both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bcfl.ledger.abi import address_of
from bcfl.protocol.hashing import word
from bcfl.specification.chain import VirtualChain
from bcfl.specification.state import Entry, Exit, Lead, Proposal, Rest, RoundClock, State

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


def _roster(state: State) -> int:
    registry = state.registry
    masks = registry.active | registry.changed << 64 | registry.leaving << 128
    return masks | registry.total << 192 | registry.next_engine << 224


def _draws(state: State) -> int:
    draws = state.rounds.draws
    masks = sum(mask << 64 * place for place, mask in enumerate(draws))
    return masks | state.rounds.drawn << 192 if draws else 0


READ_ONLY: Mapping[str, Callable[[State], int]] = {
    "absence.missed": lambda state: sum(n << 4 * seat for seat, n in state.absence.missed.items()),
    "registry.device_count": lambda state: len(state.registry.devices),
    "registry.roster": _roster,
    "rounds.committee": lambda state: state.rounds.committee.word,
    "rounds.draws": _draws,
    "submissions.links": lambda state: int.from_bytes(state.submissions.links, "big"),
}


def _record(state: State, account: str) -> int:
    record = state.registry.records.get(account)
    if record is None:
        return 0
    if not record.is_seated:
        return 1 << 26
    flags = record.consents << 28 | record.is_suspended << 27 | record.is_device << 25 | 1 << 24
    return record.digest << 32 | flags | record.weight << 8 | record.index


def _rest(state: State, account: str) -> int:
    rest = state.absence.rests.get(account, Rest())
    return rest.since | rest.strikes << 36 | rest.until_round << 40 | rest.last << 72


def _exit(state: State, account: str) -> int:
    leave = state.registry.exits.get(account, Exit(0))
    return leave.round | leave.time << 32


def _score(state: State, account: str) -> int:
    if (score := state.scores.records.get(account)) is None:
        return 0
    known = score.resources
    shares = known.storage | known.quality << 16 | known.stability << 32
    return shares | known.rate << 48 | score.before << 72 | score.round << 104


BY_ACCOUNT: Mapping[str, Callable[[State, str], int]] = {
    "absence.rests": _rest,
    "registry.device_index": lambda state, account: state.registry.device_index.get(account, -1) + 1,
    "registry.exits": _exit,
    "registry.records": _record,
    "registry.stakes": lambda state, account: state.registry.stakes.get(account, 0),
    "scores.records": _score,
    "treasury.credits": lambda state, account: state.treasury.credits.get(account, 0),
}


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
        state = self.chain.state
        if key is not None:
            return BY_ACCOUNT[name](state, _account(key))
        return READ_ONLY[name](state) if name in READ_ONLY else VARIABLES[name].get(state)

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
                assert (name, key) == ("rounds.ledger", key), name
                self.chain.state.rounds.ledger[key] = word(value)

    def put_balance(self, address: str, wei: int) -> None:
        """Give any account so many wei."""
        self.chain.state.accounts.balances[address_of(address)] = wei

    def put_field(self, name: str, key: int, place: int, value: int) -> None:
        """Write one word of a dispute."""
        assert name == "disputes.disputes", name
        disputes, field = self.chain.state.disputes.disputes, DISPUTE_FIELDS[place]
        changes: dict[str, Any] = {field: word(value) if field == "node" else value}
        disputes[key] = replace(disputes[key], **changes)


def _account(key: int) -> str:
    return address_of(f"0x{key:040x}")
