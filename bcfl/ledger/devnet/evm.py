"""Run py-evm (Prague) on a Database: one block a transaction, no wall clock.

The same genesis and the same transactions give the same block hashes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import rlp  # type: ignore[import-untyped]
from eth._utils.address import generate_contract_address
from eth.abc import (
    BlockAPI,
    BlockHeaderAPI,
    ComputationAPI,
    ReceiptAPI,
    SignedTransactionAPI,
    VirtualMachineAPI,
)
from eth.chains.base import MiningChain
from eth.db.atomic import AtomicDB
from eth.exceptions import BlockNotFound, CanonicalHeadNotFound, HeaderNotFound, ReceiptNotFound
from eth.typing import AccountDetails, HeaderParams
from eth.vm.forks.prague import PragueVM
from eth.vm.forks.prague.state import PragueState
from eth.vm.message import Message
from eth_typing import Address, BlockNumber, Hash32
from eth_utils.exceptions import ValidationError
from rlp.exceptions import RLPException  # type: ignore[import-untyped]
from trie.exceptions import MissingTrieNode

from bcfl.errors import RunError, one_line
from bcfl.ledger.devnet.accounts import Accounts, TrieAccounts
from bcfl.ledger.devnet.chainfile import CHAIN_ID
from bcfl.ledger.devnet.database import Database
from bcfl.ledger.devnet.logs import LogRow, damage
from bcfl.ledger.devnet.programs import QuickComputation
from bcfl.protocol.limits import BLOCK_GAS

TIMESTAMP = 11  # the place of it in a header
Chain = TypeVar("Chain", bound="Evm")
# What py-evm raises over a chain in which something is missing, or something else.
DAMAGED: Final = (HeaderNotFound, BlockNotFound, ReceiptNotFound, RLPException, MissingTrieNode)
WEALTH = 10**24  # wei of each account at genesis: a million ether


class QuickState(PragueState):
    """Prague's rules with quick instructions, on a state that is put into tries once a block."""

    computation_class = QuickComputation  # type: ignore[assignment]
    account_db_class: type[Accounts] = TrieAccounts


class QuickVM(PragueVM):
    """Prague with quick instructions."""

    _state_class = QuickState


class Evm(MiningChain):
    """py-evm's chain with its head in a Database; `header` is the block that is mined next."""

    chain_id = CHAIN_ID
    mined: tuple[BlockAPI, Sequence[ReceiptAPI], Sequence[LogRow]] | None = None  # by this object, last
    vm_configuration: tuple[tuple[BlockNumber, type[VirtualMachineAPI]], ...] = ((BlockNumber(0), QuickVM),)

    def create_header_from_parent(self, parent_header: BlockHeaderAPI, **params: Any) -> BlockHeaderAPI:
        """Return the header after `parent_header`: one second later, with the same gas limit."""
        params.setdefault("timestamp", parent_header.timestamp + 1)
        return super().create_header_from_parent(parent_header, gas_limit=parent_header.gas_limit, **params)

    def get_canonical_block_header_by_number(self, block_number: BlockNumber) -> BlockHeaderAPI:
        """Return the header of a block of the chain; raises HeaderNotFound."""
        return self.get_block_header_by_hash(self.chaindb.get_canonical_block_hash(block_number))

    def get_block_header_by_hash(self, block_hash: Hash32) -> BlockHeaderAPI:
        """Return a header; raises HeaderNotFound, also for the digest of something else."""
        try:
            return super().get_block_header_by_hash(block_hash)
        except (RLPException, ValueError):  # ValueError: of a list of another length
            raise HeaderNotFound(f"no header has the digest {block_hash.hex()}") from None

    @property
    def database(self) -> Database:
        """Where the chain is kept."""
        database = self.chaindb.db
        assert isinstance(database, Database)
        return database

    def mine(self, transactions: Sequence[SignedTransactionAPI]) -> BlockAPI:
        """Put `transactions` into the next block and make it lasting; on failure nothing has changed.

        Raises eth_utils.ValidationError for a transaction that no block can take (nonce, funds, gas).
        """
        try:
            vm = self.get_vm(self.header)
            header, receipts, _ = vm.apply_all_transactions(transactions, self.header)
            block = vm.set_block_transactions_and_withdrawals(vm.get_block(), header, transactions, receipts)
            # What py-evm checks of foreign blocks is left out: this one was made the line before.
            block = vm.finalize_block(block).block
            self.chaindb.persist_block(block)
            rows = list(_log_rows(block, receipts))
            self.database.add_logs(rows)
            self.database.commit()
            self.mined = block, receipts, rows
            self.header = self.create_header_from_parent(block.header)
        except BaseException:  # also Ctrl-C, at any place: the head is what the database says
            self.database.rollback()
            self.refresh()
            raise
        return block

    def call(
        self, header: BlockHeaderAPI, sender: Address, to: Address, value: int, data: bytes, gas: int
    ) -> ComputationAPI:
        """Run a message on the state of `header`, changing nothing; an empty `to` creates a contract."""
        state = self.get_vm(header).state
        context = state.get_transaction_context_class()(gas_price=0, origin=sender)
        message: dict[str, Any] = {"gas": gas, "to": to, "sender": sender, "value": value}
        if to:
            call = Message(data=data, code=state.get_code(to), **message)
            return state.computation_class.apply_message(state, call, context)
        address = generate_contract_address(sender, state.get_nonce(sender))
        creation = Message(data=b"", code=data, create_address=address, **message)
        return state.computation_class.apply_create_message(state, creation, context)

    def last_header(self) -> BlockHeaderAPI:
        """Return the header of the last block."""
        return self.chaindb.get_block_header_by_hash(self.header.parent_hash)

    def warp(self, timestamp: int) -> None:
        """Let the next block's timestamp be at least `timestamp`; forgotten if no block follows."""
        if timestamp > self.header.timestamp:
            self.header = self.header.copy(timestamp=timestamp)

    def refresh(self) -> None:
        """Follow the head in the database, which another process may have moved."""
        head = self.chaindb.get_canonical_head()
        if head.hash != self.header.parent_hash:
            self.header = self.create_header_from_parent(head)


