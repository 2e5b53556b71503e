"""Steps 2, 3 and 8: a device trains, commits to its update, reveals it, and downloads the next model."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

from bcfl.errors import ConfigError, RelayError
from bcfl.ports import ContractCall, Inbox, Learner, Ledger, Relay, SignedCommitment
from bcfl.protocol import submissions
from bcfl.protocol.accounts import Account
from bcfl.protocol.types import Phase, SignedUpdate
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.journal import Journal
from bcfl.roles.common.snapshot import LONG, SHORT, RoundSnapshot, take_snapshot
from bcfl.roles.device.trainer import Trainer

RECORD = "inclusion.json"
log = logging.getLogger(__name__)


class Device:
    """One device; `act` does whatever is due for it and says what it did."""

    def __init__(
        self,
        account: Account,
        learner: Learner,
        ledger: Ledger,
        relay: Relay,
        archive: Archive,
        journal: Journal,
        shortens: bool = True,
    ) -> None:
        self.account, self.ledger, self.relay, self.journal = account, ledger, relay, journal
        self.trainer = Trainer(account, learner, ledger, archive, journal, shortens)
        self._handed: tuple[int, Phase, int] | None = None
        self._sits_out: int | None = None

    def act(self) -> str | None:
        """Do what is due; None if nothing is. Raises Reverted where somebody else was quicker."""
        snapshot = take_snapshot(self.ledger)
        if snapshot is None:
            return None
        index = snapshot.history.device_index(self.account.address)
        if index is None or not snapshot.history.takes_part(index):
            return None
        if snapshot.clock.phase is Phase.COMMIT:
            return self._commit(snapshot, index)
        if snapshot.clock.phase is Phase.REVEAL:
            return self._reveal(snapshot, index)
        return None

    def _commit(self, snapshot: RoundSnapshot, index: int) -> str | None:
        """Hand the commitment to the miner; commit alone if it is left out or nobody answers."""
        if self._sits_out == snapshot.round:
            return None
        try:
            update = self.trainer.update(snapshot, index)
        except ConfigError as error:
            self._sits_out = snapshot.round
            log.warning("device %s sits out round %d: %s", self.account.address, snapshot.round, error)
            return "sits out the round"
        commitment = submissions.commitment(self.ledger.domain, update)
        if self._stands(snapshot, commitment) or update.microseconds > snapshot.elapsed:
            return None  # done, or the chain has not seen that much time pass yet
        me, miner = self.account.address, snapshot.history.bound(index)
        if miner is None or miner in snapshot.current.commits or snapshot.share >= LONG:
            if not self._mines(snapshot) or me in snapshot.current.commits:
                self.ledger.send(
                    self.account, [ContractCall("commit", (submissions.batch_digest([commitment]),))]
                )
                return "committed alone"
            miner = me
        message = SignedCommitment(snapshot.round, index, commitment, self.account.sign(commitment))
        handed = self._hand(snapshot, miner, lambda inbox: inbox.take_commitment(message))
        return "handed in its commitment" if handed else None

    def _reveal(self, snapshot: RoundSnapshot, index: int) -> str | None:
        """Hand the opening to the miner; reveal alone if it does not bring it in time."""
        if any(item.update.device == index for item in snapshot.current.submissions):
            return None
        update = self.trainer.written(snapshot, index)
        if update is None or update.microseconds > snapshot.elapsed:
            return None
        commitment = submissions.commitment(self.ledger.domain, update)
        found = self._stands(snapshot, commitment)
        if found is None:
            return None
        self.trainer.publish(update)
        submitter, batch = found
        signed = SignedUpdate(update, self.account.sign(commitment))
        lone = submitter == self.account.address and batch == (commitment,)
        if lone or snapshot.share >= LONG:
            return self._reveal_alone(signed, submitter, batch)
        handed = self._hand(snapshot, submitter, lambda inbox: inbox.take_update(signed))
        return "handed in its update" if handed else None

    def _reveal_alone(self, signed: SignedUpdate, submitter: str, batch: tuple[bytes, ...]) -> str:
        """Open one's own place of a committed batch."""
        commitment = submissions.commitment(self.ledger.domain, signed.update)
        opened = tuple(signed if item == commitment else None for item in batch)
        self.ledger.send(
            self.account, [ContractCall("reveal", submissions.reveal_args(submitter, batch, opened))]
        )
        return "revealed alone"

    def _stands(self, snapshot: RoundSnapshot, commitment: bytes) -> tuple[str, tuple[bytes, ...]] | None:
        """Who committed a batch that contains a commitment, and that batch; None if nobody did."""
        commits, me = snapshot.current.commits, self.account.address
        alone = submissions.batch_digest([commitment])
        if snapshot.current.alone.get(me) == alone or (
            commits.get(me) == alone and not self._mines(snapshot)
        ):
            return me, (commitment,)
        index = snapshot.history.device_index(me)
        bound = None if index is None else snapshot.history.bound(index)
        for miner in (bound, me):
            if miner is not None and miner in commits:
                batch = self._batch(snapshot, miner, commitment)
                if batch is not None:
                    return miner, batch
        return None

    def _batch(self, snapshot: RoundSnapshot, miner: str, commitment: bytes) -> tuple[bytes, ...] | None:
        """A miner's batch, if it is what stands on chain and contains a commitment.

        It is written down, so that it can be opened when the miner has gone.
        """
        digest = snapshot.current.commits[miner]
        known = self._written(snapshot.round, miner)
        if known is not None and commitment in known and submissions.batch_digest(known) == digest:
            return known
        with suppress(RelayError):
            batch = self.relay.inbox(miner).batch(snapshot.round)
            if batch is not None and commitment in batch and submissions.batch_digest(batch) == digest:
                record = {"round": snapshot.round, "miner": miner, "batch": [item.hex() for item in batch]}
                self.journal.write_json(RECORD, record)
                return batch
        return None

    def _written(self, round_: int, miner: str) -> tuple[bytes, ...] | None:
        """The batch of a miner that was written down in a round."""
        record = self.journal.read_json(RECORD)
        with self.journal.reading(RECORD):
            if record is None or record["round"] != round_ or record["miner"] != miner:
                return None
            return tuple(bytes.fromhex(item) for item in record["batch"])

    def _mines(self, snapshot: RoundSnapshot) -> bool:
        """Whether this account is a miner too in this round: then its commitments are a miner's batches."""
        member = snapshot.history.miners.get(self.account.address)
        return member is not None and member.weight > 0

    def _hand(self, snapshot: RoundSnapshot, miner: str, message: Callable[[Inbox], None]) -> bool:
        """Give a miner a message, and again each quarter of the phase in case it has lost it."""
        key = snapshot.round, snapshot.clock.phase, int(snapshot.share / SHORT)
        if self._handed == key:
            return False
        with suppress(RelayError):
            message(self.relay.inbox(miner))
            self._handed = key
            return True
        return False
