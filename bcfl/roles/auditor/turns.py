"""Steps 5 and 6: who led at which turn, what was proposed and attested, and when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bcfl.protocol import election
from bcfl.protocol.rounds import Recorded
from bcfl.protocol.types import Terms, VoidReason
from bcfl.roles.auditor.disputes import MOVES, Disputes
from bcfl.roles.auditor.reading import Case
from bcfl.roles.auditor.submissions import Found
from bcfl.roles.common.disputes import accepted_roots


@dataclass
class Turn:
    """One leader's turn, as the logs tell it."""

    elected: Recorded
    proposed: Recorded | None = None
    attested: list[Recorded] = field(default_factory=list)
    penalized: list[Recorded] = field(default_factory=list)
    skipped: Recorded | None = None
    refuted: Recorded | None = None
    disputed: list[Recorded] = field(default_factory=list)

    @property
    def leader(self) -> str:
        """Who led."""
        return str(self.elected.args["leader"])

    @property
    def ended(self) -> Recorded | None:
        """What took the lead away."""
        return self.skipped or self.refuted

    @property
    def supporters(self) -> list[str]:
        """Who stands behind the proposal: the leader, and who attested it."""
        return [] if self.proposed is None else [self.leader, *(each.args["miner"] for each in self.attested)]


def turns_of(case: Case) -> list[Turn]:
    """The turns of a round in their order; raises LookupError where something belongs to no turn."""
    turns: list[Turn] = []
    for event in case.events:
        if event.name == "Elected":
            turns.append(Turn(event))
        elif event.name == "Proposed":
            turns[-1].proposed = event
        elif event.name == "Attested":
            turns[-1].attested.append(event)
        elif event.name == "Penalized" and turns:
            turns[-1].penalized.append(event)
        elif event.name == "Skipped":
            turns[-1].skipped = event
        elif event.name == "Refuted":
            turns[-1].refuted = event
        elif event.name in MOVES and turns:
            turns[-1].disputed.append(event)
    return turns


class Turns:
    """The checks of all turns of a round; who is to lead is `leaders.py`'s question."""

    def __init__(self, case: Case, terms: Terms, turns: list[Turn]) -> None:
        assert case.round is not None
        self.case, self.terms, self.turns, self.round = case, terms, turns, case.round
        self.weights = {vote.voter.account: vote.voter.weight for vote in case.round.votes}

    def check(self) -> Iterator[Found]:
        """Everything that is wrong, in the order of the round."""
        for place, turn in enumerate(self.turns):
            last = place == len(self.turns) - 1
            if turn.elected.args["turn"] != place:
                yield "leader", f"turn {turn.elected.args['turn']} where turn {place} is due"
            yield from self._proposal(turn)
            yield from self._ending(turn, last)
        if self.round.void is VoidReason.NO_LEADER and self.turns and self.turns[-1].ended is None:
            yield "void", "the last leader has not lost its turn"

    def _proposal(self, turn: Turn) -> Iterator[Found]:
        if turn.proposed is None:
            return
        if turn.proposed.args["leader"] != turn.leader:
            yield "proposal.leader", f"{turn.proposed.args['leader']} proposes in the turn of {turn.leader}"
        if turn.proposed.timestamp >= turn.elected.timestamp + self.terms.propose_seconds:
            yield "deadlines.propose", "the proposal came too late"
        disputes = self._disputes(turn, turn.proposed)
        yield from disputes.check(turn.refuted, turn.ended is not None or self.round.block is not None)
        if len(set(turn.supporters)) != len(turn.supporters):
            yield "attestations", "somebody attests twice"
        for event in turn.attested:
            if event.args["miner"] not in self.weights:
                yield "attestations", f"{event.args['miner']} attests and has not voted in this round"
            seconds = self.terms.attest_seconds + disputes.delay(event.timestamp)
            if event.timestamp >= turn.proposed.timestamp + seconds:
                yield "deadlines.attest", "an attestation came too late"

    def _ending(self, turn: Turn, last: bool) -> Iterator[Found]:
        if turn.ended is None:
            if not last:
                yield "leader", f"{turn.leader} has not lost its turn, and another leads"
            elif self.round.block is not None:
                yield from self._final(turn)
            return
        if turn.ended.args["leader"] != turn.leader:
            yield "leader", f"{turn.ended.args['leader']} loses the turn of {turn.leader}"
        yield from self._penalty(turn)
        if turn.skipped is None:
            if turn.proposed is None:
                yield "challenges", "a proposal is refuted that nobody has made"
            return
        begun, seconds = turn.elected, self.terms.propose_seconds
        if turn.proposed is not None:
            begun, seconds = turn.proposed, self.terms.attest_seconds + self._delay(turn, turn.proposed)
            if self._enough(turn):
                yield "attestations", "an attested proposal is passed over"
        if turn.skipped.timestamp < begun.timestamp + seconds:
            yield "deadlines.skip", f"{turn.leader} loses its turn before its time"

    def _penalty(self, turn: Turn) -> Iterator[Found]:
        """A leader pays that proposed nothing, or something wrong; not one that found no support."""
        paid = [event.args["miner"] for event in turn.penalized]
        due = [turn.leader] if turn.proposed is None or turn.refuted is not None else []
        if paid != due:
            yield f"penalties[{turn.leader}]", f"{len(paid)} penalties for this turn, {len(due)} due"

    def _final(self, turn: Turn) -> Iterator[Found]:
        proposed, closed = turn.proposed, next(self.case.named("Finalized"))
        if proposed is None:
            yield "proposal", "a block without a proposal"
            return
        for name in ("root", "cid", "leader"):
            if closed.args[name] != proposed.args[name]:
                yield f"block.{name}", "it is not what was proposed"
        if not self._enough(turn):
            yield "attestations", "not enough of the voting weight attested"
        window = self.terms.challenge_seconds + self._delay(turn, proposed)
        if closed.timestamp < proposed.timestamp + window:
            yield "deadlines.challenge", "the window for challenges was still open"

    def _delay(self, turn: Turn, proposed: Recorded) -> int:
        """By how many seconds disputes have put off the end of a turn."""
        ended = [event.timestamp for event in turn.disputed]
        return self._disputes(turn, proposed).delay(max(ended, default=0))

    def _disputes(self, turn: Turn, proposed: Recorded) -> Disputes:
        return Disputes(proposed, turn.disputed, self.terms, accepted_roots(self.round))

    def _enough(self, turn: Turn) -> bool:
        assert self.case.round is not None
        weight = sum(self.weights.get(miner, 0) for miner in set(turn.supporters))
        return election.enough(self.case.round.engine, weight, sum(self.weights.values()))