def open_evm(database: Database, accounts: Sequence[Address], genesis_time: int, read_only: bool) -> Evm:
    """Open the chain in `database`; a new one starts with funded `accounts` at `genesis_time`.

    Without accounts, any chain that is there will do. Raises RunError when it began otherwise, or never.
    """
    try:
        evm = Evm(database)
        if accounts and not read_only:
            genesis_hash = genesis(Evm, AtomicDB(), accounts, genesis_time).get_canonical_head().hash
            if evm.get_canonical_block_hash(BlockNumber(0)) != genesis_hash:
                raise RunError(f"{database.path}: this chain began with other accounts; use the run's own")
    except CanonicalHeadNotFound:
        if read_only:
            raise RunError(f"{database.path}: the chain holds no block yet; start the run again") from None
        evm = genesis(Evm, database, accounts, genesis_time)
        database.commit()
    except (*DAMAGED, ValidationError, LookupError, ValueError, TypeError) as error:
        raise damage(database.path, "its first or its last block") from error
    return evm


@contextmanager
def in_words(database: Database) -> Iterator[None]:
    """Say that a chain is damaged where py-evm fails at it; raises RunError.

    A key of the database is bytes, which no other key is that may be missing.
    """
    try:
        yield
    except (*DAMAGED, KeyError) as error:
        if isinstance(error, KeyError) and not isinstance(error.args[0] if error.args else None, bytes):
            raise
        raise damage(database.path, one_line(error)[:100]) from error


def block_stamp(evm: Evm, number: int) -> tuple[bytes, int]:
    """Return hash and timestamp of a block; that is four times as quick as its whole header.

    Raises HeaderNotFound.
    """
    block_hash = evm.chaindb.get_canonical_block_hash(BlockNumber(number))
    try:
        timestamp = int.from_bytes(rlp.decode(evm.database[block_hash])[TIMESTAMP], "big")
    except (LookupError, TypeError):
        raise HeaderNotFound(f"no header of the block {number}") from None
    return block_hash, timestamp


def transaction_place(evm: Evm, transaction_hash: bytes) -> tuple[BlockHeaderAPI, int]:
    """Return the header of the block that holds a transaction, and its index; raises TransactionNotFound."""
    number, index = evm.get_canonical_transaction_index(transaction_hash)  # type: ignore[arg-type]
    return evm.get_canonical_block_header_by_number(number), index


def genesis(kind: type[Chain], database: Any, accounts: Sequence[Address], genesis_time: int) -> Chain:
    """Begin a chain of a kind with funded `accounts` at `genesis_time`."""
    account: AccountDetails = {"balance": WEALTH, "nonce": 0, "code": b"", "storage": {}}
    header: dict[str, HeaderParams] = {"gas_limit": BLOCK_GAS, "timestamp": genesis_time}
    evm = kind.from_genesis(database, header, dict.fromkeys(accounts, account))
    assert isinstance(evm, kind)
    return evm


def _log_rows(block: BlockAPI, receipts: Sequence[ReceiptAPI]) -> Iterator[LogRow]:
    position = 0
    for index, (transaction, receipt) in enumerate(zip(block.transactions, receipts, strict=True)):
        for log in receipt.logs:
            topics: list[bytes | None] = [topic.to_bytes(32, "big") for topic in log.topics]
            first, second, third, fourth = topics + [None] * (4 - len(topics))
            yield LogRow(
                block=block.number,
                position=position,
                transaction_index=index,
                transaction_hash=transaction.hash,
                address=log.address,
                topic0=first,
                topic1=second,
                topic2=third,
                topic3=fourth,
                data=log.data,
            )
            position += 1
