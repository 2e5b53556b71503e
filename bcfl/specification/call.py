"""Run a call: who sends it, in which block, on which state, and what comes of it.

A rule of the contract is a function that takes a `Call` first. It changes `call.state`, logs events and
insists with `require`; what it raises undoes everything (`Call.attempt`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NoReturn

from bcfl.errors import Reverted
from bcfl.ledger.chain import NO_REASON
from bcfl.protocol.submissions import Domain
from bcfl.protocol.types import Terms
from bcfl.specification.state import ZERO_ADDRESS, State

WORD: Final = 2**256
Function = Callable[..., Any]  # takes a Call, then the arguments
Receiver = Callable[["Call", int], None]  # of ether: may refuse it with Reverted


@dataclass(frozen=True)
class BlockContext:
    """The block that a call is in."""

    number: int
    timestamp: int  # seconds
    parent: bytes  # hash of the block before
    base_fee: int = 0  # wei for a unit of gas


@dataclass(frozen=True)
class Invocation:
    """A function by its name, with its arguments in form (see `arguments`)."""

    function: str
    args: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Facet:
    """The functions that one piece of the contract offers, each by its own name."""

    writes: tuple[Function, ...] = ()
    payable: tuple[Function, ...] = ()  # writes that take ether
    views: tuple[Function, ...] = ()


@dataclass
class Call:
    """A call of the contract; the values are those that Vyper names `msg`, `block`, `chain` and `self`."""

    state: State
    terms: Terms
    domain: Domain  # chain and address of the contract
    sender: str
    value: int  # wei
    block: BlockContext
    receivers: Mapping[str, Receiver] = field(default_factory=dict)  # accounts with code of their own
    logs: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # names and arguments of events

    def log(self, name: str, **args: Any) -> None:
        """Log an event; arguments in the order of the interface, addresses checksummed, lists as tuples."""
        self.logs.append((name, args))

    def attempt(self, function: Function, *args: Any) -> Any:
        """Make a call of which nothing is left where it reverts; raises Reverted."""
        state, logged = self.state.copy(), len(self.logs)
        try:
            return function(self, *args)
        except (Reverted, ArithmeticError, IndexError) as error:
            self.state.restore(state)
            del self.logs[logged:]
            if isinstance(error, Reverted):
                raise
            raise Reverted(NO_REASON) from error  # what Vyper checks by itself

    def pay(self, account: str, amount: int) -> bool:
        """Send ether of the contract; returns whether the receiver took it."""
        balances = self.state.accounts.balances
        if balances.get(self.domain.contract, 0) < amount:
            return False
        balances[self.domain.contract] -= amount
        balances[account] = balances.get(account, 0) + amount
        if (receiver := self.receivers.get(account)) is None:
            return True
        try:
            self.attempt(receiver, amount)
        except Reverted:
            balances = self.state.accounts.balances
            balances[account] -= amount
            balances[self.domain.contract] += amount
            return False
        return True

    def burn(self, amount: int) -> None:
        """Destroy ether of the contract."""
        if amount:
            require(self.pay(ZERO_ADDRESS, amount), NO_REASON)

    def inner(self, sender: str, value: int = 0) -> Call:
        """Return a call that another contract makes within this one: it shares state and logs."""
        return replace(self, sender=sender, value=value)


def require(condition: object, reason: str) -> None:
    """Revert with `reason` unless a condition holds."""
    if not condition:
        raise Reverted(reason)


def panic() -> NoReturn:
    """Revert without a reason, as what Vyper checks by itself does."""
    raise Reverted(NO_REASON)


def unsigned(value: int) -> int:
    """Return a number that a word of 256 bits holds; reverts for any other, as Vyper's arithmetic does."""
    if not 0 <= value < WORD:
        panic()
    return value


def bounded(limit: int, *lists: Any) -> None:
    """Revert where a list or a text is longer than its type in the contract."""
    for items in lists:
        if len(items) > limit:
            panic()
