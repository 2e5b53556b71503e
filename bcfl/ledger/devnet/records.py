"""Answer what only an audit asks of the embedded chain: blocks, transactions and balances."""

from __future__ import annotations

from typing import Any

from eth_typing import BlockNumber

from bcfl.ledger.devnet.evm import Evm
from bcfl.ledger.devnet.node import Node
from bcfl.ledger.devnet.values import Json
from bcfl.ledger.devnet.views import block_json


class Records(Node):
    """What only an audit asks of a chain; apart from Node, whose methods web3's provider uses."""

    def __init__(self, evm: Evm, *, read_only: bool) -> None:
        super().__init__(evm, read_only=read_only)
        self.methods = {
            "eth_getBlockByNumber": self._block,
            "eth_getTransactionByHash": self._transaction,
            "eth_getBalance": self._balance,
        }

    def _block(self, block: Any, full: bool = False) -> Json | None:
        height = self._height(block)
        if not 0 <= height < self._evm.header.block_number:
            return None
        return block_json(self._evm.get_canonical_block_by_number(BlockNumber(height)), full)
