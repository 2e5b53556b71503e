"""Answer what only an audit asks of the embedded chain: blocks, transactions and balances."""

from __future__ import annotations

from bcfl.ledger.devnet.evm import Evm
from bcfl.ledger.devnet.node import Node


class Records(Node):
    """What only an audit asks of a chain; apart from Node, whose methods web3's provider uses."""

    def __init__(self, evm: Evm, *, read_only: bool) -> None:
        super().__init__(evm, read_only=read_only)
        self.methods = {
            "eth_getBlockByNumber": self._block_by_number,
            "eth_getTransactionByHash": self._transaction,
            "eth_getBalance": self._balance,
        }
