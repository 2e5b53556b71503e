"""The chain that an episode is played on: one seam, behind it the bytecode or the specification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from bcfl.ledger.artifact import deploy
from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.protocol.accounts import Account
from bcfl.protocol.types import Terms

ETHER = 10**18
POOL = 100 * ETHER


class EpisodeChain(Protocol):
    """A chain with one federation on it, whose time is made up."""

    contract: Any  # with the interface of bcfl.ledger.contract.Contract
    can_reorganise: bool

    def now(self) -> int:
        """Return the time that a transaction sent now would see, in seconds."""

    def warp(self, timestamp: int) -> None:
        """Let the next block come no earlier."""

    def head(self) -> int:
        """Return the number of the last block."""

    def block(self, number: int) -> Mapping[str, Any] | None:
        """Return number and hash of a block as a node gives them."""

    def balance(self) -> int:
        """Return what the contract holds, in wei."""

    def mark(self) -> object:
        """Return what `revert` takes to come back to the chain as it is now."""

    def revert(self, mark: object) -> None:
        """Take back every block since a mark; the blocks that follow have other hashes."""

    def close(self) -> None:
        """Release what it holds."""


class BytecodeChain:
    """The compiled contracts on the embedded EVM: slow, and what really counts."""

    can_reorganise = False

    def __init__(
        self, owner: Account, accounts: list[str], terms: Terms, genesis: tuple[bytes, bytes]
    ) -> None:
        self._chain = EmbeddedChain(None, accounts=sorted(accounts))
        self.contract, _ = deploy(self._chain, owner, terms, *genesis, POOL)

    def now(self) -> int:
        """Return the timestamp of the next block."""
        return self._chain.now()

    def warp(self, timestamp: int) -> None:
        """Let the next block come no earlier."""
        self._chain.warp(timestamp)

    def head(self) -> int:
        """Return the number of the last block."""
        return int(self._chain.request("eth_blockNumber"), 16)

    def block(self, number: int) -> Mapping[str, Any] | None:
        """Return number and hash of a block."""
        if number > self.head():
            return None
        header = self._chain._evm.get_canonical_block_header_by_number(number)  # type: ignore[arg-type]
        return {"number": hex(number), "hash": "0x" + header.hash.hex()}

    def balance(self) -> int:
        """Return what the contract holds, in wei."""
        return int(self._chain.request("eth_getBalance", self.contract.address, "latest"), 16)

    def mark(self) -> object:
        """Refuse: the embedded chain keeps its blocks."""
        raise NotImplementedError("the embedded chain takes no block back")

    def revert(self, mark: object) -> None:
        """Refuse, as `mark`."""
        raise NotImplementedError("the embedded chain takes no block back")

    def close(self) -> None:
        """Release the database."""
        self._chain.close()
