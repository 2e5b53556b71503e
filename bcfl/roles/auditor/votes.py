"""The votes and the tally: every vote opens its commitment, and the tally is what the votes come to."""

from __future__ import annotations

from collections.abc import Iterator

from bcfl.protocol import verification
from bcfl.protocol.event import LogEvent
from bcfl.protocol.types import Engine, Tally, Terms, VoidReason
from bcfl.protocol.verification import Vote
from bcfl.roles.auditor.replay import Case
from bcfl.roles.auditor.submissions import DIGEST_BYTES
from bcfl.roles.auditor.verdict import Issue


class Votes:
    """The checks of one round's votes; `tally` is that of the twin."""

    def __init__(self, case: Case, terms: Terms, tally: Tally) -> None:
        assert case.round is not None
        self.case, self.terms, self.tally, self.round = case, terms, tally, case.round

    def check(self) -> Iterator[Issue]:
        """Yield everything that is wrong, in the order of the round."""
        yield from self._check_commits()
        yield from self._check_openings()
        yield from self._check_penalties()
        yield from self._check_tally()

    def _check_commits(self) -> Iterator[Issue]:
        miners: set[str] = set()
        for event in self.case.events_named("VoteCommitted"):
            miner = event.args["miner"]
            if miner not in self.case.electors or miner in miners:
                yield f"votes[{miner}]", "not a miner of this round, or committed already"
            miners.add(miner)

    def _check_openings(self) -> Iterator[Issue]:
        miners: set[str] = set()
        for event in self.case.events_named("Voted"):
            miner = event.args["miner"]
            digest = self.round.vote_commits.get(miner)
            if digest is None or miner in miners:
                yield f"votes[{miner}]", "nothing was committed, or it is unveiled already"
            elif self._digest(event)[:DIGEST_BYTES] != digest[:DIGEST_BYTES]:
                yield f"votes[{miner}]", "it is not the vote that was committed"
            miners.add(miner)

    def _digest(self, event: LogEvent) -> bytes:
        """Return what the miner must have committed to, with its reasons as logged."""
        args = event.args
        wish = verification.wish_code(self.round.wishes.get(args["miner"]))
        return verification.opening_digest(
            self.round.number, args["miner"], args["accepted"], args["reasons"], wish, args["salt"]
        )

    def _check_penalties(self) -> Iterator[Issue]:
        """Check that exactly those who did not unveil their vote pay when the votes are counted."""
        if not self.case.timestamps("Tallied") and self.round.void is not VoidReason.NO_QUORUM:
            return
        voters = {vote.voter.account for vote in self.round.votes}
        due = {miner for miner in self.round.vote_commits if miner not in voters}
        payers = {event.args["miner"] for event in penalties_before_tally(self.case)}
        for miner in sorted(due - payers):
            yield f"penalties[{miner}]", "it never unveiled its vote and pays nothing"
        for miner in sorted(payers - due):
            yield f"penalties[{miner}]", "it pays though its vote is unveiled"

    def _check_tally(self) -> Iterator[Issue]:
        event = next(self.case.events_named("Tallied"), None)
        quorum = self._has_quorum()
        if event is None:
            if quorum and self.round.void is VoidReason.NO_QUORUM:
                yield "void", "no quorum is said to be there, and it is"
            return
        if not quorum:
            yield "tally", "less than half of the weight has voted"
        if self.round.accepted != self.tally.accepted:
            bits = zip(self.round.accepted or (), self.tally.accepted, strict=True)
            wrong = [str(position) for position, (bit, due) in enumerate(bits) if bit != due]
            yield "tally.accepted", f"the votes say otherwise of update {', '.join(wrong)}"
        if self.round.samples != self.tally.samples:
            yield "tally.samples", f"{self.round.samples}, and the accepted updates have {self.tally.samples}"
        if self.round.matches != sum(self.tally.matches):
            yield "tally.matches", f"{self.round.matches}, and the votes have {sum(self.tally.matches)}"

    def _has_quorum(self) -> bool:
        """Whether at least half of all weight has unveiled a vote."""
        electors = self.case.electors
        equal = self.round.engine is Engine.COMMITTEE
        total = len(electors) if equal else sum(seat.weight for seat in electors.values())
        return 2 * weight_of(self.round.votes) >= total


def weight_of(votes: list[Vote]) -> int:
    """Return the weight behind votes."""
    return sum(vote.voter.weight for vote in votes)


def penalties_before_tally(case: Case) -> Iterator[LogEvent]:
    """Yield the penalties before the count, which are for votes that were never unveiled."""
    for event in case.events:
        if event.name in ("Tallied", "Voided"):
            return
        if event.name == "Penalized":
            yield event
