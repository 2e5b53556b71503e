"""The executable specification as the chain of an episode: fast, and it can take blocks back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bcfl.protocol.accounts import Account
from bcfl.protocol.types import Terms
from bcfl.specification.chain import VirtualChain
from bcfl.specification.contract import Specification
from tests.simulation.chain import POOL


class SpecificationChain:
    """A federation of the specification on its virtual chain."""

    can_reorganise = True

    def __init__(
        self, owner: Account, accounts: list[str], terms: Terms, genesis: tuple[bytes, bytes]
    ) -> None:
        self._chain = VirtualChain(accounts=accounts)
        self.contract, _ = Specification.create(self._chain, owner, terms, *genesis, POOL)
        self._forks = 0

    def now(self) -> int:
        """Return the timestamp of the next block."""
        return self._chain.now()

    def warp(self, timestamp: int) -> None:
        """Let the next block come no earlier."""
        self._chain.warp(timestamp)

    def head(self) -> int:
        """Return the number of the last block."""
        return self._chain.head.number

    def block(self, number: int) -> Mapping[str, Any] | None:
        """Return number and hash of a block."""
        block: Mapping[str, Any] | None = self._chain.request("eth_getBlockByNumber", hex(number), False)
        return block

    def balance(self) -> int:
        """Return what the contract holds, in wei."""
        return self._chain.balance(self.contract.address)

    def mark(self) -> object:
        """Return a snapshot of everything."""
        return self._chain.snapshot()

    def revert(self, mark: Any) -> None:
        """Take back every block since a mark; an empty block in their place gives the others new hashes."""
        time = self._chain.now()
        self._chain.revert(mark)
        self._chain.warp(time)
        self._chain.mine()

    def close(self) -> None:
        """Do nothing: there is no file."""
