"""Reach any EVM node behind a URL, by JSON-RPC over HTTP, a WebSocket or a Unix socket."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bcfl.errors import LedgerError, Unreachable
from bcfl.ledger.chain import SignedTransaction, was_scarce
from bcfl.ledger.delivery import Delivery, Raise
from bcfl.ledger.failover import Endpoints
from bcfl.protocol.limits import TRANSACTION_GAS

if TYPE_CHECKING:
    from web3 import Web3

MAX_TIP = 200 * 10**9  # wei for a unit of gas; what a node suggests is paid, whatever the chain would take
MARGIN = 5  # a fifth more gas than estimated: other transactions may come before
MAX_CUTS = 3  # transactions that may run short at less gas than the floor, which a block's limit cuts
DEVELOPMENT_NODES = (
    "anvil/",
    "HardhatNetwork/",
    "bcfl/",
)  # nodes whose pending block keeps time between blocks


class RpcChain:
    """The node at `url`; raises Unreachable when it does not answer within `timeout` seconds.

    `url` is that of an HTTP or WebSocket endpoint, or the path of a Unix socket (`/...` or `....ipc`). Of
    several with commas between, the next one is asked where one fails or is behind; all have to serve the
    same chain. A transaction may take `mining_timeout` seconds to be mined; the node is asked every `poll`
    seconds.
    """

    def __init__(
        self, url: str, *, timeout: float = 20, mining_timeout: float = 180, poll: float = 0.2
    ) -> None:
        self._endpoints = Endpoints(url.split(","), timeout)
        self._mining_timeout, self._poll = mining_timeout, poll
        self._least_gas = 0  # that a transaction gets: more than was too little for another
        self._cuts = 0  # transactions that got less, as blocks take no more, and ran short
        self.chain_id = int(self.request("eth_chainId"), 16)
        self._endpoints.insist_on(self.chain_id)

    @property
    def url(self) -> str:
        """The URL of the node that is asked, without what may be secret."""
        return self._endpoints.current.url

    @property
    def switches(self) -> int:
        """How often another node was asked from then on; it may know less than the one before."""
        return self._endpoints.switches

    @property
    def w3(self) -> Web3:
        """The node that is asked, through web3."""
        return self._endpoints.current.w3

    @cached_property
    def view(self) -> str:
        """The block that calls are made at: "pending" on a development node, else "latest".

        On a development node blocks come with transactions only.
        """
        client = str(self.request("web3_clientVersion"))
        return "pending" if client.startswith(DEVELOPMENT_NODES) else "latest"

    def request(self, method: str, *params: Any) -> Any:
        """Return the result of one JSON-RPC call; raises Reverted, LedgerError or Unreachable."""
        return self._endpoints.ask(method, params)

    def now(self) -> int:
        """Return the timestamp of the block that calls are made at, in seconds since 1970."""
        return int(self._block()["timestamp"], 16)

    def warp(self, timestamp: int) -> None:
        """Let the next block come no earlier than `timestamp`; raises LedgerError where time is not ours."""
        if self.view != "pending":
            raise LedgerError(f"{self.url}: this chain keeps its own time; only a development node skips it")
        if timestamp > self.now():
            self.request("evm_setNextBlockTimestamp", timestamp)

    def fees(self) -> tuple[int, int]:
        """Return twice the base fee plus the tip that the node suggests, and that tip, in wei.

        A base fee that is a lie costs nothing, as the chain takes its own; a tip would cost all there is.
        """
        tip = min(int(self.request("eth_maxPriorityFeePerGas"), 16), MAX_TIP)
        base_fee = self._block().get("baseFeePerGas")
        if base_fee is None:
            raise LedgerError(f"{self.url}: this chain has no base fee; bcfl needs EIP-1559 (London, 2021)")
        return 2 * int(base_fee, 16) + tip, tip

    def estimate(self, transaction: Mapping[str, str]) -> int:
        """Return the node's estimate of the gas; raises Reverted when the transaction would fail now."""
        return int(self.request("eth_estimateGas", dict(transaction), self.view), 16)

    def gas(self, transaction: Mapping[str, str]) -> int:
        """Return the node's estimate and a margin, as far as the chain takes it.

        Raises Reverted when the transaction would fail now, and LedgerError where the node's estimates, and
        what it says that a block holds, have made transactions fail.
        """
        estimate = self.estimate(transaction)
        gas = max(estimate + estimate // MARGIN, self._least_gas)
        block_gas = int(self._block().get("gasLimit") or hex(TRANSACTION_GAS), 16)
        gas = max(estimate, min(gas, TRANSACTION_GAS, block_gas))
        if gas < self._least_gas and self._cuts >= MAX_CUTS:
            raise LedgerError(
                f"{self.url}: {self._cuts} transactions ran out of gas, and by this node a block has no more "
                "of it: nothing is sent before the next start; ask another node"
            )
        return gas

    def deliver(self, transaction: SignedTransaction, raise_fee: Raise | None = None) -> Mapping[str, Any]:
        """Hand over a transaction, again where the node loses it; returns the receipt once it is mined.

        After one that had too little gas all later ones have twice its limit at least: whatever a node
        estimates, all such failures together cost less than twice the dearest call. A block may hold less;
        a node that lies about that makes MAX_CUTS of them fail.
        """
        delivery = Delivery(self.request, self.url, transaction, raise_fee)
        receipt = delivery.receipt(self._mining_timeout, self._poll)
        if was_scarce(receipt, transaction.gas):
            self._cuts += transaction.gas < self._least_gas
            self._least_gas = max(self._least_gas, min(2 * transaction.gas, TRANSACTION_GAS))
        return receipt

    def close(self) -> None:
        """Close the connections."""
        self._endpoints.close()

    def _block(self) -> Mapping[str, str]:
        block: Mapping[str, str] | None = self.request("eth_getBlockByNumber", self.view, False)
        if block is None:
            raise Unreachable(f"{self.url}: the node knows no block: is it still starting?")
        return block
