"""Read what a federation's contract recorded and its store holds: every view is made from this alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from bcfl.errors import CidError, LedgerError, PayloadError, Sealed, StoreError, Unavailable
from bcfl.federation.keyring import HOW_TO, Keyring
from bcfl.federation.layouts import HEADER_BYTES, layout_in
from bcfl.ledger.contract import Contract, Event
from bcfl.ledger.federation import SENSELESS, FederationLedger
from bcfl.protocol import cid as cids
from bcfl.protocol.event import LogEvent
from bcfl.protocol.events import take_in
from bcfl.protocol.limits import MODEL_BITS, MODEL_BYTES
from bcfl.protocol.rounds import History, Round, Submission
from bcfl.protocol.sizes import Sizes
from bcfl.protocol.types import Block, Clock, Layout, Terms

if TYPE_CHECKING:
    from bcfl.ports import Store
    from bcfl.protocol.fixedpoint import Model
    from bcfl.roles.common.archive import Archive
    from bcfl.roles.common.vault import Vault


def history_of(terms: Terms, events: Iterable[LogEvent]) -> History:
    """Return what events say; raises LedgerError where no contract can have logged them."""
    return taken_in(History.under(terms), events)


def taken_in(history: History, events: Iterable[LogEvent]) -> History:
    """Add further events to a history, and return it; raises LedgerError as `history_of`."""
    try:
        return take_in(history, events)
    except SENSELESS as error:
        raise LedgerError(f"the events are those of no federation ({type(error).__name__})") from error


@dataclass(frozen=True)
class Transaction:
    """One transaction of a round, and what it logged."""

    hash: bytes
    block: int
    timestamp: int
    gas: int
    names: tuple[str, ...]  # of its events


class Source:
    """A contract and a store, read once: later blocks are not seen.

    `first_block` is the first that can hold a log of the contract. `keyring`, set before anything is read,
    opens what is sealed.
    """

    def __init__(self, ledger: FederationLedger, store: Store, first_block: int = 0) -> None:
        self.ledger, self.store, self.first_block = ledger, store, first_block
        self.keyring = Keyring()

    @property
    def contract(self) -> Contract:
        """Return the federation's contract."""
        return self.ledger.contract

    @property
    def terms(self) -> Terms:
        """Return what the parties agreed on."""
        return self.ledger.terms

    @property
    def max_bytes(self) -> int:
        """Return more bytes than any payload of this federation has."""
        return self.terms.parameters * MODEL_BYTES + HEADER_BYTES

    @cached_property
    def events(self) -> list[Event]:
        """Return all events of the contract, from its deployment on."""
        return list(self.contract.events(self.first_block))

    @cached_property
    def history(self) -> History:
        """Return what the events say of rounds, parties and models."""
        return history_of(self.terms, self.events)

    @cached_property
    def clock(self) -> Clock:
        """Return the phase of the running round."""
        return self.ledger.clock()

    @cached_property
    def layout(self) -> Layout | None:
        """Return the layout of the terms from a stored model; None where the store holds none.

        Raises ConfigError where the terms count other parameters.
        """
        for block in (self.history.blocks[0], self.history.head):
            with suppress(StoreError, PayloadError, CidError):
                return layout_in(self.model_bytes(block), self.terms)
        return None

    def model_cid(self, number: int, digest: bytes) -> str:
        """Return the CID that the digest of a round's model stands for.

        Its codec follows from the payload's size. Without any model in the store the header's length is
        unknown and left out, which is right but for payloads within a header's length of one chunk.
        """
        if self.sizes is not None:
            return self.sizes.model_cid(number, digest)
        return cids.from_digest(digest, self.terms.parameters * MODEL_BITS // 8)

    def update_cid(self, submission: Submission) -> str:
        """Return the CID of a revealed update, as `model_cid` does."""
        if self.sizes is not None:
            return self.sizes.update_cid(submission)
        return cids.from_digest(submission.update.cid, self.terms.parameters * self.terms.lane_bits // 8)

    @cached_property
    def sizes(self) -> Sizes | None:
        """Return how long vectors are on the store; None where it holds no model."""
        return None if self.layout is None else Sizes(self.layout, self.terms.lane_bits)

    @cached_property
    def vault(self) -> Vault:
        """Return what finds keys for what is sealed: nobody is asked."""
        return self.keyring.vault(self.ledger.domain, lambda: self.history)

    @cached_property
    def archive(self) -> Archive:
        """Return the vectors of the store; raises StoreError where it holds no model that can be read."""
        from bcfl.roles.common.archive import Archive

        if self.layout is None:
            raise StoreError("the store holds no model of this federation: name its own with --store")
        return Archive(self.store, self.layout, self.terms, vault=self.vault)

    def model_bytes(self, block: Block) -> bytes:
        """Return the verified bytes of a block's model; raises Unavailable, Corrupt or another StoreError."""
        for cid in self._held_cids(block):
            return self.store.get(cid, self.max_bytes)
        raise Unavailable(f"the store does not hold the model of round {block.round}")

    def read_model(self, block: Block) -> tuple[Layout, Model]:
        """Return a block's model from the store, `(parameters,)`, and its layout: CID, form and root checked.

        A leader may name the CID of other bytes: the root decides among what is held. Raises Sealed where no
        key opens it, Unavailable, Corrupt or another StoreError, or PayloadError.
        """
        if self.layout is not None and self.sizes is not None and self.sizes.seals_model(block.round):
            return self.layout, self._open(block)
        failure: Exception = Unavailable(f"the store does not hold the model of round {block.round}")
        for cid in self._held_cids(block):
            try:
                return self._read(self.store.get(cid, self.max_bytes), block)
            except (StoreError, PayloadError) as error:
                failure = error
        raise failure

    def _open(self, block: Block) -> Model:
        """Return a sealed model, (parameters,); raises as `read_model`."""
        from bcfl.roles.common.unsealing import open_model

        try:
            return open_model(self.archive, block, self.history)
        except Sealed as error:
            words = f"the model of round {block.round} is sealed for the members of this federation"
            if self.vault.has_model_key(block.round, block.root):
                words = f"no key that is here opens the model of round {block.round}"
            raise Sealed(f"{words}: {HOW_TO}", error.cid) from None
        finally:
            self.archive.forget()

    def _held_cids(self, block: Block) -> Iterator[str]:
        """Yield the CIDs that a block's model may have and the store holds, the likeliest first."""
        for digest in self.history.model_cids(block):
            for codec in (cids.RAW, cids.DAG_PB):
                cid = str(cids.Cid(codec, digest))
                if self.store.has(cid):
                    yield cid

    def _read(self, data: bytes, block: Block) -> tuple[Layout, Model]:
        """Return layout and model in the bytes of a block's model; raises PayloadError for any other."""
        from bcfl.protocol import merkle, payload

        layout = layout_in(data, self.terms)
        lanes = payload.decode(data, layout, MODEL_BITS)
        if merkle.root(lanes, self.terms.leaf_lanes) != block.root:
            raise PayloadError(
                f"the model of round {block.round} in the store does not have the root on chain"
            )
        return layout, lanes

    def transactions(self, round_: Round) -> list[Transaction]:
        """Return the transactions of a round in their order, with their gas from their receipts."""
        groups: dict[bytes, list[Event]] = {transaction: [] for transaction in round_.transactions}
        for event in self.events:
            if event.transaction in groups:
                groups[event.transaction].append(event)
        return [self._transaction(events) for events in groups.values()]

    def _transaction(self, events: list[Event]) -> Transaction:
        gas = self.contract.gas_of(events[0].transaction)
        names = tuple(event.name for event in events)
        return Transaction(events[0].transaction, events[0].block, events[0].timestamp, gas, names)
