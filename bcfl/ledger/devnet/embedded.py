"""Run a chain inside the process: deterministic, kept in one file, readable while it grows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bcfl.errors import BcflError, LedgerError, one_line
from bcfl.ledger.chain import Log, SignedTransaction, result_of
from bcfl.ledger.devnet.chainfile import CHAIN_ID
from bcfl.ledger.devnet.chainreader import ChainReader, Unusual
from bcfl.ledger.devnet.logs import damage
from bcfl.ledger.devnet.values import parse_address
from bcfl.protocol.addresses import address_bytes
from bcfl.protocol.limits import TRANSACTION_GAS

if TYPE_CHECKING:
    from web3 import Web3

    from bcfl.ledger.devnet.database import Database
    from bcfl.ledger.devnet.evm import Evm
    from bcfl.ledger.devnet.node import Node

GENESIS_TIME = 1_700_000_000


class EmbeddedChain:
    """A py-evm chain in the file `path` (None: in memory), reopened where it ended when it exists.

    `accounts` own ether from the first block on; they, `genesis_time` and the transactions decide every
    block hash. Without `accounts`, any chain in the file will do. A reader (`read_only`) follows a writer in
    another process. Raises RunError for a file that cannot serve.
    """

    chain_id = CHAIN_ID
    view = "pending"  # its state is that of the last block, its clock that of the next

    def __init__(
        self,
        path: Path | None,
        *,
        accounts: Sequence[str] = (),
        genesis_time: int = GENESIS_TIME,
        read_only: bool = False,
    ) -> None:
        self.path, self._read_only, self._genesis_time = path, read_only, genesis_time
        self._addresses = [parse_address(address_bytes(address)) for address in accounts]
        self.reader = ChainReader(path) if read_only and path is not None else None
        if self._needs_evm():
            _ = self._opened

    def _needs_evm(self) -> bool:
        """Whether the chain is written to, or its file is not in the form in which it can be read without."""
        try:
            return self.reader is None or self.reader.height < 0
        except Unusual:
            return True

    @cached_property
    def _opened(self) -> tuple[Database, Evm]:
        """Open the chain with an EVM; a reader whose questions its file answers never does."""
        from bcfl.ledger.devnet.database import Database
        from bcfl.ledger.devnet.evm import open_evm

        database = Database(self.path, read_only=self._read_only)
        try:
            with self._in_words():
                return database, open_evm(database, self._addresses, self._genesis_time, self._read_only)
        except BaseException:
            database.close()
            raise

    @property
    def database(self) -> Database:
        """Return where the chain is kept."""
        return self._opened[0]

    @property
    def _evm(self) -> Evm:
        return self._opened[1]

    @cached_property
    def _node(self) -> Node:
        from bcfl.ledger.devnet.node import Node

        return Node(self._evm, read_only=self._read_only)

    @cached_property
    def _records(self) -> Node:
        from bcfl.ledger.devnet.records import Records

        return Records(self._evm, read_only=self._read_only)

    @cached_property
    def w3(self) -> Web3:
        """The same chain through web3 and eth-tester, loaded when first asked for."""
        from bcfl.ledger.devnet.tester import web3_of

        return web3_of(self._node, self._evm)

    def request(self, method: str, *params: Any) -> Any:
        """Return the result of one JSON-RPC call; raises Reverted or LedgerError."""
        if self.reader is not None and method in self.reader.methods:
            with suppress(Unusual):
                return self.reader.methods[method](*params)
        for node in (self._node, self._records):
            if method in node.methods:
                with self._in_words():
                    return result_of(node.respond(method, list(params)))
        raise LedgerError(f"the embedded chain answers {method} through web3 only")

    def gas_used(self, transaction: bytes) -> int | None:
        """Return the gas of a mined transaction; None where only its receipt says it."""
        with suppress(Unusual):
            return None if self.reader is None else self.reader.gas_used(transaction)
        return None

    def read_logs(self, address: str, first: int, last: int) -> list[Log] | None:
        """Return the logs of a contract in the blocks `first` to `last`; None where only an EVM has them."""
        with suppress(Unusual):
            return None if self.reader is None else self.reader.read_logs(address, first, last)
        return None

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """Say that the file is damaged: of a reader's, whatever py-evm raises over it; raises RunError."""
        from bcfl.ledger.devnet.evm import in_words

        try:
            with in_words(self.database) if "_opened" in vars(self) else nullcontext():
                yield
        except BcflError:
            raise
        except Exception as error:
            if not self._read_only:
                raise
            raise damage(self.path, one_line(error)[:100]) from error

    def now(self) -> int:
        """Return the timestamp of the next block, in seconds since 1970."""
        with self._node.lock():
            return self._evm.header.timestamp

    def warp(self, timestamp: int) -> None:
        """Let the next block come no earlier than `timestamp`; forgotten if none comes before `close`."""
        with self._node.lock():
            self._evm.warp(timestamp)

    def fees(self) -> tuple[int, int]:
        """Return twice the next block's base fee, and no tip: nobody competes for a place."""
        with self._node.lock():
            return 2 * (self._evm.header.base_fee_per_gas or 0), 0

    def gas(self, transaction: Mapping[str, str]) -> int:
        """Return the most that a transaction may use: unused gas costs nothing."""
        del transaction
        return TRANSACTION_GAS

    def deliver(
        self, transaction: SignedTransaction, raise_fee: Callable[[int], SignedTransaction] | None = None
    ) -> Mapping[str, Any]:
        """Mine a transaction at once and return its receipt; raises LedgerError where it is refused."""
        del raise_fee  # nothing waits here
        try:
            self.request("eth_sendRawTransaction", "0x" + transaction.raw.hex())
        except LedgerError:  # also for a transaction that is mined already
            if self.request("eth_getTransactionReceipt", transaction.hash) is None:
                raise
        receipt: Mapping[str, Any] = self.request("eth_getTransactionReceipt", transaction.hash)
        return receipt

    def close(self) -> None:
        """Release the file."""
        if self.reader is not None:
            self.reader.close()
        if "_opened" in vars(self):
            self.database.close()
