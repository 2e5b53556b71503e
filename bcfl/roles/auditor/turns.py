"""The turns of a round: who led, what was proposed and attested, by whom, and when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from bcfl.protocol import docket
from bcfl.protocol.challenges import Form, cid_mark
from bcfl.protocol.event import LogEvent
from bcfl.protocol.rounds import Round
from bcfl.protocol.types import Engine, Terms, VoidReason
from bcfl.roles.auditor.disputes import MOVES, Disputes
from bcfl.roles.auditor.replay import Case
from bcfl.roles.auditor.verdict import Issue
from bcfl.roles.common.disputes import accepted_roots

CONTENT = ("root", "rows")  # of a proposal, whoever makes it and wherever its model lies


@dataclass
class Turn:
    """The events of one leader's turn, and the turns before it in the round."""

    election: LogEvent
    earlier: tuple[Turn, ...] = ()
    proposal: LogEvent | None = None
    attestations: list[LogEvent] = field(default_factory=list)
    corrections: list[LogEvent] = field(default_factory=list)  # of the CID
    penalties: list[LogEvent] = field(default_factory=list)
    skip: LogEvent | None = None
    refutation: LogEvent | None = None
    moves: list[LogEvent] = field(default_factory=list)  # of disputes
    announcements: list[LogEvent] = field(default_factory=list)  # of challenges

    @property
    def leader(self) -> str:
        """The account that led."""
        return str(self.election.args["leader"])

    @property
    def ending(self) -> LogEvent | None:
        """The event that took the lead away."""
        return self.skip or self.refutation

    @property
    def content(self) -> tuple[bytes, ...] | None:
        """What was proposed in this turn."""
        return None if self.proposal is None else tuple(self.proposal.args[name] for name in CONTENT)

    @property
    def standing(self) -> Turn | None:
        """The turn whose proposal stood when this one began."""
        return self.earlier[-1].left_standing if self.earlier else None

    @property
    def is_repeated(self) -> bool:
        """Whether what was proposed had been proposed before, and stands."""
        return self.standing is not None and self.content == self.standing.content

    @property
    def author(self) -> str:
        """The account that proposed this content first, also where another stood in between."""
        if self.standing is None or self.content is None:
            return self.leader
        if self.is_repeated:
            return self.standing.author
        made = [turn for turn in self.earlier if turn.proposal is not None]
        replaced = [
            turn
            for turn, after in pairwise(made)
            if turn.content == self.content != after.content and turn.refutation is None
        ]
        return replaced[-1].author if replaced else self.leader

    @property
    def supporters(self) -> list[str]:
        """The accounts behind the proposal: the leader, and who attested it, in earlier turns too."""
        if self.proposal is None:
            return []
        before = self.standing.supporters if self.standing is not None and self.is_repeated else []
        others = [account for account in before if account != self.leader]
        return [*others, self.leader, *(event.args["miner"] for event in self.attestations)]

    @property
    def left_standing(self) -> Turn | None:
        """The turn whose proposal stands after this one."""
        if self.refutation is not None:
            return None
        return self.standing if self.proposal is None else self


def turns_of(case: Case) -> list[Turn]:
    """Return the turns of a round in order; raises LookupError where an event belongs to no turn."""
    turns: list[Turn] = []
    for event in case.events:
        if event.name == "Elected":
            turns.append(Turn(event, tuple(turns)))
        elif event.name == "Proposed":
            turns[-1].proposal = event
        elif event.name == "Attested":
            turns[-1].attestations.append(event)
        elif event.name == "CidCorrected":
            turns[-1].corrections.append(event)
        elif event.name == "Penalized" and turns:
            turns[-1].penalties.append(event)
        elif event.name == "Skipped":
            turns[-1].skip = event
        elif event.name == "Refuted":
            turns[-1].refutation = event
        elif event.name == "ChallengeAnnounced":
            turns[-1].announcements.append(event)
        elif event.name in MOVES and turns:
            turns[-1].moves.append(event)
    return turns


