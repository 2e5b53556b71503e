"""Give web3 the embedded chain: eth-tester behind its usual provider, without its slow paths.

A Node answers what it can; the rest of web3's interface is eth-tester's own, on the same py-evm chain.
Imported only when `w3` is used: together they take half a second to load.
"""

from __future__ import annotations

from typing import Any

from eth.exceptions import TransactionNotFound as MissingTransaction
from eth_tester import EthereumTester, PyEVMBackend  # type: ignore[import-untyped]
from eth_tester.backends.pyevm.serializers import (  # type: ignore[import-untyped]
    serialize_transaction,
)
from eth_tester.exceptions import TransactionNotFound  # type: ignore[import-untyped]
from web3 import EthereumTesterProvider, Web3
from web3.types import RPCEndpoint, RPCResponse

from bcfl.ledger.devnet.evm import Evm, transaction_place
from bcfl.ledger.devnet.node import UNKNOWN_METHOD, Node

# eth-tester feeds filters on its own way of sending, and a recorded chain is not rolled back.
WITHHELD = {
    "eth_newFilter",
    "eth_newBlockFilter",
    "eth_newPendingTransactionFilter",
    "evm_snapshot",
    "evm_revert",
}


class Backend(PyEVMBackend):  # type: ignore[misc]
    """eth-tester's backend on a chain that exists, without accounts of its own."""

    def __init__(self, evm: Evm) -> None:
        self.chain = evm
        self.account_keys = ()

    def mine_blocks(self, num_blocks: int = 1, coinbase: bytes = bytes(20)) -> tuple[bytes, ...]:
        """Mine empty blocks; the coinbase stays the chain's, so that nothing depends on the caller."""
        del coinbase
        return tuple(self.chain.mine(()).hash for _ in range(num_blocks))

    def get_transaction_by_hash(self, transaction_hash: bytes) -> dict[str, Any]:
        """Return a mined transaction by the chain's index, instead of by going back block by block."""
        try:
            header, index = transaction_place(self.chain, transaction_hash)
        except MissingTransaction as error:
            raise TransactionNotFound(str(error)) from error
        block = self.chain.get_block_by_header(header)
        content: dict[str, Any] = serialize_transaction(block, block.transactions[index], index, False)
        return content


class Provider(EthereumTesterProvider):
    """A provider that answers from a Node first, from eth-tester otherwise."""

    def __init__(self, node: Node, evm: Evm) -> None:
        super().__init__(EthereumTester(Backend(evm)))
        self._node = node

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Return the response to one request."""
        if method in WITHHELD:
            message = f"{method} is not offered by the embedded chain; read events by eth_getLogs"
            return {"jsonrpc": "2.0", "id": 1, "error": {"code": UNKNOWN_METHOD, "message": message}}
        if method not in self._node.methods:
            with self._node.lock():
                return super().make_request(method, params)
        if method == "eth_getLogs":
            names = {"from_block": "fromBlock", "to_block": "toBlock"}  # eth-tester's middleware renames
            params = [{names.get(name, name): value for name, value in params[0].items()}]
        response: Any = self._node.respond(method, list(params))
        return response  # type: ignore[no-any-return]


def web3_of(node: Node, evm: Evm) -> Web3:
    """Return a web3 instance on the embedded chain."""
    return Web3(Provider(node, evm))
