"""The submissions: every update that was revealed is signed by its device and in a committed batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bcfl.protocol.accounts import signer
from bcfl.protocol.event import LogEvent
from bcfl.protocol.limits import MAX_BATCH
from bcfl.protocol.rounds import Submission
from bcfl.protocol.submissions import batch_digest, commitment, unpack_claim
from bcfl.protocol.transcript import Call, Transcript
from bcfl.protocol.types import Update
from bcfl.roles.auditor.replay import Case
from bcfl.roles.auditor.verdict import Issue

PAYING = frozenset({"withdraw", "release_stake"})  # calls that send ether to an account

MICROSECONDS = 1_000_000
DIGEST_BYTES = 28  # of a miner's digest, as many as its record has room for


@dataclass(frozen=True)
class Reveal:
    """A `Revealed` event, with the position of its first update in the round."""

    event: LogEvent
    first: int

    @property
    def places(self) -> list[int]:
        """The places of its list that count: those whose devices had not revealed before."""
        return [
            place for place in range(len(self.event.args["claims"])) if self.event.args["taken"] >> place & 1
        ]


def is_told(call: Call, event: LogEvent) -> bool:
    """Whether an event tells of just this call of `reveal`."""
    submitter, _, roots, cids, claims, *_ = call.args
    fields = (event.args["submitter"], *(tuple(event.args[name]) for name in ("roots", "cids", "claims")))
    return (submitter, tuple(roots), tuple(cids), tuple(claims)) == fields


class Submissions:
    """The checks of one round's submissions."""

    def __init__(self, case: Case, transcript: Transcript, accounts: Mapping[int, str]) -> None:
        self.case, self.transcript, self.accounts = case, transcript, accounts
        assert case.round is not None
        self.updates = case.round.submissions
        self.miner_batches: dict[str, bytes] = {}  # sender -> digest
        self.device_batches: dict[str, bytes] = {}  # sender -> digest
        self.unseen = 0  # updates whose signatures are in calls of other contracts

    def check(self) -> Iterator[Issue]:
        """Yield everything that is wrong, in the order of the round."""
        yield from self._check_commits()
        yield from self._check_updates()
        calls = self._calls()
        for reveal in self._reveals():
            queue = calls.get(reveal.event.transaction)
            if queue is None:
                self.unseen += len(reveal.places)
                continue
            while queue and queue[0].optional and not is_told(queue[0], reveal.event):
                queue.pop(0)  # it failed, and the transaction did not
            if self._calls_out(reveal.event) and not (queue and is_told(queue[0], reveal.event)):
                self.unseen += len(reveal.places)  # an account with code reveals when it is paid
            elif queue:
                yield from self._check_reveal(reveal, queue.pop(0))
            else:
                yield "logs.Revealed", "it is logged, and its transaction reveals nothing more"
        if any(not call.optional for queue in calls.values() for call in queue):
            yield "logs.Revealed", "a transaction reveals what no log tells"

    def _check_commits(self) -> Iterator[Issue]:
        """Check that miners of the round commit once, and else only devices, of which the last counts."""
        devices = set(self.accounts.values())
        for event in self.case.events_named("Committed"):
            sender = event.args["sender"]
            if sender in self.case.seats and sender not in self.miner_batches:
                self.miner_batches[sender] = event.args["digest"]
            elif sender in devices:
                self.device_batches[sender] = event.args["digest"]
            else:
                yield f"commits[{sender}]", "no miner of this round that has not committed yet, and no device"

    def _check_updates(self) -> Iterator[Issue]:
        """Check that updates are of devices of the round, each once, within the terms."""
        terms = self.transcript.terms
        devices: set[int] = set()
        if len(self.updates) > terms.max_updates:
            yield "updates", f"{len(self.updates)} updates, more than the {terms.max_updates} of the terms"
        for item in self.updates:
            update, place = item.update, f"updates[{item.position}]"
            if update.device not in self.case.devices:
                yield f"{place}.device", f"device {update.device} takes no part in this round"
            if update.device in devices:
                yield f"{place}.device", f"device {update.device} reveals twice"
            devices.add(update.device)
            if not 0 < update.samples <= terms.max_samples:
                yield f"{place}.samples", f"{update.samples} samples, the terms allow {terms.max_samples}"

    def _reveals(self) -> Iterator[Reveal]:
        first = 0
        for event in self.case.events_named("Revealed"):
            yield Reveal(event, first)
            first += event.args["taken"].bit_count()

    def _calls(self) -> dict[bytes, list[Call]]:
        """Return the calls of `reveal` by transaction; those of other contracts cannot be seen."""
        transactions = dict.fromkeys(event.transaction for event in self.case.events_named("Revealed"))
        return {
            name: [call for call in self.transcript.calls[name] if call.function == "reveal"]
            for name in transactions
            if name in self.transcript.calls
        }

    def _calls_out(self, event: LogEvent) -> bool:
        """Whether the transaction of an event pays accounts, which may have code that calls back."""
        return any(call.function in PAYING for call in self.transcript.calls[event.transaction])

    def _check_reveal(self, reveal: Reveal, call: Call) -> Iterator[Issue]:
        """Check that calldata and event agree, that devices signed, and that the batch was committed."""
        submitter, mask, roots, cids, claims, signatures, sealed = call.args
        args = reveal.event.args
        if not is_told(call, reveal.event) or len(signatures) != len(claims):
            yield f"batches[{args['submitter']}]", "the log tells something else than the transaction"
            return
        opened = [unpack_claim(self.case.number, *item) for item in zip(roots, cids, claims, strict=True)]
        commitments = [commitment(self.transcript.domain, update) for update in opened]
        for offset, place in enumerate(reveal.places):
            item = self.updates[reveal.first + offset]
            yield from self._check_signature(item, commitments[place], b"".join(signatures[place]))
            yield from self._check_duration(item, reveal.event.timestamp)
        yield from self._check_taken(reveal, opened)
        yield from self._check_batch(submitter, mask, commitments, list(sealed))

    def _check_taken(self, reveal: Reveal, opened: list[Update]) -> Iterator[Issue]:
        """Check that a place is passed over only if its device has revealed before."""
        before = {item.update.device for item in self.updates[: reveal.first]}
        for place, update in enumerate(opened):
            if place not in reveal.places and update.device not in before:
                yield f"batches[{reveal.event.args['submitter']}]", f"device {update.device} is passed over"
            before.add(update.device)

    def _check_signature(self, item: Submission, digest: bytes, signature: bytes) -> Iterator[Issue]:
        if signer(digest, signature) != self.accounts.get(item.update.device):
            yield f"updates[{item.position}].signature", "it is not the device's"

    def _check_duration(self, item: Submission, timestamp: int) -> Iterator[Issue]:
        """Check that no device claims to have computed for longer than the round had been open."""
        assert self.case.round is not None
        if item.update.microseconds > (timestamp - self.case.round.opened) * MICROSECONDS:
            yield f"updates[{item.position}].microseconds", "longer than the round had been open"

    def _check_batch(
        self, submitter: str, mask: int, commitments: list[bytes], sealed: list[bytes]
    ) -> Iterator[Issue]:
        """Check that opened (by `mask`) and sealed commitments are the batch that was committed."""
        field = f"batches[{submitter}]"
        count = len(commitments) + len(sealed)
        if count > MAX_BATCH or (mask & (1 << count) - 1).bit_count() != len(commitments):
            yield field, "the mask of what is opened does not fit"
            return
        parts = (iter(commitments), iter(sealed))
        batch = [next(parts[0] if mask >> position & 1 else parts[1]) for position in range(count)]
        digest = batch_digest(batch)
        record = self.miner_batches.get(submitter, b"")
        if digest[:DIGEST_BYTES] != record[:DIGEST_BYTES] and digest != self.device_batches.get(submitter):
            yield field, "it is not the batch that was committed"
