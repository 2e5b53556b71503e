"""Follow a federation on a chain that may take blocks back: what was read of them is read again."""

from __future__ import annotations

import time

from bcfl.errors import Unreachable
from bcfl.ledger.contract import Contract
from bcfl.ledger.federation import FederationLedger
from bcfl.protocol.rounds import History


class LiveLedger(FederationLedger):
    """The ledger port for a process that follows a chain for a long time; for one thread.

    `from_block` is that of the federation's deployment, so that no older block is ever asked for.
    """

    def __init__(self, contract: Contract, from_block: int = 0) -> None:
        super().__init__(contract, from_block)
        self._last_read: tuple[int, str] | None = None  # number and hash of a block
        self._head_block: tuple[int, str] | None = None  # the last one that the node has told of
        self._head_since = time.monotonic()
        self.reorganisations = 0

    def history(self) -> History:
        """Return the history of the chain as it is now; raises Unreachable while it changes too fast."""
        latest = self._block("latest")
        if latest is None:
            raise Unreachable("the node knows no block: is it still starting?")
        if latest != self._head_block:
            self._head_block, self._head_since = latest, time.monotonic()
        if self._was_reorganised(latest):
            self.reorganisations += 1
            self._forget()
        # Before the events: what a failure leaves of them counts as long as this block is on the chain.
        self._last_read = latest
        return self._read(latest[0])

    def head_seconds(self) -> float | None:
        """Return how long ago the node has told of a new block; None where blocks come with calls only."""
        return None if self.contract.chain.view == "pending" else time.monotonic() - self._head_since

    def _was_reorganised(self, latest: tuple[int, str]) -> bool:
        """Return whether the block read last is not on the chain any more."""
        block = self._last_read
        return block is not None and latest != block and self._block(hex(block[0])) != block

    def _forget(self) -> None:
        super()._forget()
        self._last_read = None

    def _block(self, name: str) -> tuple[int, str] | None:
        block = self.contract.chain.request("eth_getBlockByNumber", name, False)
        return None if block is None else (int(block["number"], 16), str(block["hash"]))
