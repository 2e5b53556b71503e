"""The engine, the committee, and the leader of every turn, each from what came before."""

from __future__ import annotations

from collections.abc import Iterator

from bcfl.protocol import election, turns, verification
from bcfl.protocol.lottery import Entrant, committees
from bcfl.protocol.rewards import block_hash
from bcfl.protocol.types import Engine, Mode, Terms, VoidReason
from bcfl.roles.auditor.replay import Case
from bcfl.roles.auditor.turns import Turn, failed_in, is_over
from bcfl.roles.auditor.verdict import Issue

NOTHING = bytes(32)


class Leaders:
    """Who has to lead, round after round; engine, draws and target move from each round to the next.

    Call `check_opening` and `check` once for every round, in order.
    """

    def __init__(self, terms: Terms) -> None:
        self.terms, self.target = terms, terms.pow_target
        self.engine = Engine(terms.engine)
        self.draws: list[set[int]] = []  # seats of the next committees, the next first
        self.drawn = 0  # members of each of them when they were drawn
        self._unwon = False  # the last race ended without a winner

    def check_opening(self, case: Case) -> Iterator[Issue]:
        """Yield what is wrong with the engine and the committee."""
        yield from self._check_engine(case)
        yield from self._check_committee(case)

    def check(self, case: Case, turns_: list[Turn]) -> Iterator[Issue]:
        """Yield what is wrong with engine, race and leaders from the tally on."""
        assert case.round is not None
        tally = next(case.events_named("Tallied"), None)
        if tally is not None:
            yield from self._check_wishes(case)
            self._draw(case)
        if case.round.void is not None:
            self.draws = []
        if tally is None:
            return
        race = case.round.engine is Engine.POW
        if not race and tally.args["parent"] != NOTHING:
            yield "tally.parent", "there is no race that could start from it"
        if case.round.void is VoidReason.FEW_ACCEPTED:
            return
        if race:
            assert case.head is not None
            parent, head = tally.args["parent"], block_hash(case.head)
            puzzle = verification.puzzle(head, case.number, case.round.votes, parent)
            yield from self._check_race(case, puzzle, turns_, tally.timestamp)
            return
        self._unwon = False
        yield from self._check_order(case, turns_)

    def _check_engine(self, case: Case) -> Iterator[Issue]:
        assert case.round is not None
        if case.round.engine is not self.engine:
            yield "engine", f"{case.round.engine.name.lower()}, and {self.engine.name.lower()} is due"
            self.engine = case.round.engine

    def _check_committee(self, case: Case) -> Iterator[Issue]:
        """Check that the members are those of the draw that still have their seats, or that all vote."""
        opening = case.opening
        assert case.round is not None
        assert opening is not None
        seats = {seat.index for seat in case.seats.values()}
        if case.round.engine is not Engine.COMMITTEE:
            self.draws = []
        self.draws = [draw & seats for draw in self.draws]
        due, self.draws = (self.draws[0], self.draws[1:]) if self.draws else (set[int](), [])
        committee = sum(1 << seat for seat in due) | self.drawn << 64 if due else 0
        if opening.args["committee"] != committee:
            yield "committee", f"the last draw leaves {len(due)} members, and they are others"

    def _draw(self, case: Case) -> None:
        """Draw the next committees, where everybody has voted and every committed vote is open."""
        round_ = case.round
        assert round_ is not None
        if self.engine is not round_.engine:
            self.draws = []
        if self.engine is not Engine.COMMITTEE or round_.electorate.is_committee:
            return
        if len(round_.votes) != len(round_.vote_commits):
            return
        seats = {int(account, 16): seat for account, seat in case.seats.items()}
        entrants = [Entrant(account, seat.weight) for account, seat in seats.items()]
        drawn = committees(verification.entropy(round_.votes), entrants, self.terms.committee_size)
        self.draws = [{seats[account].index for account in members} for members in drawn]
        self.drawn = min(self.terms.committee_size, len(entrants))

    def _check_wishes(self, case: Case) -> Iterator[Issue]:
        """Take the engine of the next round from the votes' wishes, where the terms allow them."""
        assert case.round is not None
        if self.terms.mode == Mode.HYBRID:
            round_ = case.round
            self.engine = verification.chosen_engine(round_.votes, round_.electorate, round_.engine)
        elif any(vote.opening.wish is not None for vote in case.round.votes):
            yield "votes", "a vote wishes for an engine, and the terms allow none"

    def _check_order(self, case: Case, turns_: list[Turn]) -> Iterator[Issue]:
        """Check that every turn is led by who has the most credit of those that may still lead."""
        assert case.round is not None
        voters = {vote.voter.index: vote.voter.account for vote in case.round.votes}
        seats = {account: seat for seat, account in voters.items()}
        shares, credits = case.round.shares(), case.round.credits
        for place, turn in enumerate(turns_):
            out = failed_in(turns_[:place])
            left = {seat: weight for seat, weight in shares.items() if voters[seat] not in out}
            if not left:
                yield "leader", f"{turn.leader} leads turn {place}, and nobody is left to"
                return
            if turn.standing is None:
                credits = turns.share(credits, left)
            leader = turns.first(credits, left)
            if turn.leader != voters[leader]:
                yield "leader", f"{turn.leader} leads turn {place}, and it is {voters[leader]}'s"
            if turn.standing is None:
                credits = turns.charge(credits, leader)
            elif turn.proposal is not None and not turn.is_repeated:
                credits = turns.charge(credits, seats.get(turn.leader, leader))

    def _check_race(self, case: Case, puzzle: bytes, turns_: list[Turn], start: int) -> Iterator[Issue]:
        """Check that every proof of work is under the target of its race; `start` is in seconds."""
        assert case.round is not None
        if self._unwon:
            self.target = election.ease(self.target, self.terms.pow_seconds)
        self._unwon = not turns_
        voters = {vote.voter.account for vote in case.round.votes}
        for place, turn in enumerate(turns_):
            nonce = turn.election.args["nonce"]
            if election.proof_value(puzzle, place, turn.leader, nonce) >= self.target:
                yield "leader", f"{turn.leader} shows no proof of work for turn {place}"
            if turn.leader not in voters or turn.leader in failed_in(turns_[:place]):
                yield "leader", f"{turn.leader} has not voted in this round, or lost its turn"
            seconds = turn.election.timestamp - start
            if seconds >= self.terms.elect_seconds and not self.terms.min_blocks:
                yield "deadlines.elect", "the proof of work came too late"
            self.target = election.retarget(self.target, seconds, self.terms.pow_seconds)
            if turn.ending is not None:
                start = turn.ending.timestamp
        if turns_ and turns_[-1].ending is not None:
            self._unwon = not is_over(case.round, turns_)
