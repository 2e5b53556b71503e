"""The votes and the tally: every vote opens its commitment, and the tally is what the votes come to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bcfl.protocol import verification
from bcfl.protocol.event import LogEvent
from bcfl.protocol.rewards import weighted_matches
from bcfl.protocol.types import Opening, Tally, VoidReason
from bcfl.protocol.verification import BOUND_BYTES
from bcfl.roles.auditor.replay import Case
from bcfl.roles.auditor.submissions import DIGEST_BYTES
from bcfl.roles.auditor.verdict import Issue


class Votes:
    """The checks of one round's votes.

    `tally` is that of the twin, `links` the digest of the chain of updates that the votes are about,
    `penalties` what is wrong with the price of absence.
    """

    def __init__(self, case: Case, tally: Tally, links: bytes, penalties: Sequence[Issue]) -> None:
        assert case.round is not None
        self.case, self.tally, self.links, self.penalties = case, tally, links, penalties
        self.round = case.round

    def check(self) -> Iterator[Issue]:
        """Yield everything that is wrong, in the order of the round."""
        yield from self._check_commits()
        yield from self._check_openings()
        yield from self.penalties
        yield from self._check_tally()

    def _check_commits(self) -> Iterator[Issue]:
        miners: set[str] = set()
        for event in self.case.events_named("VoteCommitted"):
            miner = event.args["miner"]
            if miner not in self.case.electors or miner in miners:
                yield f"votes[{miner}]", "not a miner of this round, or committed already"
            if event.args["digest"][-BOUND_BYTES:] != self.links[-BOUND_BYTES:]:
                yield f"votes[{miner}]", "it is bound to other updates than those of this round"
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
        """Return what the miner must have committed to, as it is logged."""
        args = event.args
        verdicts, levels = verification.unpack_verdicts(args["verdicts"], len(self.round.submissions))
        wish = self.round.wishes.get(args["miner"])
        opening = Opening(self.round.number, args["miner"], verdicts, args["salt"], wish, levels)
        return verification.hidden_vote(opening)

    def _check_tally(self) -> Iterator[Issue]:
        event = next(self.case.events_named("Tallied"), None)
        quorum = self._has_quorum()
        if event is None:
            if quorum and self.round.void is VoidReason.NO_QUORUM:
                yield "void", "no quorum is said to be there, and it is"
            return
        if not quorum:
            yield "tally", "too little of the weight of all who may vote has voted"
        if self.round.levels != self.tally.levels:
            levels = zip(self.round.levels or (), self.tally.levels, strict=True)
            wrong = [str(position) for position, (level, due) in enumerate(levels) if level != due]
            yield "tally.levels", f"the votes say otherwise of update {', '.join(wrong)}"
        if self.round.samples != self.tally.samples:
            yield "tally.samples", f"{self.round.samples}, and the accepted updates have {self.tally.samples}"
        matches = weighted_matches(self.tally)
        if self.round.matches != matches:
            yield "tally.matches", f"{self.round.matches}, and the votes have {matches}"

    def _has_quorum(self) -> bool:
        """Whether as much weight as decides has unveiled a vote."""
        return self.round.electorate.decides(sum(vote.voter.weight for vote in self.round.votes))
