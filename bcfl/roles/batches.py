"""Step 3 at the miner: one digest for all its devices, then the opened list, through the clerk."""

from __future__ import annotations

from bcfl.errors import RelayError
from bcfl.ports import Batch, SignedCommitment, Step
from bcfl.protocol import submissions
from bcfl.protocol.types import ZERO_DIGEST, SignedUpdate
from bcfl.roles.clerk import Office, clerk_of
from bcfl.roles.moment import MIDDLE, SHORT, Moment

RECORD = "batch.json"
NOTHING = ZERO_DIGEST  # the digest of an empty batch: nothing will be revealed


class Batches:
    """What a miner does with the messages of its devices."""

    def __init__(self, office: Office) -> None:
        self.office, self.inbox = office, office.inbox

    def take_commitment(self, message: SignedCommitment) -> None:
        """Keep a device's commitment, as long as the batch is open."""
        if self.committed(message.round) is not None:
            raise RelayError(f"the batch of round {message.round} is closed")
        self.inbox.take_commitment(message)

    def committed(self, round_: int) -> tuple[bytes, ...] | None:
        """The commitments that this miner has written down as its batch of a round."""
        record = self._record(round_)
        return None if record is None else tuple(message.commitment for message in record)

    def commit(self, moment: Moment) -> str | None:
        """Commit the batch when all devices that are bound to this miner have handed in, or time presses."""
        if self.office.address in moment.current.commits:
            return None
        batch = self.committed(moment.round)
        if batch is None:
            if self._waiting(moment) and moment.share < MIDDLE:
                return None
            ready = [self.inbox.commitments[device] for device in sorted(self.inbox.commitments)]
            batch = self._write(moment.round, ready[: submissions.MAX_BATCH])
        self.office.send(Step("commit", (submissions.batch_digest(batch),)))
        return f"committed {len(batch)} updates"

    def reveal(self, moment: Moment) -> str | None:
        """Bring what the devices opened: through the clerk if possible, else alone."""
        self._recall(moment.round)
        clerk = clerk_of(moment, moment.current.commits)
        mine = self._opened(moment)
        if clerk == self.office.address:
            return self._bring(moment, mine)
        if mine is None or clerk is None or self._settled(mine, moment):
            return None
        if moment.share < MIDDLE:
            if None in mine.updates or not mine.commitments:
                return None
            taken = self.office.hand(clerk, moment, lambda desk: desk.take_batch(mine))
            if taken is not False:
                return "handed its batch to the clerk" if taken else None
        return self._post(moment, [mine])

    def _bring(self, moment: Moment, mine: Batch | None) -> str | None:
        """The clerk's part: all batches at once, and only its own when the others help themselves."""
        own = [] if mine is None or self._settled(mine, moment) else [mine]
        if moment.share >= MIDDLE:
            return self._post(moment, own)
        whole = [batch for batch in own if None not in batch.updates]
        if moment.share < SHORT and (self._awaited(moment) or whole != own):
            return None
        empty = [
            Batch(moment.round, account, (), ())
            for account, digest in moment.current.commits.items()
            if digest == NOTHING and account in moment.history.miners
        ]
        ready = [*empty, *self.inbox.batches.values(), *whole]
        return self._post(moment, [batch for batch in ready if not self._settled(batch, moment)])

    def _awaited(self, moment: Moment) -> list[str]:
        """The miners that may still hand a batch to this clerk."""
        return [
            account
            for account, digest in moment.current.commits.items()
            if digest != NOTHING
            and account not in (self.office.address, *self.inbox.batches)
            and account in moment.history.miners
            and not moment.acted(account)
        ]

    def _settled(self, batch: Batch, moment: Moment) -> bool:
        """Whether nothing of a batch is left to be brought, and nobody waits for its miner."""
        shown = {item.update.device for item in moment.current.submissions}
        missing = any(item is not None and item.update.device not in shown for item in batch.updates)
        return moment.acted(batch.submitter) and not missing

    def _post(self, moment: Moment, batches: list[Batch]) -> str | None:
        """Reveal what is missing of some batches, each device once, no more than the round has room for.

        A batch of which nothing is opened tells, if it is empty or one's own, that nobody need wait.
        """
        shown = {item.update.device for item in moment.current.submissions}
        room = moment.terms.max_updates - len(moment.current.submissions)
        steps = []
        for batch in sorted({item.submitter: item for item in batches}.values(), key=lambda b: b.submitter):
            opened: list[SignedUpdate | None] = []
            for item in batch.updates:
                fresh = item is not None and item.update.device not in shown and room > 0
                opened.append(item if fresh else None)
                if item is not None and fresh:
                    shown.add(item.update.device)
                    room -= 1
            closes = not batch.commitments or batch.submitter == self.office.address
            if any(opened) or (closes and not moment.acted(batch.submitter)):
                args = submissions.reveal_args(batch.submitter, batch.commitments, opened)
                steps.append(Step("reveal", args))
        if not steps:
            return None
        self.office.send(*steps)
        return f"revealed {len(steps)} batches"

    def _waiting(self, moment: Moment) -> bool:
        """Whether a device that is bound to this miner has not handed in."""
        history = moment.history
        return any(
            device not in self.inbox.commitments and history.bound(device) == self.office.address
            for device in history.expected_devices()
        )

    def _opened(self, moment: Moment) -> Batch | None:
        """This miner's batch with what its devices have opened so far."""
        batch = self.committed(moment.round)
        committed = moment.current.commits.get(self.office.address)
        if batch is None or committed != submissions.batch_digest(batch):
            return None
        opened = tuple(self.inbox.updates.get(item) for item in batch)
        return Batch(moment.round, self.office.address, batch, opened)

    def _write(self, round_: int, messages: list[SignedCommitment]) -> tuple[bytes, ...]:
        """Close the batch: it is written down before it is committed."""
        record = [
            {"device": m.device, "commitment": m.commitment.hex(), "signature": m.signature.hex()}
            for m in messages
        ]
        self.office.journal.write_json(RECORD, {"round": round_, "commitments": record})
        return tuple(message.commitment for message in messages)

    def _record(self, round_: int) -> list[SignedCommitment] | None:
        """The batch that was written down for a round."""
        record = self.office.journal.read_json(RECORD)
        with self.office.journal.reading(RECORD):
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
