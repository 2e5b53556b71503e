"""Show blocks, transactions and logs of the embedded chain as JSON-RPC has them."""

from __future__ import annotations

from collections.abc import Iterable

import rlp  # type: ignore[import-untyped]
from eth._utils.address import generate_contract_address
from eth.abc import BlockAPI, BlockHeaderAPI, ReceiptAPI, SignedTransactionAPI

from bcfl.ledger.devnet.logs import LogRow, log_json
from bcfl.ledger.devnet.values import Json, to_hex


def block_json(block: BlockAPI, full: bool) -> Json:
    """Return a block, its transactions by hash or `full`."""
    header = block.header
    hashes = [to_hex(transaction.hash) for transaction in block.transactions]
    transactions = [
        transaction_json(transaction, header, i) for i, transaction in enumerate(block.transactions)
    ]
    return {
        "number": hex(header.block_number),
        "hash": to_hex(header.hash),
        "parentHash": to_hex(header.parent_hash),
        "timestamp": hex(header.timestamp),
        "nonce": to_hex(header.nonce),
        "sha3Uncles": to_hex(header.uncles_hash),
        "logsBloom": to_hex(header.bloom.to_bytes(256, "big")),
        "transactionsRoot": to_hex(header.transaction_root),
        "receiptsRoot": to_hex(header.receipt_root),
        "stateRoot": to_hex(header.state_root),
        "miner": to_hex(header.coinbase),
        "difficulty": hex(header.difficulty),
        "totalDifficulty": hex(header.difficulty),
        "mixHash": to_hex(header.mix_hash),
        "extraData": to_hex(header.extra_data),
        "size": hex(len(rlp.encode(block))),
        "gasLimit": hex(header.gas_limit),
        "gasUsed": hex(header.gas_used),
        "baseFeePerGas": hex(header.base_fee_per_gas or 0),
        "withdrawals": [],
        "withdrawalsRoot": to_hex(header.withdrawals_root or b""),
        "blobGasUsed": hex(header.blob_gas_used),
        "excessBlobGas": hex(header.excess_blob_gas),
        "parentBeaconBlockRoot": to_hex(header.parent_beacon_block_root or b""),
        "requestsHash": to_hex(getattr(header, "requests_hash", b"")),
        "uncles": [],
        "transactions": transactions if full else hashes,
    }


def transaction_json(transaction: SignedTransactionAPI, header: BlockHeaderAPI, index: int) -> Json:
    """Return a mined transaction."""
    kind = getattr(transaction, "type_id", None) or 0
    content: Json = {
        "hash": to_hex(transaction.hash),
        "blockHash": to_hex(header.hash),
        "blockNumber": hex(header.block_number),
        "transactionIndex": hex(index),
        "type": hex(kind),
        "nonce": hex(transaction.nonce),
        "from": to_hex(transaction.sender),
        "to": to_hex(transaction.to) if transaction.to else None,
        "value": hex(transaction.value),
        "gas": hex(transaction.gas),
        "gasPrice": hex(gas_price(transaction, header)),
        "input": to_hex(transaction.data),
        "r": hex(transaction.r),
        "s": hex(transaction.s),
    }
    if not kind:
        return content | {"v": hex(getattr(transaction, "v", transaction.y_parity))}
    content |= {"v": hex(transaction.y_parity), "yParity": hex(transaction.y_parity)}
    content |= {"chainId": hex(transaction.chain_id or 0), "accessList": _access_list(transaction)}
    if kind > 1:
        content["maxFeePerGas"] = hex(transaction.max_fee_per_gas)
        content["maxPriorityFeePerGas"] = hex(transaction.max_priority_fee_per_gas)
    return content


def receipt_json(
    transaction: SignedTransactionAPI,
    receipt: ReceiptAPI,
    earlier_gas: int,
    header: BlockHeaderAPI,
    index: int,
    logs: Iterable[LogRow],
) -> Json:
    """Return the receipt of a mined transaction; those before it in the block used `earlier_gas`."""
    return {
        "transactionHash": to_hex(transaction.hash),
        "transactionIndex": hex(index),
        "blockHash": to_hex(header.hash),
        "blockNumber": hex(header.block_number),
        "blockTimestamp": hex(header.timestamp),
        "from": to_hex(transaction.sender),
        "to": to_hex(transaction.to) if transaction.to else None,
        "contractAddress": created_contract(transaction),
        "cumulativeGasUsed": hex(receipt.gas_used),
        "gasUsed": hex(receipt.gas_used - earlier_gas),
        "effectiveGasPrice": hex(gas_price(transaction, header)),
        "status": hex(receipt.state_root == b"\x01"),
        "type": hex(getattr(transaction, "type_id", None) or 0),
        "logsBloom": to_hex(receipt.bloom.to_bytes(256, "big")),
        "logs": [log_json(row, header.hash, header.timestamp) for row in logs],
    }


def created_contract(transaction: SignedTransactionAPI) -> str | None:
    """Return the address of the contract that a transaction creates; None where it creates none."""
    if transaction.to:
        return None
    return to_hex(generate_contract_address(transaction.sender, transaction.nonce))


def gas_price(transaction: SignedTransactionAPI, header: BlockHeaderAPI) -> int:
    """Return what a transaction pays for a unit of gas, in wei."""
    base = header.base_fee_per_gas or 0
    return base + min(transaction.max_fee_per_gas - base, transaction.max_priority_fee_per_gas)


def _access_list(transaction: SignedTransactionAPI) -> list[Json]:
    return [
        {"address": to_hex(address), "storageKeys": [to_hex(slot.to_bytes(32, "big")) for slot in slots]}
        for address, slots in transaction.access_list
    ]
