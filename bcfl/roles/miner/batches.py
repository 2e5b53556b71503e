"""Step 3 at the miner: one digest for all its devices, then the opened list, through the clerk."""

from __future__ import annotations

from bcfl.errors import RelayError
from bcfl.ports import Batch, ContractCall, SignedCommitment
from bcfl.protocol import submissions
from bcfl.protocol.types import ZERO_DIGEST, SignedUpdate
from bcfl.roles.common.snapshot import MIDDLE, SHORT, RoundSnapshot
from bcfl.roles.miner.context import MinerContext, batcher_of

RECORD = "batch.json"
NOTHING = ZERO_DIGEST  # the digest of an empty batch: nothing will be revealed


class Batches:
    """What a miner does with the messages of its devices."""

    def __init__(self, context: MinerContext) -> None:
        self.context, self.inbox = context, context.inbox

    def take_commitment(self, message: SignedCommitment) -> None:
        """Keep a device's commitment, as long as the batch is open."""
        if self.committed(message.round) is not None:
            raise RelayError(f"the batch of round {message.round} is closed")
        self.inbox.take_commitment(message)

    def committed(self, round_: int) -> tuple[bytes, ...] | None:
        """The commitments that this miner has written down as its batch of a round."""
        record = self._record(round_)
        return None if record is None else tuple(message.commitment for message in record)

    def commit(self, snapshot: RoundSnapshot) -> str | None:
        """Commit the batch when all devices that are bound to this miner have handed in, or time presses."""
        if self.context.address in snapshot.current.commits:
            return None
        batch = self.committed(snapshot.round)
        if batch is None:
            if self._waiting(snapshot) and snapshot.share < MIDDLE:
                return None
            ready = [self.inbox.commitments[device] for device in sorted(self.inbox.commitments)]
            batch = self._write(snapshot.round, ready[: submissions.MAX_BATCH])
        self.context.send(ContractCall("commit", (submissions.batch_digest(batch),)))
        return f"committed {len(batch)} updates"

    def reveal(self, snapshot: RoundSnapshot) -> str | None:
        """Bring what the devices opened: through the clerk if possible, else alone."""
        self._recall(snapshot.round)
        batcher = batcher_of(snapshot, snapshot.current.commits)
        mine = self._opened(snapshot)
        if batcher == self.context.address:
            return self._bring(snapshot, mine)
        if mine is None or batcher is None or self._settled(mine, snapshot):
            return None
        if snapshot.share < MIDDLE:
            if None in mine.updates or not mine.commitments:
                return None
            taken = self.context.hand(batcher, snapshot, lambda inbox: inbox.take_batch(mine))
            if taken is not False:
                return "handed its batch to the clerk" if taken else None
        return self._post(snapshot, [mine])

    def _bring(self, snapshot: RoundSnapshot, mine: Batch | None) -> str | None:
        """The clerk's part: all batches at once, and only its own when the others help themselves."""
        own = [] if mine is None or self._settled(mine, snapshot) else [mine]
        if snapshot.share >= MIDDLE:
            return self._post(snapshot, own)
        whole = [batch for batch in own if None not in batch.updates]
        if snapshot.share < SHORT and (self._awaited(snapshot) or whole != own):
            return None
        empty = [
            Batch(snapshot.round, account, (), ())
            for account, digest in snapshot.current.commits.items()
            if digest == NOTHING and account in snapshot.history.miners
        ]
        ready = [*empty, *self.inbox.batches.values(), *whole]
        return self._post(snapshot, [batch for batch in ready if not self._settled(batch, snapshot)])

    def _awaited(self, snapshot: RoundSnapshot) -> list[str]:
        """The miners that may still hand a batch to this clerk."""
        return [
            account
            for account, digest in snapshot.current.commits.items()
            if digest != NOTHING
            and account not in (self.context.address, *self.inbox.batches)
            and account in snapshot.history.miners
            and not snapshot.has_acted(account)
        ]

    def _settled(self, batch: Batch, snapshot: RoundSnapshot) -> bool:
        """Whether nothing of a batch is left to be brought, and nobody waits for its miner."""
        shown = {item.update.device for item in snapshot.current.submissions}
        missing = any(item is not None and item.update.device not in shown for item in batch.updates)
        return snapshot.has_acted(batch.submitter) and not missing

    def _post(self, snapshot: RoundSnapshot, batches: list[Batch]) -> str | None:
        """Reveal what is missing of some batches, each device once, no more than the round has room for.

        A batch of which nothing is opened tells, if it is empty or one's own, that nobody need wait.
        """
        shown = {item.update.device for item in snapshot.current.submissions}
        room = snapshot.terms.max_updates - len(snapshot.current.submissions)
        steps = []
        for batch in sorted({item.submitter: item for item in batches}.values(), key=lambda b: b.submitter):
            opened: list[SignedUpdate | None] = []
            for item in batch.updates:
                fresh = item is not None and item.update.device not in shown and room > 0
                opened.append(item if fresh else None)
                if item is not None and fresh:
                    shown.add(item.update.device)
                    room -= 1
            closes = not batch.commitments or batch.submitter == self.context.address
            if any(opened) or (closes and not snapshot.has_acted(batch.submitter)):
                args = submissions.reveal_args(batch.submitter, batch.commitments, opened)
                steps.append(ContractCall("reveal", args))
        if not steps:
            return None
        self.context.send(*steps)
        return f"revealed {len(steps)} batches"

    def _waiting(self, snapshot: RoundSnapshot) -> bool:
        """Whether a device that is bound to this miner has not handed in."""
        history = snapshot.history
        return any(
            device not in self.inbox.commitments and history.bound(device) == self.context.address
            for device in history.expected_devices()
        )

    def _opened(self, snapshot: RoundSnapshot) -> Batch | None:
        """This miner's batch with what its devices have opened so far."""
        batch = self.committed(snapshot.round)
        committed = snapshot.current.commits.get(self.context.address)
        if batch is None or committed != submissions.batch_digest(batch):
            return None
        opened = tuple(self.inbox.updates.get(item) for item in batch)
        return Batch(snapshot.round, self.context.address, batch, opened)

    def _write(self, round_: int, messages: list[SignedCommitment]) -> tuple[bytes, ...]:
        """Close the batch: it is written down before it is committed."""
        record = [
            {"device": m.device, "commitment": m.commitment.hex(), "signature": m.signature.hex()}
            for m in messages
        ]
        self.context.journal.write_json(RECORD, {"round": round_, "commitments": record})
        return tuple(message.commitment for message in messages)

    def _record(self, round_: int) -> list[SignedCommitment] | None:
        """The batch that was written down for a round."""
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

    def _recall(self, round_: int) -> None:
        """After a restart: take the commitments of the batch as handed in, so that they can be opened."""
        if not self.inbox.commitments:
            self.inbox.commitments.update({item.device: item for item in self._record(round_) or ()})
