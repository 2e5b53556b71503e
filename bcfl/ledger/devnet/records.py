"""Blocks, transactions and balances of the embedded chain as JSON-RPC tells them, for audits."""

from __future__ import annotations

from typing import Any

import rlp  # type: ignore[import-untyped]
from eth.abc import BlockAPI, BlockHeaderAPI, SignedTransactionAPI
from eth.exceptions import TransactionNotFound
from eth_typing import BlockNumber

from bcfl.ledger.devnet.evm import Evm, transaction_place
from bcfl.ledger.devnet.node import Json, Node, _address, _bytes, _hex, _price


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

    def _transaction(self, transaction_hash: Any) -> Json | None:
        try:
            header, index = transaction_place(self._evm, _bytes(transaction_hash))
        except TransactionNotFound:
            return None
        found = self._evm.get_canonical_transaction_by_index(header.block_number, index)
        return transaction_json(found, header, index)

    def _balance(self, address: str, block: Any = "latest") -> str:
        return hex(self._evm.get_vm(self._header(block)).state.get_balance(_address(address)))


def block_json(block: BlockAPI, full: bool) -> Json:
    """A block, its transactions by hash or `full`."""
    header = block.header
    listed = [_hex(transaction.hash) for transaction in block.transactions]
    whole = [transaction_json(transaction, header, i) for i, transaction in enumerate(block.transactions)]
    return {
        "number": hex(header.block_number),
        "hash": _hex(header.hash),
        "parentHash": _hex(header.parent_hash),
        "timestamp": hex(header.timestamp),
        "nonce": _hex(header.nonce),
        "sha3Uncles": _hex(header.uncles_hash),
        "logsBloom": _hex(header.bloom.to_bytes(256, "big")),
        "transactionsRoot": _hex(header.transaction_root),
        "receiptsRoot": _hex(header.receipt_root),
        "stateRoot": _hex(header.state_root),
        "miner": _hex(header.coinbase),
        "difficulty": hex(header.difficulty),
        "totalDifficulty": hex(header.difficulty),
        "mixHash": _hex(header.mix_hash),
        "extraData": _hex(header.extra_data),
        "size": hex(len(rlp.encode(block))),
        "gasLimit": hex(header.gas_limit),
        "gasUsed": hex(header.gas_used),
        "baseFeePerGas": hex(header.base_fee_per_gas or 0),
        "withdrawals": [],
        "withdrawalsRoot": _hex(header.withdrawals_root or b""),
        "blobGasUsed": hex(header.blob_gas_used),
        "excessBlobGas": hex(header.excess_blob_gas),
        "parentBeaconBlockRoot": _hex(header.parent_beacon_block_root or b""),
        "requestsHash": _hex(getattr(header, "requests_hash", b"")),
        "uncles": [],
        "transactions": whole if full else listed,
    }


def transaction_json(transaction: SignedTransactionAPI, header: BlockHeaderAPI, index: int) -> Json:
    """A mined transaction."""
    kind = getattr(transaction, "type_id", None) or 0
    content: Json = {
        "hash": _hex(transaction.hash),
        "blockHash": _hex(header.hash),
        "blockNumber": hex(header.block_number),
        "transactionIndex": hex(index),
        "type": hex(kind),
        "nonce": hex(transaction.nonce),
        "from": _hex(transaction.sender),
        "to": _hex(transaction.to) if transaction.to else None,
        "value": hex(transaction.value),
        "gas": hex(transaction.gas),
        "gasPrice": hex(_price(transaction, header)),
        "input": _hex(transaction.data),
        "r": hex(transaction.r),
        "s": hex(transaction.s),
    }
    if not kind:
        return content | {"v": hex(getattr(transaction, "v", transaction.y_parity))}
    content |= {"v": hex(transaction.y_parity), "yParity": hex(transaction.y_parity)}
    content |= {"chainId": hex(transaction.chain_id or 0), "accessList": _access(transaction)}
    if kind > 1:
        content["maxFeePerGas"] = hex(transaction.max_fee_per_gas)
        content["maxPriorityFeePerGas"] = hex(transaction.max_priority_fee_per_gas)
    return content


def _access(transaction: SignedTransactionAPI) -> list[Json]:
    return [
        {"address": _hex(address), "storageKeys": [_hex(slot.to_bytes(32, "big")) for slot in slots]}
        for address, slots in transaction.access_list
    ]
