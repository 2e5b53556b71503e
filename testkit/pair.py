"""Make every call on the bytecode and on the specification, and insist that both come to the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from bcfl.errors import LedgerError, Reverted
from bcfl.ledger.artifact import artifact
from bcfl.ledger.contract import Contract, Event, Key, Receipt
from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.protocol.types import Terms
from bcfl.specification.call import BlockContext
from bcfl.specification.chain import WEALTH, VirtualChain
from bcfl.specification.contract import Specification
from bcfl.specification.vectors import Step
from testkit.specification_slots import BY_ACCOUNT, READ_ONLY, VARIABLES, SpecificationSlots
from testkit.storage_slots import StorageSlots

NOBODY = "0x" + "00" * 20
OFTEN = 8  # calls between two comparisons of all accounts


class Mirror(VirtualChain):
    """A virtual chain whose next block is that of the embedded one."""

    def __init__(self, chain: EmbeddedChain, accounts: Iterable[str]) -> None:
        super().__init__(accounts=accounts)
        self.embedded = chain
        self.is_following = False  # the deployment is in blocks that are the same anyway

    def next_block(self) -> BlockContext:
        """Return the block that a call made now is in, on both."""
        if not self.is_following:
            return super().next_block()
        header = self.embedded._evm.header
        number, fee = int(header.block_number), int(header.base_fee_per_gas or 0)
        return BlockContext(number, int(header.timestamp), bytes(header.parent_hash), fee)


def pair_of(
    contract: Contract, owner: Key, terms: Terms, root: bytes, cid: bytes, pool: int, accounts: Iterable[str]
) -> Pair:
    """Return the pair of a federation that was just deployed, and of its specification."""
    chain, people = contract.chain, sorted(accounts)
    assert isinstance(chain, EmbeddedChain)
    mirror = Mirror(chain, people)
    specification, _ = Specification.create(mirror, owner, terms, root, cid, pool)
    mirror.is_following = True
    pair = Pair(contract, specification, people)
    spent = dict(zip(people, pair.slots.real.balances(*people), strict=True))
    pair.paid |= {name: WEALTH - spent[name] - pool * (name == owner.address) for name in people}
    return pair


class Pair(Contract):
    """A federation on the embedded chain, and its specification beside it; some accounts are watched.

    After every call revert reason or events, storage and balances are compared; `compare_views` compares what
    the views say as well.
    """

    def __init__(self, contract: Contract, specification: Specification, accounts: Iterable[str]) -> None:
        chain = contract.chain
        assert isinstance(chain, EmbeddedChain)
        super().__init__(chain, artifact()["abi"], contract.address)
        assert specification.address == contract.address
        self.embedded, self.contract, self.specification = chain, contract, specification
        self.accounts = [*accounts, contract.address, NOBODY]
        self.slots = PairedSlots(self)
        self.paid = dict.fromkeys(self.accounts, 0)  # for gas, wei
        self.calls = 0
        self.journal: list[Step] = []

    def send(self, key: Key, function: str, *args: Any, value: int = 0, gas: int | None = None) -> Receipt:
        """Make a call on both; raises what both raise."""
        mirror = self.specification.chain
        mirror.warp(self.embedded.now())
        coming = mirror.next_block()
        with suppress(LedgerError):  # arguments that are none
            made = self.specification.invocation(function, *args)
            self.journal.append(
                Step(coming.timestamp, coming.parent, key.address, function, made.args, value)
            )
        model = outcome(lambda: self.specification.send(key, function, *args, value=value))
        real = outcome(lambda: self.contract.send(key, function, *args, value=value, gas=gas))
        if (last := self.embedded._evm.last_header()).block_number == coming.number:
            self.paid[key.address] += int(last.gas_used) * coming.base_fee
        self.calls += 1
        where = f"call {self.calls}, {function}"
        assert described(model) == described(real), (where, described(model), described(real))
        # To read the chain takes longer than the call: all accounts only now and then.
        turn = self.accounts[self.calls % len(self.accounts)]
        self.compare(where, () if self.calls % OFTEN == 0 else (key.address, turn))
        if isinstance(real, Exception):
            raise real
        assert isinstance(real, Receipt)
        return real

    def call(self, function: str, *args: Any, sender: str | None = None, block: int | None = None) -> Any:
        """Return what a view, or the rehearsal of a call, says on both."""
        real = outcome(lambda: self.contract.call(function, *args, sender=sender, block=block))
        if block is None:
            model = outcome(lambda: self.specification.call(function, *args, sender=sender))
            assert described(model) == described(real), (function, described(model), described(real))
        if isinstance(real, Exception):
            raise real
        return real

    def compare(self, where: str, accounts: Sequence[str] = ()) -> None:
        """Insist that storage and balances are the same on both; entries of some accounts, by default all."""
        keys = [int(account, 16) for account in accounts or self.accounts]
        names: list[tuple[str, int | None]] = [(name, None) for name in (*VARIABLES, *READ_ONLY)]
        names += [(name, key) for name in BY_ACCOUNT for key in keys]
        pairs = zip(names, self.slots.model.read(*names), self.slots.real.read(*names), strict=True)
        for name, model_value, real_value in pairs:
            assert model_value == real_value, (where, name, model_value, real_value)
        real = self.slots.real.balances(*self.accounts)
        spent = [balance + self.paid[account] for balance, account in zip(real, self.accounts, strict=True)]
        assert self.slots.model.balances(*self.accounts) == spent, where

    def compare_views(self, disputes: int) -> None:
        """Insist that all views say the same, also of so many disputes and one more."""
        for name in ("round_clock", "lead_now", "model", "pool", "owed", "staked", "target", "puzzle"):
            self.call(name)
        for name in ("dispute_price", "turn_credits", "owner"):
            self.call(name)
        for number in range(disputes + 2):
            self.call("dispute_state", number)
        for account in self.accounts:
            for name in ("credits", "miner", "rest", "resources"):
                outcome(lambda name=name, account=account: self.call(name, account))  # type: ignore[misc]


class PairedSlots:
    """The storage of both: what is written is written to both, what is read is the same."""

    def __init__(self, pair: Pair) -> None:
        self.real = StorageSlots(pair.embedded, pair.address)
        self.model = SpecificationSlots(pair.specification.chain)
        self.pair = pair

    def snapshot(self) -> tuple[Any, Any, dict[str, int]]:
        """Return both states, for `restore`."""
        return self.real.snapshot(), self.model.snapshot(), dict(self.pair.paid)

    def restore(self, snapshot: tuple[Any, Any, dict[str, int]]) -> None:
        """Go back to both states; blocks and time stay."""
        self.real.restore(snapshot[0])
        self.model.restore(snapshot[1])
        self.pair.paid = dict(snapshot[2])

    def get(self, name: str, key: int | None = None) -> int:
        """Return the value of a variable, or of a map at a key."""
        value = self.real.get(name, key)
        assert value == self.model.get(name, key), name
        return value

    def read(self, *names: tuple[str, int | None]) -> list[int]:
        """Return the values of several variables and entries at once."""
        values = self.real.read(*names)
        assert values == self.model.read(*names), names
        return values

    def balances(self, *addresses: str) -> list[int]:
        """Return what accounts have on the embedded chain, in wei."""
        return self.real.balances(*addresses)

    def put(self, *values: tuple[str, int | None, int]) -> None:
        """Write variables and entries of maps."""
        self.real.put(*values)
        self.model.put(*values)

    def put_balance(self, address: str, wei: int) -> None:
        """Give any account so many wei."""
        self.real.put_balance(address, wei)
        self.model.put_balance(address, wei)

    def put_field(self, name: str, key: int, place: int, value: int) -> None:
        """Write one word of a dispute."""
        self.real.put_field(name, key, place, value)
        self.model.put_field(name, key, place, value)


def outcome(make: Callable[[], Any]) -> Any:
    """Return what a call comes to, its refusal included."""
    try:
        return make()
    except LedgerError as error:
        return error


def described(result: Any) -> Any:
    """Return what of an outcome has to be the same on both."""
    if isinstance(result, Reverted):
        return "reverted", str(result)
    if isinstance(result, LedgerError):
        return "refused"
    if isinstance(result, Receipt):
        return result.block, result.timestamp, [event_of(event) for event in result.events]
    return plain(result)


def event_of(event: Event) -> tuple[str, dict[str, Any]]:
    """Return an event's name and arguments."""
    return event.name, {name: plain(value) for name, value in event.args.items()}


def plain(value: Any) -> Any:
    """Return a value whose lists are tuples and whose enumerations are numbers."""
    if isinstance(value, (list, tuple)):
        return tuple(plain(item) for item in value)
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value
