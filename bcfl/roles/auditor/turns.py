"""The turns of a round: who led, what was proposed and attested, and when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bcfl.protocol import election
from bcfl.protocol.event import LogEvent
from bcfl.protocol.types import Terms, VoidReason
from bcfl.roles.auditor.disputes import MOVES, Disputes
from bcfl.roles.auditor.replay import Case
from bcfl.roles.auditor.verdict import Issue
from bcfl.roles.common.disputes import accepted_roots


@dataclass
class Turn:
    """The events of one leader's turn."""

    election: LogEvent
    proposal: LogEvent | None = None
    attestations: list[LogEvent] = field(default_factory=list)
    penalties: list[LogEvent] = field(default_factory=list)
    skip: LogEvent | None = None
    refutation: LogEvent | None = None
    moves: list[LogEvent] = field(default_factory=list)  # of disputes

    @property
    def leader(self) -> str:
        """The account that led."""
        return str(self.election.args["leader"])

    @property
    def ending(self) -> LogEvent | None:
        """The event that took the lead away."""
        return self.skip or self.refutation

    @property
    def supporters(self) -> list[str]:
        """The accounts behind the proposal: the leader, and who attested it."""
        if self.proposal is None:
            return []
        return [self.leader, *(event.args["miner"] for event in self.attestations)]


def turns_of(case: Case) -> list[Turn]:
    """Return the turns of a round in order; raises LookupError where an event belongs to no turn."""
    turns: list[Turn] = []
    for event in case.events:
        if event.name == "Elected":
            turns.append(Turn(event))
        elif event.name == "Proposed":
            turns[-1].proposal = event
        elif event.name == "Attested":
            turns[-1].attestations.append(event)
        elif event.name == "Penalized" and turns:
            turns[-1].penalties.append(event)
        elif event.name == "Skipped":
            turns[-1].skip = event
        elif event.name == "Refuted":
            turns[-1].refutation = event
        elif event.name in MOVES and turns:
            turns[-1].moves.append(event)
    return turns


class Turns:
    """The checks of all turns of a round, but for who has to lead (`leaders.py`)."""

    def __init__(self, case: Case, terms: Terms, turns: list[Turn]) -> None:
        assert case.round is not None
        self.case, self.terms, self.turns, self.round = case, terms, turns, case.round
        self.weights = {vote.voter.account: vote.voter.weight for vote in case.round.votes}

    def check(self) -> Iterator[Issue]:
        """Yield everything that is wrong, in the order of the round."""
        for place, turn in enumerate(self.turns):
            if turn.election.args["turn"] != place:
                yield "leader", f"turn {turn.election.args['turn']} where turn {place} is due"
            if turn.proposal is not None:
                yield from self._check_proposal(turn, turn.proposal)
            if turn.ending is not None:
                yield from self._check_ending(turn, turn.ending)
            elif place < len(self.turns) - 1:
                yield "leader", f"{turn.leader} has not lost its turn, and another leads"
            elif self.round.block is not None:
                yield from self._check_final(turn)
        if self.round.void is VoidReason.NO_LEADER and self.turns and self.turns[-1].ending is None:
            yield "void", "the last leader has not lost its turn"

    def _check_proposal(self, turn: Turn, proposal: LogEvent) -> Iterator[Issue]:
        if proposal.args["leader"] != turn.leader:
            yield "proposal.leader", f"{proposal.args['leader']} proposes in the turn of {turn.leader}"
        if proposal.timestamp >= turn.election.timestamp + self.terms.propose_seconds:
            yield "deadlines.propose", "the proposal came too late"
        disputes = self._disputes(turn, proposal)
        yield from disputes.check(turn.refutation, turn.ending is not None or self.round.block is not None)
        if len(set(turn.supporters)) != len(turn.supporters):
            yield "attestations", "somebody attests twice"
        for event in turn.attestations:
            if event.args["miner"] not in self.weights:
                yield "attestations", f"{event.args['miner']} attests and has not voted in this round"
            seconds = self.terms.attest_seconds + disputes.delay(event.timestamp)
            if event.timestamp >= proposal.timestamp + seconds:
                yield "deadlines.attest", "an attestation came too late"

    def _check_ending(self, turn: Turn, ending: LogEvent) -> Iterator[Issue]:
        if ending.args["leader"] != turn.leader:
            yield "leader", f"{ending.args['leader']} loses the turn of {turn.leader}"
        yield from self._check_penalty(turn)
        if turn.skip is not None:
            yield from self._check_skip(turn, turn.skip)
        elif turn.proposal is None:
            yield "challenges", "a proposal is refuted that nobody has made"

    def _check_penalty(self, turn: Turn) -> Iterator[Issue]:
        """Check that a leader pays who proposed nothing, or something wrong, but not for want of support."""
        payers = [event.args["miner"] for event in turn.penalties]
        due = [turn.leader] if turn.proposal is None or turn.refutation is not None else []
        if payers != due:
            yield f"penalties[{turn.leader}]", f"{len(payers)} penalties for this turn, {len(due)} due"

    def _check_skip(self, turn: Turn, skip: LogEvent) -> Iterator[Issue]:
        """Check that a leader was passed over in time, and not with an attested proposal."""
        start, seconds = turn.election, self.terms.propose_seconds
        if turn.proposal is not None:
            start, seconds = turn.proposal, self.terms.attest_seconds + self._delay(turn, turn.proposal)
            if self._has_support(turn):
                yield "attestations", "an attested proposal is passed over"
        if skip.timestamp < start.timestamp + seconds:
            yield "deadlines.skip", f"{turn.leader} loses its turn before its time"

    def _check_final(self, turn: Turn) -> Iterator[Issue]:
        proposal, block = turn.proposal, next(self.case.events_named("Finalized"))
        if proposal is None:
            yield "proposal", "a block without a proposal"
            return
        for name in ("root", "cid", "leader"):
            if block.args[name] != proposal.args[name]:
                yield f"block.{name}", "it is not what was proposed"
        if not self._has_support(turn):
            yield "attestations", "not enough of the voting weight attested"
        window = self.terms.challenge_seconds + self._delay(turn, proposal)
        if block.timestamp < proposal.timestamp + window:
            yield "deadlines.challenge", "the window for challenges was still open"

    def _delay(self, turn: Turn, proposal: LogEvent) -> int:
        """Return the seconds by which disputes have put off the end of a turn."""
        timestamps = [event.timestamp for event in turn.moves]
        return self._disputes(turn, proposal).delay(max(timestamps, default=0))

    def _disputes(self, turn: Turn, proposal: LogEvent) -> Disputes:
        return Disputes(proposal, turn.moves, self.terms, accepted_roots(self.round))

    def _has_support(self, turn: Turn) -> bool:
        """Whether enough of the voting weight is behind a proposal."""
        weight = sum(self.weights.get(miner, 0) for miner in set(turn.supporters))
        return election.is_attested(self.round.engine, weight, sum(self.weights.values()))