def failed_in(turns: list[Turn]) -> set[str]:
    """Return who cannot lead any more after these turns: leaders, and who is behind what was refuted."""
    failed: set[str] = set()
    for turn in turns:
        if turn.ending is not None:
            failed.add(turn.leader)
        if turn.refutation is not None:
            failed |= {turn.author, *turn.supporters}
    return failed


def nobody_is_left(round_: Round, turns: list[Turn]) -> bool:
    """Whether a round may end without a block after its turns: nobody is left, or a race had no winner."""
    return round_.engine is Engine.POW or is_over(round_, turns)


def is_over(round_: Round, turns: list[Turn]) -> bool:
    """Whether nobody may lead after these turns, or too few are left to judge."""
    weights = {vote.voter.account: vote.voter.weight for vote in round_.votes}
    if set(weights) <= failed_in(turns):
        return True
    last = turns[-1] if turns else None
    if last is None or last.refutation is None:
        return False
    lost = sum(weights.get(account, 0) for account in set(last.supporters))
    return not round_.electorate.decides(round_.electorate.whole - min(lost, round_.electorate.whole))


class Turns:
    """The checks of all turns of a round, but for who has to lead (`leaders.py`)."""

    def __init__(self, case: Case, terms: Terms, turns: list[Turn]) -> None:
        assert case.round is not None
        self.case, self.terms, self.turns, self.round = case, terms, turns, case.round
        self.weights = {vote.voter.account: vote.voter.weight for vote in case.round.votes}
        self.slashed: set[str] = set()

    def check(self) -> Iterator[Issue]:
        """Yield everything that is wrong, in the order of the round."""
        for place, turn in enumerate(self.turns):
            if turn.election.args["turn"] != place:
                yield "leader", f"turn {turn.election.args['turn']} where turn {place} is due"
            if turn.proposal is not None:
                yield from self._check_proposal(turn, turn.proposal)
            elif turn.attestations or turn.corrections:
                yield "attestations", "somebody attests what nobody has proposed"
            if turn.ending is not None:
                yield from self._check_ending(turn, turn.ending)
            elif place < len(self.turns) - 1:
                yield "leader", f"{turn.leader} has not lost its turn, and another leads"
            elif self.round.block is not None:
                yield from self._check_final(turn)
            if turn.refutation is not None:
                self.slashed |= {turn.author, *turn.supporters}
        if self.round.void is VoidReason.NO_LEADER and self.turns and self.turns[-1].ending is None:
            yield "void", "the last leader has not lost its turn"

    def _check_proposal(self, turn: Turn, proposal: LogEvent) -> Iterator[Issue]:
        if proposal.args["leader"] != turn.leader:
            yield "proposal.leader", f"{proposal.args['leader']} proposes in the turn of {turn.leader}"
        if proposal.args["author"] != turn.author:
            yield "proposal.author", f"{proposal.args['author']}, and {turn.author} proposed it first"
        if self._is_late(proposal.timestamp, turn.election.timestamp + self.terms.propose_seconds):
            yield "deadlines.propose", "the proposal came too late"
        yield from self._disputes(turn, proposal).check(
            turn.refutation, turn.ending is not None or self.round.block is not None
        )
        if len(set(turn.supporters)) != len(turn.supporters):
            yield "attestations", "somebody attests twice"
        if not {event.args["miner"] for event in turn.corrections} <= set(turn.supporters):
            yield "corrections", "somebody corrects the CID of what it has not attested"
        for event in turn.attestations:
            miner = event.args["miner"]
            if miner not in self.weights or miner in self.slashed:
                yield "attestations", f"{miner} attests and may not: it has not voted, or lost its stake"
            if self._is_late(event.timestamp, proposal.timestamp + self.terms.attest_seconds):
                yield "deadlines.attest", "an attestation came too late"

    def _is_late(self, time: int, deadline: int) -> bool:
        """Whether a step came too late; where phases last some blocks too, time alone does not tell."""
        return time >= deadline and not self.terms.min_blocks

    def _check_ending(self, turn: Turn, ending: LogEvent) -> Iterator[Issue]:
        loser = turn.leader if turn.skip is not None else turn.author
        if ending.args["leader"] != loser:
            yield "leader", f"{ending.args['leader']} loses the turn of {loser}"
        if turn.skip is not None:
            yield from self._check_penalty(turn)
            yield from self._check_skip(turn, turn.skip)
        elif turn.proposal is None:
            yield "challenges", "a proposal is refuted that nobody has made"
        else:
            yield from self._check_slashes(turn)
            if ending.args["form"] == Form.SILENCE and ending.timestamp < self._window_end(turn):
                yield "deadlines.challenge", "silence refutes what could still be challenged"

    def _check_penalty(self, turn: Turn) -> Iterator[Issue]:
        """Check that a leader pays who proposed nothing, but not for want of support."""
        payers = [event.args["miner"] for event in turn.penalties]
        due = [turn.leader] if turn.proposal is None else []
        if payers != due:
            yield f"penalties[{turn.leader}]", f"{len(payers)} penalties for this turn, {len(due)} due"

    def _check_slashes(self, turn: Turn) -> Iterator[Issue]:
        """Check that author and attesters of a refuted proposal pay, and nobody else."""
        payers = [event.args["miner"] for event in turn.penalties]
        if sorted(payers) != sorted({turn.author, *turn.supporters}):
            yield f"penalties[{turn.author}]", "not just who made or attested the refuted proposal is slashed"

    def _check_skip(self, turn: Turn, skip: LogEvent) -> Iterator[Issue]:
        """Check that a leader was passed over in time, and not with an attested proposal."""
        start, seconds = turn.election, self.terms.propose_seconds
        if turn.proposal is not None:
            start, seconds = turn.proposal, self.terms.attest_seconds
            if self._has_support(turn):
                yield "attestations", "an attested proposal is passed over"
        if skip.timestamp < max(start.timestamp + seconds, self._window_end(turn)):
            yield "deadlines.skip", f"{turn.leader} loses its turn before its time"

    def _check_final(self, turn: Turn) -> Iterator[Issue]:
        proposal, block = turn.proposal, next(self.case.events_named("Finalized"))
        if proposal is None:
            yield "proposal", "a block without a proposal"
            return
        if block.args["root"] != proposal.args["root"]:
            yield "block.root", "it is not what was proposed"
        if cid_mark(block.args["cid"]) != cid_mark(proposal.args["cid"]):
            yield "block.cid", "it is not what was proposed"
        if block.args["leader"] != turn.author:
            yield "block.leader", f"{block.args['leader']}, and {turn.author} is the proposal's author"
        if not self._has_support(turn):
            yield "attestations", "not enough of the voting weight attested"
        if block.args["attested"] != self._mask(turn):
            yield "block.attested", "it does not name just those who attested"
        if block.timestamp < self._window_end(turn):
            yield "deadlines.challenge", "the window for challenges was still open"

    def _window_end(self, turn: Turn) -> int:
        """Return until when what was proposed in a turn may be challenged, in seconds."""
        if turn.proposal is None:
            return 0
        announced = [event.timestamp for event in turn.announcements]
        return docket.window_end(self.terms, turn.proposal.timestamp, announced)

    def _mask(self, turn: Turn) -> int:
        """Return the mask of the seats of those who attested."""
        seats = {vote.voter.account: vote.voter.index for vote in self.round.votes}
        mask = 0
        for account in turn.supporters:
            mask |= 1 << seats[account]
        return mask

    def _disputes(self, turn: Turn, proposal: LogEvent) -> Disputes:
        return Disputes(proposal, turn.moves, self.terms, accepted_roots(self.round))

    def _has_support(self, turn: Turn) -> bool:
        """Whether as much weight as decides is behind a proposal."""
        weight = sum(self.weights.get(miner, 0) for miner in set(turn.supporters))
        return self.round.electorate.decides(weight)
