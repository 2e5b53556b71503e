"""Answer JSON-RPC straight from the embedded chain, at a cost in proportion to what is asked for.

Numbers may come in as hexadecimal text or as integers, and leave as hexadecimal text, so that the answers can
go to web3 or over a wire.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from threading import RLock
from typing import Any

from eth.abc import BlockHeaderAPI, ComputationAPI, SignedTransactionAPI
from eth.exceptions import InsufficientFunds, Revert, TransactionNotFound, UnrecognizedTransactionType
from eth_keys.exceptions import BadSignature
from eth_typing import Address, BlockNumber
from eth_utils.exceptions import ValidationError
from rlp.exceptions import RLPException  # type: ignore[import-untyped]

from bcfl.ledger.chain import reason_in
from bcfl.ledger.devnet.evm import Evm, block_stamp, transaction_place
from bcfl.ledger.devnet.logs import LogRow, height_of, log_json
from bcfl.ledger.devnet.values import Json, as_list, parse_address, parse_bytes, parse_number, to_hex
from bcfl.ledger.devnet.views import block_json, receipt_json, transaction_json
from bcfl.protocol.limits import TRANSACTION_BYTES, TRANSACTION_GAS

NOBODY = Address(bytes(20))
KEPT_RECEIPTS, KEPT_BYTES = 256, 2**24  # receipts kept at hand: so many, of so much
LOG_BYTES = 1_024  # of a log in a receipt, beside its data
MAX_CREATION = 49_152  # bytes of code that creates a contract
UNKNOWN_METHOD, REFUSED, REVERTED = -32601, -32000, 3
# What decoding foreign bytes can raise.
MALFORMED = (
    ValidationError, RLPException, UnrecognizedTransactionType, ValueError, TypeError, RecursionError,
)  # fmt: skip


class NodeError(Exception):
    """A JSON-RPC error object, `data` being what a reverted call returned."""

    def __init__(self, code: int, message: str, data: bytes | None = None) -> None:
        super().__init__(message)
        self.error: Json = {"code": code, "message": message}
        if data is not None:
            self.error["data"] = to_hex(data)


class Node:
    """The methods of a node that are asked often, on an Evm; one request at a time, from any thread."""

    def __init__(self, evm: Evm, *, read_only: bool) -> None:
        self._evm = evm
        self._read_only = read_only
        self._lock = RLock()
        self._receipts: dict[bytes, tuple[int, Json]] = {}  # of the last transactions, with their bytes
        self.methods: dict[str, Callable[..., Any]] = {
            "eth_chainId": self._chain_id,
            "eth_blockNumber": self._block_number,
            "eth_call": self._call,
            "eth_getTransactionCount": self._transaction_count,
            "eth_sendRawTransaction": self._send,
            "eth_getTransactionReceipt": self._receipt,
            "eth_getLogs": self._logs,
        }

    def respond(self, method: str, params: list[Any]) -> Json:
        """Return the response object, `result` or `error`, to a request for one of `methods`."""
        with self.lock():
            try:
                return {"jsonrpc": "2.0", "id": 1, "result": self.methods[method](*params)}
            except NodeError as refusal:
                return {"jsonrpc": "2.0", "id": 1, "error": refusal.error}

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the right to use the chain; a reader first follows the head that a writer has moved."""
        with self._lock:
            if self._read_only:
                self._evm.refresh()
            yield

    def _chain_id(self) -> str:
        return hex(self._evm.chain_id)

    def _block_number(self) -> str:
        return hex(self._evm.header.block_number - 1)

    def _transaction_count(self, address: str, block: Any = "latest") -> str:
        state = self._evm.get_vm(self._header(block)).state
        return hex(state.get_nonce(parse_address(address)))

    def _call(self, call: Json, block: Any = "latest", *_: Any) -> str:
        with self.lock():
            header = self._header(block)
        data = parse_bytes(call.get("input") or call.get("data") or b"")
        check_creation(parse_address(call.get("to")), data)
        try:
            computation = self._evm.call(
                header,
                sender=parse_address(call.get("from")) or NOBODY,
                to=parse_address(call.get("to")),
                value=parse_number(call.get("value") or 0),
                data=data,
                gas=min(parse_number(call.get("gas") or header.gas_limit), header.gas_limit),
            )
        except InsufficientFunds:
            raise NodeError(REFUSED, "insufficient funds for the value of the call") from None
        if computation.is_error:
            raise call_error(computation)
        return to_hex(computation.output)

    def _send(self, raw: Any) -> str:
        if self._read_only:
            raise NodeError(REFUSED, "this chain is open for reading only")
        builder = self._evm.get_vm(self._evm.header).get_transaction_builder()
        try:
            data = parse_bytes(raw)
            if len(data) > TRANSACTION_BYTES:
                raise ValueError(f"{len(data)} bytes, and at most {TRANSACTION_BYTES} are taken")
            transaction = builder.decode(data)
        except MALFORMED as error:
            raise NodeError(REFUSED, f"malformed transaction: {error}") from error
        if transaction.gas > TRANSACTION_GAS:
            raise NodeError(REFUSED, f"a transaction has at most {TRANSACTION_GAS} gas (EIP-7825)")
        check_creation(transaction.to, transaction.data)
        if transaction.chain_id not in (None, self._evm.chain_id):  # py-evm does not look at it
            signed_chain_id, chain_id = transaction.chain_id, self._evm.chain_id
            raise NodeError(
                REFUSED,
                f"the transaction is signed for chain {signed_chain_id}, and this is chain {chain_id}",
            )
        try:
            self._mine_one(transaction)
        except (ValidationError, BadSignature) as error:
            raise NodeError(REFUSED, f"invalid transaction: {error}") from error
        self._keep_receipt()
        return to_hex(transaction.hash)

    def _mine_one(self, transaction: SignedTransactionAPI) -> None:
        """Put a transaction into the next block."""
        self._evm.mine((transaction,))

    def _keep_receipt(self) -> None:
        """Keep the receipt of the only transaction of a new block: its sender asks for it at once.

        One whose logs are larger than all that is kept is read from the chain again.
        """
        assert self._evm.mined is not None
        block, (receipt,), rows = self._evm.mined
        (transaction,) = block.transactions
        size = sum(LOG_BYTES + 2 * len(row.data) for row in rows)  # its data are hexadecimal text
        if size > KEPT_BYTES:
            return
        while len(self._receipts) >= KEPT_RECEIPTS or self._kept_bytes() + size > KEPT_BYTES:
            del self._receipts[next(iter(self._receipts))]
        content = receipt_json(transaction, receipt, 0, block.header, 0, rows)
        self._receipts[transaction.hash] = size, content

    def _kept_bytes(self) -> int:
        return sum(size for size, _ in self._receipts.values())

    def _receipt(self, transaction_hash: Any) -> Json | None:
        digest = parse_bytes(transaction_hash)
        if (kept := self._receipts.get(digest)) is not None:
            _, content = kept
            return {**content, "logs": [dict(log) for log in content["logs"]]}
        try:
            header, index = transaction_place(self._evm, digest)
        except TransactionNotFound:
            return None
        transaction = self._evm.get_canonical_transaction_by_index(header.block_number, index)
        receipt = self._evm.get_transaction_receipt_by_index(header.block_number, index)
        earlier_gas = 0
        if index:
            earlier_gas = self._evm.get_transaction_receipt_by_index(header.block_number, index - 1).gas_used
        rows = self._evm.database.find_logs(header.block_number, header.block_number)
        logs = (row for row in rows if row.transaction_index == index)
        return receipt_json(transaction, receipt, earlier_gas, header, index, logs)

    def _transaction(self, transaction_hash: Any) -> Json | None:
        """Return a mined transaction; for subclasses, whose clients ask for it."""
        try:
            header, index = transaction_place(self._evm, parse_bytes(transaction_hash))
        except TransactionNotFound:
            return None
        transaction = self._evm.get_canonical_transaction_by_index(header.block_number, index)
        return transaction_json(transaction, header, index)

    def _block_by_number(self, block: Any, full: bool = False) -> Json | None:
        """Return a block, also the one that is mined next; for subclasses, whose clients ask for it."""
        height, pending = self._height(block), self._evm.header.block_number
        if not 0 <= height <= pending:
            return None
        if height == pending:
            return block_json(self._evm.get_vm(self._evm.header).get_block(), full) | {
                "hash": None,
                "nonce": None,
            }
        return block_json(self._evm.get_canonical_block_by_number(BlockNumber(height)), full)

    def _balance(self, address: str, block: Any = "latest") -> str:
        """Return an account's wei; for subclasses, whose clients ask for it."""
        return hex(self._evm.get_vm(self._header(block)).state.get_balance(parse_address(address)))

    def _logs(self, query: Mapping[str, Any]) -> list[Json]:
        found = self._evm.database.find_logs(
            self._height(query.get("fromBlock")),
            self._height(query.get("toBlock")),
            [parse_address(address) for address in as_list(query.get("address"))],
            [[parse_bytes(topic) for topic in as_list(topics)] for topics in query.get("topics") or ()],
        )
        with closing(found) as rows:  # not all are read where there are too many
            return list(self._log_objects(rows))

    def _log_objects(self, rows: Iterator[LogRow]) -> Iterator[Json]:
        number, stamp = -1, (b"", 0)
        for row in rows:
            if row.block != number:
                number, stamp = row.block, block_stamp(self._evm, row.block)
            yield log_json(row, *stamp)

    def _height(self, block: Any) -> int:
        return height_of(block, self._evm.header.block_number)

    def _header(self, block: Any) -> BlockHeaderAPI:
        height, pending = self._height(block), self._evm.header.block_number
        if height == pending:
            return self._evm.header
        if 0 <= height < pending:
            return self._evm.get_canonical_block_header_by_number(BlockNumber(height))
        raise NodeError(REFUSED, f"no block {height}: the last is {pending - 1}")


def check_creation(to: bytes, data: bytes) -> None:
    """Raise NodeError for what creates a contract by more code than a chain takes; py-evm fails at it."""
    if not to and len(data) > MAX_CREATION:
        raise NodeError(
            REFUSED, f"a contract is created by at most {MAX_CREATION} bytes, not by {len(data)} (EIP-3860)"
        )


def call_error(computation: ComputationAPI) -> NodeError:
    """Return the error for a call that failed, with the reason of a revert."""
    if isinstance(computation.error, Revert):
        reason = reason_in(computation.output)
        message = f"execution reverted: {reason}" if reason else "execution reverted"
        return NodeError(REVERTED, message, computation.output)
    return NodeError(REFUSED, f"execution failed: {computation.error}")
