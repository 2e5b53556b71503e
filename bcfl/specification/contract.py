"""Use the specification as a deployed federation: the adapter of a contract, on a chain without an EVM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

import rlp  # type: ignore[import-untyped]

from bcfl.errors import LedgerError, Reverted
from bcfl.ledger.abi import address_of
from bcfl.ledger.artifact import FACETS, artifact
from bcfl.ledger.chain import NO_REASON
from bcfl.ledger.contract import Contract, Event, Key, Receipt
from bcfl.protocol.hashing import keccak, word
from bcfl.protocol.limits import MAX_CALLS, MULTICALL_BYTES
from bcfl.protocol.submissions import Domain
from bcfl.protocol.types import Terms
from bcfl.specification import federation
from bcfl.specification.arguments import Arguments
from bcfl.specification.call import BlockContext, Call, Function, Invocation, bounded, panic, require
from bcfl.specification.chain import Transaction, VirtualChain
from bcfl.specification.federation import FUNCTIONS, PAYABLE, VIEWS
from bcfl.specification.state import ZERO_ADDRESS, State

BATCH: Final = "multicall"
CREATION: Final = "constructor"
SELECTOR: Final = 4  # bytes
KEPT_CALLS: Final = 256  # of which the arguments are remembered


class Specification(Contract):
    """A federation on a virtual chain, with the methods of a contract's adapter.

    Gas costs nothing: receipts and `price` say 0. What an EVM alone decides is left out: the gas that a call
    runs out of, the size of calldata and of answers.
    """

    chain: VirtualChain

    def __init__(self, chain: VirtualChain, terms: Terms, address: str) -> None:
        abi = artifact()["abi"]
        super().__init__(chain, abi, address)
        self.terms, self.domain = terms, Domain(chain.chain_id, self.address)
        functions = [entry for entry in abi if entry["type"] == "function"]
        self._arguments = {(item["name"], len(item["inputs"])): Arguments(item) for item in functions}
        self.facets = (ZERO_ADDRESS, ZERO_ADDRESS)  # where the bytecode would have them
        own: dict[str, Function] = {BATCH: self._multicall, "facets": lambda _: self.facets}
        self._functions = {**FUNCTIONS, **own}
        self._decoded = lru_cache(maxsize=KEPT_CALLS)(self._decode)  # what is priced first is sent then
        self._encoded: dict[bytes, Invocation] = {}  # calls behind calldata of this object, oldest first

    @classmethod
    def create(
        cls, chain: VirtualChain, key: Key, terms: Terms, root: bytes, cid: bytes, pool: int
    ) -> tuple[Specification, Receipt]:
        """Deploy a federation, at the address that the bytecode gets; `pool` wei go into the pool of rewards.

        The facets of the bytecode take a block each before it, empty here.
        """
        nonces, places = chain.state.accounts.nonces, {}
        first = nonces.get(key.address, 0)
        for place, (name, _) in enumerate(FACETS):
            places[name] = _created(key.address, first + place)
            chain.mine()
        nonces[key.address] = first + len(FACETS)
        contract = cls(chain, terms, _created(key.address, first + len(FACETS)))
        contract.facets = places["SettlementFacet"], places["MembershipFacet"]
        args = (root, cid)
        receipt = contract._transact(key, Invocation(CREATION, args), pool, federation.construct)
        return contract, receipt

    def call(self, function: str, *args: Any, sender: str | None = None, block: int | None = None) -> Any:
        """Call `function`; returns one value, or a tuple of several, structs as tuples."""
        invocation = self.invocation(function, *args)
        state, context = self.chain.state, self.chain.next_block()
        if block is not None:
            state, mined = self.chain.state_at(block), self.chain.blocks[block]
            parent = self.chain.blocks[max(0, block - 1)].hash
            context = BlockContext(block, mined.timestamp, parent, self.chain.base_fee)
        if function not in VIEWS:
            state = state.draft()
        call = self._begin(state, ZERO_ADDRESS if sender is None else address_of(sender), 0, context)
        return _run(call, self._functions[function], *invocation.args)

    def invocation(self, function: str, *args: Any) -> Invocation:
        """Return a call with its arguments in form; raises LedgerError for those of other types."""
        arguments = self._arguments.get((function, len(args)))
        if arguments is None or function not in self._functions:
            self.abi.function(function, len(args))  # says what there is instead
            raise LedgerError(f"the specification has no function {function}")
        return Invocation(function, arguments.convert(args))

    def encode(self, function: str, *args: Any) -> bytes:
        """Return the calldata of a call, as any contract does, and remember what call it is."""
        data = super().encode(function, *args)
        if (function, len(args)) in self._arguments:
            self._encoded[data] = self.invocation(function, *args)
            if len(self._encoded) > KEPT_CALLS:
                del self._encoded[next(iter(self._encoded))]
        return data

    def size(self, invocation: Invocation) -> int:
        """Return the bytes of a call's calldata."""
        return self._arguments[invocation.function, len(invocation.args)].size(invocation.args)

    def send(self, key: Key, function: str, *args: Any, value: int = 0, gas: int | None = None) -> Receipt:
        """Make a call and put it into a block of its own, also where it reverts; `gas` has no meaning."""
        del gas
        return self._transact(key, self.invocation(function, *args), value, self._functions[function])

    def send_together(self, key: Key, calls: Sequence[Invocation], optional: int) -> Receipt:
        """Make several calls in one transaction, as `multicall` does, without encoding them."""
        batch = Invocation(BATCH, (tuple(calls), optional))
        return self._transact(key, batch, 0, federation.several)

    def try_together(self, key: Key, calls: Sequence[Invocation], optional: int) -> None:
        """Raise Reverted where several calls in one transaction would fail now."""
        call = self._begin(self.chain.state.copy(), key.address, 0, self.chain.next_block())
        _run(call, federation.several, calls, optional)

    def price(self, key: Key, function: str, *args: Any) -> int:
        """Return 0; raises Reverted where a call would fail."""
        self.call(function, *args, sender=key.address)
        return 0

    def pieces(self, first: int, last: int, name: str | None = None) -> Iterator[tuple[int, list[Event]]]:
        """Yield the last block and all events of the blocks `first` to `last`."""
        if first <= last:
            blocks = self.chain.blocks[first : last + 1]
            yield (
                last,
                [event for block in blocks for event in block.events if name is None or event.name == name],
            )

    def gas_of(self, transaction: bytes) -> int:
        """Return 0: nothing is metered."""
        del transaction
        return 0

    def _multicall(self, call: Call, calldata: bytes, lengths: Sequence[int], optional: int) -> None:
        """Make the calls that come as bytes, one behind the other."""
        bounded(MULTICALL_BYTES, calldata)
        bounded(MAX_CALLS, lengths)
        federation.several(call, self._cut(calldata, lengths), optional, self._functions)
        require(sum(lengths) == len(calldata), "federation: lengths do not add up")

    def _cut(self, calldata: bytes, lengths: Sequence[int]) -> Iterator[Invocation]:
        """Yield one call after the other, so that what comes before a wrong length is made, or reverts."""
        start = 0
        for length in lengths:
            if start + length > len(calldata):
                panic()
            yield self._decoded(calldata[start : start + length])
            start += length

    def _decode(self, calldata: bytes) -> Invocation:
        """Return the call that calldata makes; one that always fails where it makes none."""
        if calldata in self._encoded:
            return self._encoded[calldata]
        if len(calldata) < SELECTOR:
            return Invocation("nothing")
        kind = self.abi.function_of(calldata)
        if kind is None:
            return Invocation("unknown")
        try:
            return self.invocation(kind.name, *kind.arguments(calldata))
        except LedgerError:
            return Invocation("unknown")

    def _begin(self, state: State, sender: str, value: int, block: BlockContext) -> Call:
        return Call(state, self.terms, self.domain, sender, value, block, self.chain.receivers)

    def _transact(self, key: Key, invocation: Invocation, value: int, function: Any) -> Receipt:
        """Run a transaction and mine it; raises Reverted after that where it fails, LedgerError before."""
        chain, sender = self.chain, key.address
        before = chain.state.copy()
        if before.accounts.balances.get(sender, 0) < value:
            raise LedgerError(f"the node refused: {sender} has not the {value} wei that it sends")
        nonce = before.accounts.nonces.get(sender, 0)
        chain.keep(before)
        call = self._begin(chain.state, sender, value, chain.next_block())
        failure: Reverted | None = None
        try:
            if value:
                _bring(call)
                if invocation.function not in (*PAYABLE, CREATION):
                    raise Reverted(NO_REASON)
            _run(call, function, *invocation.args)
        except Reverted as error:
            chain.state.restore(before.copy())
            failure = error
            call.logs.clear()
        chain.state.accounts.nonces[sender] = nonce + 1
        transaction = self._transaction(sender, nonce, invocation, value)
        block = chain.mine(transaction, self._logged(call, transaction))
        if failure is not None:
            raise failure
        return Receipt(transaction.hash, block.number, block.timestamp, 0, block.events, None)

    def _transaction(self, sender: str, nonce: int, invocation: Invocation, value: int) -> Transaction:
        content = repr((invocation.function, invocation.args)).encode()
        digest = keccak(bytes.fromhex(sender[2:]) + word(nonce) + word(value) + content)

        def calldata() -> bytes:
            if invocation.function == BATCH and isinstance(invocation.args[0], tuple):
                invocations, optional = invocation.args
                parts = [self.encode(item.function, *item.args) for item in invocations]
                return self.encode(BATCH, b"".join(parts), [len(part) for part in parts], optional)
            if invocation.function == CREATION:
                return b""
            return self.encode(invocation.function, *invocation.args)

        to = None if invocation.function == CREATION else self.address
        return Transaction(digest, sender, to, value, calldata)

    def _logged(self, call: Call, transaction: Transaction) -> tuple[Event, ...]:
        number, timestamp = call.block.number, call.block.timestamp
        return tuple(
            Event(name, args, number, timestamp, transaction.hash, index, self.address)
            for index, (name, args) in enumerate(call.logs)
        )


def _created(creator: str, nonce: int) -> str:
    """Return the address of the contract that a transaction creates."""
    return address_of(keccak(rlp.encode([bytes.fromhex(creator[2:]), nonce]))[12:])


def _bring(call: Call) -> None:
    """Move the ether of a call to the contract."""
    balances, contract = call.state.accounts.balances, call.domain.contract
    balances[call.sender] -= call.value
    balances[contract] = balances.get(contract, 0) + call.value


def _run(call: Call, function: Any, *args: Any) -> Any:
    """Run a function; what Vyper checks by itself reverts without a reason."""
    try:
        return function(call, *args)
    except (ArithmeticError, IndexError) as error:
        raise Reverted(NO_REASON) from error
