"""Steps 2 and 3: every commitment opens to what was revealed, signed by its device, in a committed batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bcfl.protocol.accounts import signer
from bcfl.protocol.rounds import Recorded, Submission
from bcfl.protocol.submissions import MAX_BATCH, batch_digest, commitment
from bcfl.protocol.transcript import Call, Transcript
from bcfl.roles.auditor.reading import Case

MICROSECONDS = 1_000_000
KEPT = 28  # bytes of a miner's digest that its record keeps
Found = tuple[str, str]  # field, message


@dataclass(frozen=True)
class Shown:
    """One call of `reveal` as its event tells it, with the first position of its updates in the round."""

    event: Recorded
    first: int

    @property
    def size(self) -> int:
        """How many updates it opens."""
        return len(self.event.args["claims"])


class Submissions:
    """The checks of one round's submissions."""

    def __init__(self, case: Case, transcript: Transcript, accounts: Mapping[int, str]) -> None:
        self.case, self.transcript, self.accounts = case, transcript, accounts
        assert case.round is not None
        self.updates = case.round.submissions
        self.batches: dict[str, bytes] = {}  # of miners, by sender
        self.alone: dict[str, bytes] = {}  # of devices, by sender
        self.unseen = 0  # updates whose signatures are in calls of other contracts

    def check(self) -> Iterator[Found]:
        """Everything that is wrong, in the order of the round."""
        yield from self._commits()
        yield from self._updates()
        shown = list(self._shown())
        calls = self._calls()
        for each in shown:
            found = calls.get(each.event.transaction)
            if not found:
                self.unseen += each.size
            else:
                yield from self._opened(each, found.pop(0))
        for rest in calls.values():
            if rest:
                yield "logs.Revealed", "a transaction reveals what no log tells"

    def _commits(self) -> Iterator[Found]:
        """Who commits is a miner of the round, once, or a device for itself; of a device the last counts."""
        known = set(self.accounts.values())
        for event in self.case.named("Committed"):
            sender = event.args["sender"]
            if sender in self.case.seats and sender not in self.batches:
                self.batches[sender] = event.args["digest"]
            elif sender in known:
                self.alone[sender] = event.args["digest"]
            else:
                yield f"commits[{sender}]", "no miner of this round that has not committed yet, and no device"

    def _updates(self) -> Iterator[Found]:
        """Devices of the round, each once, within the terms."""
        terms, seen = self.transcript.terms, set()
        if len(self.updates) > terms.max_updates:
            yield "updates", f"{len(self.updates)} updates, more than the {terms.max_updates} of the terms"
        for item in self.updates:
            update, place = item.update, f"updates[{item.position}]"
            if update.device not in self.case.devices:
                yield f"{place}.device", f"device {update.device} takes no part in this round"
            if update.device in seen:
                yield f"{place}.device", f"device {update.device} reveals twice"
            seen.add(update.device)
            if not 0 < update.samples <= terms.max_samples:
                yield f"{place}.samples", f"{update.samples} samples, the terms allow {terms.max_samples}"

    def _shown(self) -> Iterator[Shown]:
        first = 0
        for event in self.case.named("Revealed"):
            yield Shown(event, first)
            first += len(event.args["claims"])

    def _calls(self) -> dict[bytes, list[Call]]:
        """The calls of `reveal` by transaction; those of other contracts cannot be seen."""
        transactions = dict.fromkeys(event.transaction for event in self.case.named("Revealed"))
        return {
            name: [call for call in self.transcript.calls[name] if call.function == "reveal"]
            for name in transactions
            if name in self.transcript.calls
        }

    def _opened(self, shown: Shown, call: Call) -> Iterator[Found]:
        """The calldata says what the log says, every signature is its device's, and the batch folds."""
        submitter, opened, roots, cids, claims, signatures, sealed = call.args
        args, items = shown.event.args, self.updates[shown.first : shown.first + shown.size]
        told = (args["submitter"], tuple(args["roots"]), tuple(args["cids"]), tuple(args["claims"]))
        if (submitter, tuple(roots), tuple(cids), tuple(claims)) != told or len(signatures) != len(items):
            yield f"batches[{args['submitter']}]", "the log tells something else than the transaction"
            return
        digests = [commitment(self.transcript.domain, item.update) for item in items]
        for item, digest, signature in zip(items, digests, signatures, strict=True):
            yield from self._signed(item, digest, b"".join(signature))
            yield from self._elapsed(item, shown.event.timestamp)
        yield from self._folds(submitter, opened, digests, list(sealed))

    def _signed(self, item: Submission, digest: bytes, signature: bytes) -> Iterator[Found]:
        if signer(digest, signature) != self.accounts.get(item.update.device):
            yield f"updates[{item.position}].signature", "it is not the device's"

    def _elapsed(self, item: Submission, timestamp: int) -> Iterator[Found]:
        """Nobody computes longer than the round has been open."""
        assert self.case.round is not None
        if item.update.microseconds > (timestamp - self.case.round.opened) * MICROSECONDS:
            yield f"updates[{item.position}].microseconds", "longer than the round had been open"

    def _folds(self, submitter: str, opened: int, shown: list[bytes], sealed: list[bytes]) -> Iterator[Found]:
        """The opened and the sealed commitments together are the batch that was committed."""
        field = f"batches[{submitter}]"
        count = len(shown) + len(sealed)
        if count > MAX_BATCH or (opened & (1 << count) - 1).bit_count() != len(shown):
            yield field, "the mask of what is opened does not fit"
            return
        parts = (iter(shown), iter(sealed))
        batch = [next(parts[0] if opened >> position & 1 else parts[1]) for position in range(count)]
        digest = batch_digest(batch)
        if digest[:KEPT] != self.batches.get(submitter, b"")[:KEPT] and digest != self.alone.get(submitter):
            yield field, "it is not the batch that was committed"
