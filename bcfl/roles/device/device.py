"""Train on a device, commit to its update, reveal it, and start the next round from the new model."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

from bcfl.errors import ConfigError, RelayError
from bcfl.ports import ContractCall, Inbox, Learner, Ledger, Relay, SignedCommitment
from bcfl.protocol import submissions
from bcfl.protocol.accounts import Account
from bcfl.protocol.types import Phase, SignedUpdate, Verdict
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.journal import Journal
from bcfl.roles.common.snapshot import LONG_SHARE, SHORT_SHARE, RoundSnapshot, take_snapshot
from bcfl.roles.device.trainer import Trainer

RECORD = "inclusion.json"
ADVICE = {
    Verdict.UNAVAILABLE: "the miners could not fetch it: check that the store can be reached from them",
    Verdict.TIME: (
        "it says more samples a second than this federation takes (time_factor, in its terms): deploy with a "
        "higher --time-factor, or let the miners run without the check (--no-check-time)"
    ),
    Verdict.OUTLIER: (
        "it differs too much from the others: other data, another learning rate? `bcfl votes` has the figures"
    ),
    Verdict.QUALITY: "it makes the model worse on a miner's data; are your labels right? see `bcfl votes`",
    Verdict.DUPLICATE: (
        "it is too like an update that was committed before, or has nothing new that any data teach: "
        "did it train? `bcfl votes` has the figures"
    ),
}  # what the owner of a device can do about a rejection
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
        clips: bool = True,
    ) -> None:
        self.account, self.ledger, self.relay, self.journal = account, ledger, relay, journal
        self.trainer = Trainer(account, learner, ledger, archive, journal, clips)
        self._delivery: tuple[int, Phase, int] | None = None  # round, phase and quarter of the last message
        self._idle_round: int | None = None  # in which training failed
        self._said_round = 0  # the last one of which it has been said whether the update was left out

    def act(self) -> str | None:
        """Do what is due; None if nothing is. Raises Reverted where somebody else was quicker."""
        snapshot = take_snapshot(self.ledger)
        if snapshot is None:
            return None
        self.trainer.forget(snapshot)
        index = snapshot.history.device_index(self.account.address)
        if index is None or not snapshot.history.takes_part(index):
            return None
        self._say_left_out(snapshot, index)
        if snapshot.clock.phase is Phase.COMMIT:
            return self._commit(snapshot, index)
        if snapshot.clock.phase is Phase.REVEAL:
            return self._reveal(snapshot, index)
        return None

    def unknown_acts(self, snapshot: RoundSnapshot) -> list[str]:
        """Return what the chain shows of this device in the round, and its journal does not know."""
        address, current = self.account.address, snapshot.current
        index = snapshot.history.device_index(address)
        if index is None:
            return []
        update, domain = self.trainer.recorded_update(snapshot, index), self.ledger.domain
        own = None if update is None else submissions.commitment(domain, update)
        digest = None if own is None else submissions.batch_digest([own])
        commits = current.device_commits if self._is_miner(snapshot) else current.commits
        acts = ["a commitment"] if commits.get(address, digest) != digest else []
        shown = [item.update for item in current.submissions if item.update.device == index]
        return acts + ["an update" for item in shown if submissions.commitment(domain, item) != own]

    def _say_left_out(self, snapshot: RoundSnapshot, index: int) -> None:
        """Log once why the update of the round before was left out, and what its owner can do about it."""
        last = snapshot.history.rounds.get(snapshot.round - 1)
        if last is None or last.levels is None or self._said_round >= last.number:
            return
        self._said_round = last.number
        for item in last.submissions:
            if item.update.device == index and not last.levels[item.position]:
                verdict = last.verdict(item.position)
                name, address = verdict.name.lower(), self.account.address
                advice = ADVICE.get(verdict, "`bcfl votes` says what the miners saw")
                log.info("device %s was left out of round %d: %s; %s", address, last.number, name, advice)

    def _commit(self, snapshot: RoundSnapshot, index: int) -> str | None:
        """Hand the commitment to the miner; commit alone if it is left out or nobody answers."""
        if self._idle_round == snapshot.round:
            return None
        try:
            update = self.trainer.update(snapshot, index)
        except ConfigError as error:
            self._idle_round = snapshot.round
            log.warning("device %s sits out round %d: %s", self.account.address, snapshot.round, error)
            return "sits out the round"
        commitment = submissions.commitment(self.ledger.domain, update)
        if self._committed_batch(snapshot, commitment) or update.microseconds > snapshot.elapsed:
            return None  # done, or the chain has not seen that much time pass yet
        address, miner = self.account.address, snapshot.history.binding(index)
        if miner is None or miner in snapshot.current.commits or snapshot.share >= LONG_SHARE:
            if not self._is_miner(snapshot) or address in snapshot.current.commits:
                digest = submissions.batch_digest([commitment])
                self.ledger.send(self.account, [ContractCall("commit", (digest,))])
                return "committed alone"
            miner = address

        def message() -> SignedCommitment:  # signed only where it goes out, not in every turn
            return SignedCommitment(snapshot.round, index, commitment, self.account.sign(commitment))

        is_delivered = self._deliver(snapshot, miner, lambda inbox: inbox.take_commitment(message()))
        return "handed in its commitment" if is_delivered else None

    def _reveal(self, snapshot: RoundSnapshot, index: int) -> str | None:
        """Hand the opening to the miner; reveal alone if it does not bring it in time."""
        if any(item.update.device == index for item in snapshot.current.submissions):
            return None
        update = self.trainer.recorded_update(snapshot, index)
        if update is None or update.microseconds > snapshot.elapsed:
            return None
        commitment = submissions.commitment(self.ledger.domain, update)
        inclusion = self._committed_batch(snapshot, commitment)
        if inclusion is None or not self.trainer.publish(snapshot, update):
            return None
        submitter, batch = inclusion

        def message() -> SignedUpdate:
            return SignedUpdate(update, self.account.sign(commitment))

        is_alone = submitter == self.account.address and batch == (commitment,)
        if is_alone or snapshot.share >= LONG_SHARE:
            return self._reveal_alone(message(), submitter, batch)
        is_delivered = self._deliver(snapshot, submitter, lambda inbox: inbox.take_update(message()))
        return "handed in its update" if is_delivered else None

    def _reveal_alone(self, signed_update: SignedUpdate, submitter: str, batch: tuple[bytes, ...]) -> str:
        """Open the device's own place of a committed batch."""
        commitment = submissions.commitment(self.ledger.domain, signed_update.update)
        updates = tuple(signed_update if item == commitment else None for item in batch)
        self.ledger.send(
            self.account, [ContractCall("reveal", submissions.reveal_args(submitter, batch, updates))]
        )
        return "revealed alone"

    def _committed_batch(
        self, snapshot: RoundSnapshot, commitment: bytes
    ) -> tuple[str, tuple[bytes, ...]] | None:
        """Return who committed a batch that contains a commitment, and that batch; None if nobody did."""
        commits, address = snapshot.current.commits, self.account.address
        digest = submissions.batch_digest([commitment])
        if snapshot.current.device_commits.get(address) == digest or (
            commits.get(address) == digest and not self._is_miner(snapshot)
        ):
            return address, (commitment,)
        index = snapshot.history.device_index(address)
        bound_miner = None if index is None else snapshot.history.binding(index)
        for miner in (bound_miner, address):
            if miner is not None and miner in commits:
                batch = self._batch_of(snapshot, miner, commitment)
                if batch is not None:
                    return miner, batch
        return None

    def _batch_of(self, snapshot: RoundSnapshot, miner: str, commitment: bytes) -> tuple[bytes, ...] | None:
        """Return a miner's batch, if it is the one on chain and contains a commitment.

        The batch is written to the journal, so that it can be opened when the miner has gone.
        """
        digest = snapshot.current.commits[miner]
        record = self._recorded_batch(snapshot.round, miner)
        if record is not None and commitment in record and submissions.batch_digest(record) == digest:
            return record
        with suppress(RelayError):
            batch = self.relay.inbox(miner).batch(snapshot.round)
            if batch is not None and commitment in batch and submissions.batch_digest(batch) == digest:
                content = {"round": snapshot.round, "miner": miner, "batch": [item.hex() for item in batch]}
                self.journal.write_json(RECORD, content)
                return batch
        return None

    def _recorded_batch(self, round_: int, miner: str) -> tuple[bytes, ...] | None:
        """Return the batch of a miner from the journal, if it is of that round."""
        record = self.journal.read_json(RECORD)
        with self.journal.reading(RECORD):
            if record is None or record["round"] != round_ or record["miner"] != miner:
                return None
            return tuple(bytes.fromhex(item) for item in record["batch"])
        return None

    def _is_miner(self, snapshot: RoundSnapshot) -> bool:
        """Return whether this account is a miner too: then its commitments are a miner's batches."""
        member = snapshot.history.miners.get(self.account.address)
        return member is not None and member.weight > 0

    def _deliver(self, snapshot: RoundSnapshot, miner: str, message: Callable[[Inbox], None]) -> bool:
        """Give a miner a message, and again each quarter of the phase in case it has lost it."""
        key = snapshot.round, snapshot.clock.phase, int(snapshot.share / SHORT_SHARE)
        if self._delivery == key:
            return False
        with suppress(RelayError):
            message(self.relay.inbox(miner))
            self._delivery = key
            return True
        return False
