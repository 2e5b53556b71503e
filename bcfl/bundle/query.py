"""Ask a bundle as one asks a run: its events, its vectors, and what the storage said at its last block.

    with open_bundle_query(Path("training.car")) as query:
        print(query.round_view(3)["accepted"])

Nobody answers calls here. The few that views make are answered from the bundle, others raise LedgerError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from bcfl.bundle.reader import open_bundle
from bcfl.errors import BcflError, BundleError, LedgerError, Reverted
from bcfl.federation.audits import AuditSource
from bcfl.federation.query import Query
from bcfl.federation.statements import Collection
from bcfl.federation.subject import stated_in
from bcfl.federation.views.round import RoundView
from bcfl.federation.views.source import history_of
from bcfl.ledger.artifact import artifact
from bcfl.ledger.chain import SignedTransaction
from bcfl.ledger.contract import Contract, Event
from bcfl.ledger.devnet.embedded import GENESIS_TIME
from bcfl.ledger.federation import FederationLedger
from bcfl.protocol.limits import NO_DEADLINE
from bcfl.protocol.rounds import History
from bcfl.protocol.types import Clock, Phase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from web3 import Web3

    from bcfl.federation.query import Number

SIMULATED: Final = 86_400  # seconds within which the contract of a simulated run was deployed
NONSENSE: Final = "a bundle's events are those of no federation"
NOBODY: Final = "a bundle is a file: nobody answers {} there"


class BundleChain:
    """The chain's side of a bundle: its number, its height, and the gas of transactions that logged."""

    view = "latest"

    def __init__(self, source: AuditSource) -> None:
        self.chain_id = source.transcript.domain.chain_id
        self.height = source.transcript.storage_snapshot.block
        self.receipts = source.gas
        self.time = source.transcript.events[-1].timestamp

    @property
    def w3(self) -> Web3:
        """Raise LedgerError: there is no chain."""
        raise LedgerError(NOBODY.format("web3"))

    def request(self, method: str, *params: Any) -> Any:
        """Return the height or a receipt; raises LedgerError for anything else."""
        if method == "eth_blockNumber":
            return hex(self.height)
        if method == "eth_getTransactionReceipt":
            gas = self.receipts.get(bytes.fromhex(str(params[0])[2:]))
            return None if gas is None else {"gasUsed": hex(gas)}
        raise LedgerError(NOBODY.format(method))

    def now(self) -> int:
        """Return the time of the last event."""
        return self.time

    def fees(self) -> tuple[int, int]:
        """Raise LedgerError: nothing is sent."""
        raise LedgerError(NOBODY.format("transactions"))

    def gas(self, transaction: Mapping[str, str]) -> int:
        """Raise LedgerError: nothing is sent."""
        raise LedgerError(NOBODY.format(f"{len(transaction)} fields of a transaction"))

    def deliver(
        self, transaction: SignedTransaction, raise_fee: Callable[[int], SignedTransaction] | None = None
    ) -> Mapping[str, Any]:
        """Raise LedgerError: nothing is sent."""
        del raise_fee
        raise LedgerError(NOBODY.format(transaction.hash))

    def close(self) -> None:
        """Do nothing: the store holds the file."""


class BundleContract(Contract):
    """The contract of a bundle: its logs, and what its storage said of accounts at the last block."""

    def __init__(self, source: AuditSource) -> None:
        super().__init__(BundleChain(source), artifact()["abi"], source.transcript.domain.contract)
        self.source = source

    @cached_property
    def history(self) -> History:
        """Return what the logs say of rounds and members."""
        return history_of(self.source.transcript.terms, self._logs_of_all)

    def call(self, function: str, *args: Any, sender: str | None = None, block: int | None = None) -> Any:
        """Answer the calls that views make; raises Reverted or LedgerError for all others."""
        del sender, block
        snapshot = self.source.transcript.storage_snapshot
        if function == "credits":
            return snapshot.credits.get(args[0], 0)
        if function == "binding":
            return self.history.binding(args[0])
        if function == "rest":
            raise Reverted("bundle: it does not say how long anybody was absent")
        if function in ("pool", "owed", "staked"):
            return getattr(snapshot, function)
        raise LedgerError(NOBODY.format(function))

    def events(
        self, from_block: int = 0, to_block: int | None = None, name: str | None = None
    ) -> Iterator[Event]:
        """Yield the events of the blocks `from_block` to `to_block` (the last), both included."""
        for event in self._logs_of_all:
            is_within = from_block <= event.block and (to_block is None or event.block <= to_block)
            if is_within and name in (None, event.name):
                yield event

    @property
    def _logs_of_all(self) -> list[Event]:
        return cast(list[Event], self.source.transcript.events)  # as read_records makes them


class BundleLedger(FederationLedger):
    """The ledger port on a bundle: nothing comes after what was read."""

    def __init__(self, contract: BundleContract) -> None:
        super().__init__(contract)
        self.terms = contract.source.transcript.terms
        self.domain = contract.source.transcript.domain

    def clock(self) -> Clock:
        """Return a clock that waits for nothing: a bundle does not say what is due."""
        history = self.history()
        current = history.current
        number, opened = (0, 0) if current is None else (current.number, current.opened)
        return Clock(Phase.IDLE, 0, number, opened, NO_DEADLINE, 0, 0)

    def history(self) -> History:
        """Return the history up to the last block."""
        contract = self.contract
        assert isinstance(contract, BundleContract)
        return contract.history


class BundleQuery(Query):
    """A bundle, opened for reading. It holds no journals, so that nobody's numbers are known."""

    def __init__(self, path: Path, source: AuditSource) -> None:
        self.path, self.source = path, source
        ledger = BundleLedger(BundleContract(source))
        super().__init__(ledger, source.store, Path("journal-of-no-bundle"), "bcfl start round")
        self.keyring = source.keyring

    @cached_property
    def collection(self) -> Collection:
        """Return the statements that the bundle carries, checked."""
        return stated_in(self.source, self.history)

    def statements(self, first: int = 1) -> Collection:
        """Return what parties state of the models, as far as the bundle carries it."""
        del first  # all are at hand
        return self.collection

    @property
    def time_origin(self) -> int | None:
        """Return where the time of a simulated chain begins, if the federation began there; else None."""
        began = next((event.timestamp for event in self.ledger.contract.events()), 0)
        return GENESIS_TIME if 0 <= began - GENESIS_TIME < SIMULATED else None

    def nonsense(self, error: Exception) -> BcflError:
        """Return the same of the bundle's events."""
        return BundleError(f"{NONSENSE} ({type(error).__name__})")

    def round_view(self, number: Number = None) -> RoundView:
        """Return everything of a round; what it waits for is not known."""
        return {**super().round_view(number), "due": None}


@contextmanager
def open_bundle_query(path: Path, block_hash: str | None = None) -> Iterator[BundleQuery]:
    """Open a bundle for queries; raises as `open_bundle` of the reader."""
    with open_bundle(path, block_hash) as source:
        yield BundleQuery(path, source)
