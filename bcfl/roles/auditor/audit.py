"""The audit of a training: every check, in the order of a round."""

from __future__ import annotations

from collections.abc import Iterator

from bcfl.protocol.rounds import Round
from bcfl.protocol.transcript import Transcript
from bcfl.protocol.types import Terms, VoidReason
from bcfl.roles.auditor.blocks import check_block, check_claims
from bcfl.roles.auditor.deadlines import Deadlines
from bcfl.roles.auditor.leaders import Leaders
from bcfl.roles.auditor.members import Members
from bcfl.roles.auditor.models import Models
from bcfl.roles.auditor.replay import CONTRADICTION, Case, Replay, replay_transcript
from bcfl.roles.auditor.storage import check_ledger, check_storage
from bcfl.roles.auditor.submissions import Submissions
from bcfl.roles.auditor.turns import Turn, Turns, nobody_is_left, turns_of
from bcfl.roles.auditor.verdict import GENESIS, Finding, Issue, RoundVerdict
from bcfl.roles.auditor.votes import Votes
from bcfl.roles.common.archive import Archive


class Audit:
    """One audit: `rounds` lists what there is to check, `verdicts` checks one round after the other."""

    def __init__(self, transcript: Transcript, archive: Archive) -> None:
        self.transcript = transcript
        self.replay: Replay = replay_transcript(transcript)
        self.models = Models(archive)
        self.leaders = Leaders(transcript.terms)
        self.members = Members(transcript.terms)
        self.accounts = dict(enumerate(self.replay.history.devices))
        self._unseen = 0

    @property
    def rounds(self) -> list[int]:
        """The rounds that have begun, the genesis (0) included."""
        return sorted(self.replay.cases)

    def verdicts(self, first: int = GENESIS, last: int | None = None) -> Iterator[RoundVerdict]:
        """Yield a verdict for each of the rounds `first` to `last`.

        The verdict of the last round of all includes the contract's storage at the end.
        """
        for number in self.rounds:
            case = self.replay.cases[number]
            chosen = first <= number and (last is None or number <= last)
            issues = self._check(case, chosen)
            if number == self.rounds[-1] and self.replay.complete:
                issues += check_storage(self.replay, self.transcript.storage_snapshot)
            if chosen:
                findings = [Finding(number, field, message) for field, message in issues]
                yield self._verdict(case, [*case.findings, *findings])

    def _verdict(self, case: Case, findings: list[Finding]) -> RoundVerdict:
        notes = []
        if case.round is None and self.transcript.terms.min_blocks:
            blocks = self.transcript.terms.min_blocks
            notes.append(f"whether anything came too late: phases last {blocks} blocks too")
        if self._unseen:
            notes.append(f"signatures in calls of other contracts, which were not seen: {self._unseen}")
        if self.models.is_misnamed:
            notes.append("the block names another CID than that of its model, which the updates come to")
        if self.models.missing:
            notes.append(f"rejected updates without the right bytes: {len(self.models.missing)}")
        sealed = self.models.sealed
        if sealed:
            notes.append(sealed.words)
        if self.models.wrong_keys:
            notes.append(f"keys that were given and open nothing that is right: {self.models.wrong_keys}")
        lazy = tuple(dict.fromkeys(self.models.lazy))
        return RoundVerdict(case.number, case.status, tuple(findings), lazy, tuple(notes), sealed)

    def _check(self, case: Case, chosen: bool) -> list[Issue]:
        """Return everything that is wrong in one round, in its order; contradicting logs are that too."""
        issues: list[Issue] = []
        try:
            checks = (
                self._check_genesis(case)
                if case.round is None
                else self._check_round(case, case.round, chosen)
            )
            for issue in checks:
                issues.append(issue)  # one by one: what was found before a contradiction counts
        except CONTRADICTION as error:
            issues.append(("logs", f"they contradict one another ({type(error).__name__}: {error})"))
        finally:
            block = case.round.block if case.round is not None else None
            self.models.archive.forget(keep=block or case.head)
        return issues

    def _check_genesis(self, case: Case) -> Iterator[Issue]:
        """Check block 0 and its model."""
        event, storage = next(case.events_named("Genesis")), self.transcript.storage_snapshot
        if event.args["block_hash"] != storage.ledger.get(GENESIS):
            yield "block.hash", "the contract keeps another block 0"
        yield from check_ledger(self.replay.history, storage, GENESIS)
        yield from self.members.check(case, self.replay.history)
        yield from self.models.check_stored(self.replay.history.blocks[0])

    def _check_round(self, case: Case, round_: Round, chosen: bool) -> Iterator[Issue]:
        """Check the eight steps of a round; where it is not chosen, only follow members and leaders."""
        assert case.head is not None
        terms, history = self.transcript.terms, self.replay.history
        tally, turns = self.replay.balances.tally(round_), turns_of(case)
        members = self.members.check(case, history)
        opening, leaders = list(self.leaders.check_opening(case)), list(self.leaders.check(case, turns))
        self._unseen = 0
        self.models.reset()
        if not chosen:
            return
        yield from opening
        yield from members
        submissions = Submissions(case, self.transcript, self.accounts)
        yield from submissions.check()
        self._unseen = submissions.unseen
        links = round_.links(self.transcript.domain)
        yield from Votes(case, tally, links, self.members.penalties).check()
        yield from leaders
        yield from check_void(round_, terms, turns)
        yield from Turns(case, terms, turns).check()
        yield from Deadlines(case, terms).check()
        yield from self.models.check(case.head, round_, turns, history)
        if round_.block is not None and round_.block_hash is not None:
            yield from check_block(case, round_.block, round_.block_hash, tally)
        yield from check_ledger(history, self.transcript.storage_snapshot, case.number)
        yield from check_claims(case, self.transcript, tally, self.accounts)


def check_void(round_: Round, terms: Terms, turns: list[Turn]) -> Iterator[Issue]:
    """Check that a void round had the reason that is recorded."""
    accepted, is_counted = sum(round_.accepted or ()), round_.accepted is not None
    is_true = {
        VoidReason.FEW_UPDATES: len(round_.submissions) < terms.min_updates,
        VoidReason.NO_VOTES: not round_.vote_commits,
        VoidReason.NO_QUORUM: bool(round_.vote_commits) and not is_counted,
        VoidReason.FEW_ACCEPTED: is_counted and accepted < terms.min_updates,
        VoidReason.NO_LEADER: is_counted and accepted >= terms.min_updates and nobody_is_left(round_, turns),
        VoidReason.NO_TALLY: bool(round_.vote_commits) and not is_counted and not round_.penalties,
    }
    if round_.void is not None and not is_true[round_.void]:
        yield "void", f"{round_.void.name.lower()} is recorded, and it is not so"
    if round_.elections and accepted < terms.min_updates:
        yield (
            "void",
            f"{accepted} updates are accepted, fewer than {terms.min_updates}, and the round goes on",
        )
