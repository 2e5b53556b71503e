"""Serve a miner's devices: commit one digest for all of them, then reveal their updates."""

from __future__ import annotations

from bcfl.errors import RelayError
from bcfl.ports import Batch, ContractCall, SignedCommitment
from bcfl.protocol import submissions
from bcfl.protocol.limits import MAX_BATCH
from bcfl.protocol.types import ZERO_DIGEST, SignedUpdate
from bcfl.roles.common.snapshot import MIDDLE_SHARE, SHORT_SHARE, RoundSnapshot
from bcfl.roles.miner.context import MinerContext, batcher_of

RECORD = "batch.json"
EMPTY_DIGEST = ZERO_DIGEST  # of an empty batch: nothing will be revealed


class Batches:
    """What a miner does with the messages of its devices."""

    def __init__(self, context: MinerContext) -> None:
        self.context, self.inbox = context, context.inbox

    def take_commitment(self, message: SignedCommitment) -> None:
        """Keep a device's commitment; raises RelayError once the batch is closed."""
        if self.commitments(message.round) is not None:
            raise RelayError(f"the batch of round {message.round} is closed")
        self.inbox.take_commitment(message)

    def commitments(self, round_: int) -> tuple[bytes, ...] | None:
        """Return the commitments in this miner's batch of a round, once it is closed."""
        record = self._read(round_)
        return None if record is None else tuple(message.commitment for message in record)

    def knows_commitment(self, snapshot: RoundSnapshot) -> bool:
        """Return whether the journal holds the batch that the chain has a commitment to, if it has one."""
        digest = snapshot.current.commits.get(self.context.address)
        batch = None if digest is None else self.commitments(snapshot.round)
        return digest is None or (batch is not None and submissions.batch_digest(batch) == digest)

    def commit(self, snapshot: RoundSnapshot) -> str | None:
        """Commit the batch when all devices bound to this miner have handed in, or half the phase is over."""
        if self.context.address in snapshot.current.commits:
            return None
        batch = self.commitments(snapshot.round)
        if batch is None:
            if self._awaits_devices(snapshot) and snapshot.share < MIDDLE_SHARE:
                return None
            messages = [self.inbox.commitments[device] for device in sorted(self.inbox.commitments)]
            batch = self._close(snapshot.round, messages[:MAX_BATCH])
        self.context.send(ContractCall("commit", (submissions.batch_digest(batch),)))
        return f"committed {len(batch)} updates"

    def reveal(self, snapshot: RoundSnapshot) -> str | None:
        """Reveal the updates of the devices: through the batcher if possible, else alone."""
        self._restore(snapshot.round)
        batcher = batcher_of(snapshot, snapshot.current.commits)
        batch = self._own_batch(snapshot)
        if batcher == self.context.address:
            return self._reveal_as_batcher(snapshot, batch)
        if batch is None or batcher is None or self._is_settled(batch, snapshot):
            return None
        if snapshot.share < MIDDLE_SHARE:
            if self._awaits_updates(batch, snapshot) or not batch.commitments:
                return None
            if None not in batch.updates:  # a place that stays sealed is closed by its own miner alone
                is_delivered = self.context.deliver(batcher, snapshot, lambda inbox: inbox.take_batch(batch))
                if is_delivered is not False:
                    return "handed its batch to the batcher" if is_delivered else None
        return self._send_reveals(snapshot, [batch])

    def _reveal_as_batcher(self, snapshot: RoundSnapshot, batch: Batch | None) -> str | None:
        """Reveal all batches at once, and only this miner's when the others help themselves."""
        batches = [] if batch is None or self._is_settled(batch, snapshot) else [batch]
        if snapshot.share >= MIDDLE_SHARE:
            return self._send_reveals(snapshot, batches)
        complete = [item for item in batches if not self._awaits_updates(item, snapshot)]
        if snapshot.share < SHORT_SHARE and (self._awaited_miners(snapshot) or complete != batches):
            return None
        seats = {member.account for member in snapshot.history.voters()}
        empty = [
            Batch(snapshot.round, account, (), ())
            for account, digest in snapshot.current.commits.items()
            if digest == EMPTY_DIGEST and account in seats
        ]
        candidates = [*empty, *self.inbox.batches.values(), *complete]
        return self._send_reveals(
            snapshot, [item for item in candidates if not self._is_settled(item, snapshot)]
        )

    def _awaited_miners(self, snapshot: RoundSnapshot) -> list[str]:
        """Return the miners that may still hand a batch to this batcher."""
        seats = {member.account for member in snapshot.history.voters()}
        return [
            account
            for account, digest in snapshot.current.commits.items()
            if digest != EMPTY_DIGEST
            and account not in (self.context.address, *self.inbox.batches)
            and account in seats
            and not snapshot.has_acted(account)
        ]

    def _is_settled(self, batch: Batch, snapshot: RoundSnapshot) -> bool:
        """Return whether nothing of a batch is left to be revealed, and nobody waits for its miner."""
        devices = {item.update.device for item in snapshot.current.submissions}
        missing = any(item is not None and item.update.device not in devices for item in batch.updates)
        return snapshot.has_acted(batch.submitter) and not missing

    def _send_reveals(self, snapshot: RoundSnapshot, batches: list[Batch]) -> str | None:
        """Reveal what is missing of some batches, each device once, no more than the round has room for.

        A batch of which nothing is revealed tells, if it is empty or this miner's, that nobody need wait.
        """
        devices = {item.update.device for item in snapshot.current.submissions}
        room = snapshot.terms.max_updates - len(snapshot.current.submissions)
        calls = []
        for batch in sorted({item.submitter: item for item in batches}.values(), key=lambda b: b.submitter):
            updates: list[SignedUpdate | None] = []
            for item in batch.updates:
                fresh = item is not None and item.update.device not in devices and room > 0
                updates.append(item if fresh else None)
                if item is not None and fresh:
                    devices.add(item.update.device)
                    room -= 1
            closes = not batch.commitments or batch.submitter == self.context.address
            if any(updates) or (closes and not snapshot.has_acted(batch.submitter)):
                args = submissions.reveal_args(batch.submitter, batch.commitments, updates)
                is_other = batch.submitter != self.context.address
                calls.append(ContractCall("reveal", args, optional=is_other))
        if not calls:
            return None
        self.context.send(*calls)
        return f"revealed {len(calls)} batches"

    def _awaits_devices(self, snapshot: RoundSnapshot) -> bool:
        """Return whether a device that is bound to this miner has not handed in."""
        history = snapshot.history
        return any(
            device not in self.inbox.commitments and history.binding(device) == self.context.address
            for device in history.expected_devices()
        )

    def _awaits_updates(self, batch: Batch, snapshot: RoundSnapshot) -> bool:
        """Return whether a device has not handed in its update to this miner, nor revealed it alone."""
        devices = {item.update.device for item in snapshot.current.submissions}
        revealed = {item.commitment for item in self.inbox.commitments.values() if item.device in devices}
        places = zip(batch.commitments, batch.updates, strict=True)
        return any(update is None and commitment not in revealed for commitment, update in places)

    def _own_batch(self, snapshot: RoundSnapshot) -> Batch | None:
        """Return this miner's batch with the updates that its devices have handed in so far."""
        commitments = self.commitments(snapshot.round)
        digest = snapshot.current.commits.get(self.context.address)
        if commitments is None or digest != submissions.batch_digest(commitments):
            return None
        updates = tuple(self.inbox.updates.get(item) for item in commitments)
        return Batch(snapshot.round, self.context.address, commitments, updates)

    def _close(self, round_: int, messages: list[SignedCommitment]) -> tuple[bytes, ...]:
        """Close the batch: it is written to the journal before it is committed."""
        record = [
            {"device": m.device, "commitment": m.commitment.hex(), "signature": m.signature.hex()}
            for m in messages
        ]
        self.context.journal.write_json(RECORD, {"round": round_, "commitments": record})
        return tuple(message.commitment for message in messages)

    def _read(self, round_: int) -> list[SignedCommitment] | None:
        """Return the batch in the journal, if it is of that round."""
        record = self.context.journal.read_json(RECORD)
        with self.context.journal.reading(RECORD):
            if record is None or record["round"] != round_:
                return None
            return [
                SignedCommitment(
                    round_,
                    int(item["device"]),
                    bytes.fromhex(item["commitment"]),
                    bytes.fromhex(item["signature"]),
                )
                for item in record["commitments"]
            ]
        return None

    def _restore(self, round_: int) -> None:
        """Restore the commitments of the batch after a restart, so that they can be opened."""
        if not self.inbox.commitments:
            self.inbox.commitments.update({item.device: item for item in self._read(round_) or ()})
