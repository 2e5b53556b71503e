"""Step 4: every vote opens its commitment, and the tally is what the votes come to."""

from __future__ import annotations

from collections.abc import Iterator

from bcfl.protocol import verification
from bcfl.protocol.rounds import Recorded
from bcfl.protocol.types import Engine, Tally, Terms, VoidReason
from bcfl.protocol.verification import Vote
from bcfl.roles.auditor.reading import Case
from bcfl.roles.auditor.submissions import KEPT, Found


class Votes:
    """The checks of one round's verdicts; `count` is the tally by the twin."""

    def __init__(self, case: Case, terms: Terms, count: Tally) -> None:
        assert case.round is not None
        self.case, self.terms, self.count, self.round = case, terms, count, case.round

    def check(self) -> Iterator[Found]:
        """Everything that is wrong, in the order of the round."""
        seen: set[str] = set()
        for event in self.case.named("VoteCommitted"):
            miner = event.args["miner"]
            if miner not in self.case.electors or miner in seen:
                yield f"votes[{miner}]", "not a miner of this round, or committed already"
            seen.add(miner)
        yield from self._openings()
        yield from self._penalties()
        yield from self._tallied()

    def _openings(self) -> Iterator[Found]:
        seen: set[str] = set()
        for event in self.case.named("Voted"):
            miner = event.args["miner"]
            committed = self.round.vote_commits.get(miner)
            if committed is None or miner in seen:
                yield f"votes[{miner}]", "nothing was committed, or it is unveiled already"
            elif self._digest(event)[:KEPT] != committed[:KEPT]:
                yield f"votes[{miner}]", "it is not the vote that was committed"
            seen.add(miner)

    def _digest(self, event: Recorded) -> bytes:
        """What the miner must have committed to, its reasons taken as they are."""
        args = event.args
        wish = verification.wish_code(self.round.wished.get(args["miner"]))
        return verification.opened_digest(
            self.round.number, args["miner"], args["accepted"], args["reasons"], wish, args["salt"]
        )

    def _penalties(self) -> Iterator[Found]:
        """Who committed verdicts and did not unveil them pays when the votes are counted, nobody else."""
        if not self.case.when("Tallied") and self.round.void is not VoidReason.NO_QUORUM:
            return
        unveiled = {vote.voter.account for vote in self.round.votes}
        due = {miner for miner in self.round.vote_commits if miner not in unveiled}
        paid = {event.args["miner"] for event in before_tally(self.case)}
        for miner in sorted(due - paid):
            yield f"penalties[{miner}]", "it never unveiled its vote and pays nothing"
        for miner in sorted(paid - due):
            yield f"penalties[{miner}]", "it pays though its vote is unveiled"

    def _tallied(self) -> Iterator[Found]:
        told = next(self.case.named("Tallied"), None)
        quorum = self._quorum()
        if told is None:
            if quorum and self.round.void is VoidReason.NO_QUORUM:
                yield "void", "no quorum is said to be there, and it is"
            return
        if not quorum:
            yield "tally", "less than half of the weight has voted"
        if self.round.accepted != self.count.accepted:
            wrong = [
                str(place)
                for place, pair in enumerate(zip(self.round.accepted or (), self.count.accepted, strict=True))
                if pair[0] != pair[1]
            ]
            yield "tally.accepted", f"the votes say otherwise of update {', '.join(wrong)}"
        if self.round.samples != self.count.samples:
            yield "tally.samples", f"{self.round.samples}, and the accepted updates have {self.count.samples}"
        if self.round.matches != sum(self.count.matches):
            yield "tally.matches", f"{self.round.matches}, and the votes have {sum(self.count.matches)}"

    def _quorum(self) -> bool:
        """Whether at least half of all weight has unveiled a vote."""
        electors = self.case.electors
        alike = self.round.engine is Engine.COMMITTEE
        whole = len(electors) if alike else sum(seat.weight for seat in electors.values())
        return 2 * weight_of(self.round.votes) >= whole


def weight_of(votes: list[Vote]) -> int:
    """The weight behind votes."""
    return sum(vote.voter.weight for vote in votes)


def before_tally(case: Case) -> Iterator[Recorded]:
    """The penalties for votes that were never unveiled: those before the count."""
    for event in case.events:
        if event.name in ("Tallied", "Voided"):
            return
        if event.name == "Penalized":
            yield event
