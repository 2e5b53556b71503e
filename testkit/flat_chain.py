"""An embedded chain for tests: py-evm runs the same bytecode by the same rules, on a state without tries.

State roots, and so block hashes, are others than those of the embedded chain; nothing else is. The whole
chain can go back to where it was.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple

from eth.abc import BlockHeaderAPI, ComputationAPI, ReceiptAPI, SignedTransactionAPI
from eth.exceptions import Revert
from eth.vm.forks.prague import PragueVM
from eth_typing import BlockNumber
from eth_utils.address import to_canonical_address

from bcfl.errors import LedgerError
from bcfl.ledger.chain import SignedTransaction, refusal
from bcfl.ledger.devnet.database import Database
from bcfl.ledger.devnet.embedded import GENESIS_TIME, EmbeddedChain
from bcfl.ledger.devnet.evm import Evm, QuickState, genesis
from bcfl.ledger.devnet.logs import LogRow
from bcfl.ledger.devnet.node import call_error
from bcfl.ledger.devnet.views import receipt_json
from testkit.flat_state import FlatAccounts, Worlds


class FlatDatabase(Database):
    """py-evm's database in memory alone."""

    def __init__(self) -> None:
        self.path, self.reads = None, 0
        self.worlds = Worlds()
        self.entries: dict[bytes, bytes] = {}
        self.logs: list[LogRow] = []
        self._writes: dict[bytes, bytes | None] = {}
        self._logs: list[LogRow] = []
        self._cache: dict[bytes, bytes] = {}
        self.outcomes: list[tuple[SignedTransactionAPI, ReceiptAPI, ComputationAPI]] = []  # of the last block

    def _fetch(self, key: bytes) -> bytes | None:
        return self.entries.get(key)

    def find_logs(
        self,
        first: int,
        last: int,
        addresses: Sequence[bytes] = (),
        topics: Sequence[Sequence[bytes]] = (),
    ) -> Generator[LogRow, None, None]:
        """Yield committed logs of the blocks `first` to `last` in order; an empty list allows all values."""
        for row in self.logs[bisect_left(self.logs, first, key=lambda row: row.block) :]:
            if row.block > last:
                return
            found = (row.topic0, row.topic1, row.topic2, row.topic3)
            pairs = zip((addresses, *topics), (row.address, *found), strict=False)
            if all(not choices or value in choices for choices, value in pairs):
                yield row

    def commit(self) -> None:
        """Keep all pending writes."""
        for key, value in self._writes.items():
            if value is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = value
        self.logs += self._logs
        self.rollback()

    def close(self) -> None:
        """Do nothing: there is no file."""


class FlatState(QuickState):
    """Prague's rules on the flat state."""

    account_db_class = FlatAccounts


class FlatVM(PragueVM):
    """Prague on the flat state."""

    _state_class = FlatState

    def apply_all_transactions(
        self, transactions: Sequence[SignedTransactionAPI], base_header: BlockHeaderAPI
    ) -> tuple[BlockHeaderAPI, tuple[ReceiptAPI, ...], tuple[ComputationAPI, ...]]:
        """Apply them, and keep what they came to for `deliver`."""
        result = super().apply_all_transactions(transactions, base_header)
        database = self.chaindb.db
        assert isinstance(database, FlatDatabase)
        database.outcomes = list(zip(transactions, *result[1:], strict=True))
        return result


class FlatEvm(Evm):
    """py-evm's chain on the flat state."""

    vm_configuration = ((BlockNumber(0), FlatVM),)


class Snapshot(NamedTuple):
    """A whole chain as it was."""

    header: BlockHeaderAPI  # of the next block
    entries: dict[bytes, bytes]
    logs: list[LogRow]
    worlds: Worlds


class FlatChain(EmbeddedChain):
    """An embedded chain on the flat state, in memory; `accounts` own ether from the first block on."""

    def __init__(self, accounts: Sequence[str]) -> None:
        database = FlatDatabase()
        addresses = [to_canonical_address(address) for address in accounts]
        self._opened = database, genesis(FlatEvm, database, addresses, GENESIS_TIME)
        database.commit()
        super().__init__(None, accounts=accounts)

    @property
    def database(self) -> FlatDatabase:
        """Return where the chain is kept."""
        database = self._opened[0]
        assert isinstance(database, FlatDatabase)
        return database

    def deliver(
        self, transaction: SignedTransaction, raise_fee: Callable[[int], SignedTransaction] | None = None
    ) -> Mapping[str, Any]:
        """Mine a transaction and return its receipt; raises Reverted with what the contract gave as reason.

        The embedded chain finds the reason by making the call again.
        """
        del raise_fee  # nothing waits here
        try:
            self.request("eth_sendRawTransaction", "0x" + transaction.raw.hex())
        except LedgerError:
            return super().deliver(transaction)  # one that is mined already has its receipt
        ((mined, receipt, computation),) = self.database.outcomes
        if computation.is_error and isinstance(computation.error, Revert) and computation.output:
            raise refusal(call_error(computation).error)
        header = self._evm.last_header()
        logs = self.database.find_logs(header.block_number, header.block_number)
        return receipt_json(mined, receipt, 0, header, 0, logs)

    def snapshot(self) -> Snapshot:
        """Return the chain as it is, for `restore`."""
        database = self.database
        return Snapshot(self._evm.header, dict(database.entries), list(database.logs), database.worlds.copy())

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot: blocks, time, logs and state."""
        self._evm.header = snapshot.header
        database = self.database
        database.entries, database.logs = dict(snapshot.entries), list(snapshot.logs)
        database.worlds = snapshot.worlds.copy()
