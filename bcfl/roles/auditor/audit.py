"""The audit of a training (section 8): the checks stand here in the order of a round."""

from __future__ import annotations

from collections.abc import Iterator

from bcfl.protocol.transcript import Transcript
from bcfl.protocol.types import VoidReason
from bcfl.roles.auditor.blocks import check_block, check_claims
from bcfl.roles.auditor.deadlines import Deadlines
from bcfl.roles.auditor.leaders import Leaders
from bcfl.roles.auditor.models import Models
from bcfl.roles.auditor.reading import CONTRADICTION, Case, Record, read
from bcfl.roles.auditor.storage import check_ledger, check_standing
from bcfl.roles.auditor.submissions import Found, Submissions
from bcfl.roles.auditor.turns import Turns, turns_of
from bcfl.roles.auditor.verdict import GENESIS, Finding, RoundVerdict
from bcfl.roles.auditor.votes import Votes
from bcfl.roles.common.archive import Archive


class Audit:
    """One audit: `rounds` says which there are, `verdicts` looks at them one after the other."""

    def __init__(self, transcript: Transcript, archive: Archive) -> None:
        self.transcript = transcript
        self.record: Record = read(transcript)
        self.models = Models(archive)
        self.leaders = Leaders(transcript.terms)
        self.accounts = dict(enumerate(self.record.history.devices))
        self._unseen = 0

    @property
    def rounds(self) -> list[int]:
        """The rounds that have begun, the genesis (0) included."""
        return sorted(self.record.cases)

    def verdicts(self, first: int = GENESIS, last: int | None = None) -> Iterator[RoundVerdict]:
        """A verdict for each of the rounds `first` to `last`; the last of all also answers for the end."""
        for number in self.rounds:
            case = self.record.cases[number]
            wanted = first <= number and (last is None or number <= last)
            found = [Finding(number, field, message) for field, message in self._round(case, wanted)]
            if number == self.rounds[-1] and self.record.complete:
                storage_snapshot = check_standing(self.record, self.transcript.storage_snapshot)
                found += [Finding(number, field, message) for field, message in storage_snapshot]
            if wanted:
                yield self._verdict(case, [*case.findings, *found])

    def _verdict(self, case: Case, findings: list[Finding]) -> RoundVerdict:
        notes = []
        if self._unseen:
            notes.append(f"signatures in calls of other contracts, which were not seen: {self._unseen}")
        if self.models.missing:
            notes.append(f"rejected updates without the right bytes: {len(self.models.missing)}")
        lazy = tuple(dict.fromkeys(self.models.lazy))
        return RoundVerdict(case.number, case.status, tuple(findings), lazy, tuple(notes))

    def _round(self, case: Case, wanted: bool) -> list[Found]:
        """Everything that is wrong in one round, in its order; logs that make no sense are that too."""
        found: list[Found] = []
        try:
            for finding in self._genesis(case) if case.round is None else self._steps(case, wanted):
                found.append(finding)
        except CONTRADICTION as error:
            found.append(("logs", f"they contradict one another ({type(error).__name__}: {error})"))
        finally:
            ended = case.round.block if case.round is not None else None
            self.models.archive.forget(keep=ended or case.head)
        return found

    def _genesis(self, case: Case) -> Iterator[Found]:
        """Block 0 and its model."""
        event = next(case.named("Genesis"))
        ledger = self.transcript.storage_snapshot.ledger.get(GENESIS)
        if event.args["block_hash"] != ledger:
            yield "block.hash", "the contract keeps another block 0"
        yield from check_ledger(self.record, self.transcript.storage_snapshot, GENESIS)
        yield from self.leaders.join(case)
        yield from self.models.stored(self.record.history.blocks[0])

    def _steps(self, case: Case, wanted: bool) -> Iterator[Found]:
        """The eight steps of a round, each believed by nobody."""
        assert case.round is not None
        assert case.head is not None
        terms, current = self.transcript.terms, case.round
        count, turns = self.record.books.count(current), turns_of(case)
        opened, elected = list(self.leaders.opening(case)), list(self.leaders.check(case, turns))
        self._unseen, self.models.missing, self.models.lazy = 0, [], ()
        if not wanted:
            return
        yield from opened
        submissions = Submissions(case, self.transcript, self.accounts)
        yield from submissions.check()  # 2 and 3
        self._unseen = submissions.unseen
        yield from Votes(case, terms, count).check()  # 4
        yield from elected  # 5
        yield from self._void(case)
        yield from Turns(case, terms, turns).check()  # 5 and 6
        yield from Deadlines(case, terms).check()
        yield from self.models.check(case.head, current, turns, self.record.history)  # 6 to 8
        if current.block is not None and current.block_hash is not None:
            yield from check_block(case, current.block, current.block_hash, count)  # 7
        yield from check_ledger(self.record, self.transcript.storage_snapshot, case.number)
        yield from check_claims(case, self.transcript, count, self.accounts)

    def _void(self, case: Case) -> Iterator[Found]:
        """A round that came to nothing had the reason that is recorded."""
        assert case.round is not None
        current, least = case.round, self.transcript.terms.min_updates
        taken = sum(current.accepted or ())
        holds = {
            VoidReason.FEW_UPDATES: len(current.submissions) < least,
            VoidReason.NO_VOTES: not current.vote_commits,
            VoidReason.NO_QUORUM: current.accepted is None,
            VoidReason.FEW_ACCEPTED: current.accepted is not None and taken < least,
            VoidReason.NO_LEADER: current.accepted is not None and taken >= least,
        }
        if current.void is not None and not holds[current.void]:
            yield "void", f"{current.void.name.lower()} is recorded, and it is not so"
        if current.elections and taken < least:
            yield "void", f"{taken} updates are accepted, fewer than {least}, and the round goes on"
