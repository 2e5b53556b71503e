"""Step 5: the engine, the committee, the seeds, and the leader of every turn, each from what came before."""

from __future__ import annotations

from collections.abc import Iterator

from bcfl.protocol import election, verification
from bcfl.protocol.hashing import keccak
from bcfl.protocol.lottery import COMMITTEE, Entrant, order
from bcfl.protocol.types import Engine, Mode, Terms, VoidReason
from bcfl.roles.auditor.reading import Case
from bcfl.roles.auditor.submissions import Found
from bcfl.roles.auditor.turns import Turn

NOTHING = bytes(32)


class Leaders:
    """Who has to lead, round after round; engine, hash chains and target move from each round to the next."""

    def __init__(self, terms: Terms) -> None:
        self.terms, self.target = terms, terms.pow_target
        self.engine = Engine(terms.engine)
        self.tails: dict[str, bytes] = {}  # miner -> the layer last shown of its hash chain
        self._open = False  # the last race ended without a winner

    def join(self, case: Case) -> Iterator[Found]:
        """Follow the miners' hash chains through a round's logs, and what the leaders show of them."""
        renewed: set[str] = set()
        for event in case.events:
            if event.name in ("MinerRegistered", "Renewed"):
                self.tails[event.args["miner"]] = event.args["tail"]
                renewed.add(event.args["miner"])
            elif event.name == "Proposed":
                leader, layer = event.args["leader"], event.args["layer"]
                if keccak(layer) != self.tails.get(leader):
                    yield "proposal.layer", "it is not the next layer of the leader's hash chain"
                if leader in renewed:
                    yield "proposal.layer", "the leader has renewed its hash chain in this round"
                self.tails[leader] = layer

    def opening(self, case: Case) -> Iterator[Found]:
        """What is wrong with the engine and the committee; to be asked for every round, in order."""
        yield from self._engine(case)
        yield from self._committee(case)

    def check(self, case: Case, turns: list[Turn]) -> Iterator[Found]:
        """What is wrong from the votes on; to be asked for every round, in order."""
        assert case.round is not None
        yield from self.join(case)
        told = next(case.named("Tallied"), None)
        if told is None:
            return
        if self.terms.mode == Mode.HYBRID:
            self.engine = verification.chosen(case.round.votes) or self.engine
        elif any(vote.opening.wish is not None for vote in case.round.votes):
            yield "votes", "a vote wishes for an engine, and the terms allow none"
        races = case.round.engine is Engine.POW
        if not races and told.args["parent"] != NOTHING:
            yield "tally.parent", "there is no race that could start from it"
        if case.round.void is VoidReason.FEW_ACCEPTED:
            return
        if races:
            puzzle = verification.puzzle(case.seed, case.round.votes, told.args["parent"])
            yield from self._raced(case, puzzle, turns, told.timestamp)
            return
        line = [voter.account for voter in case.round.line()]
        for place, turn in enumerate(turns):
            if place >= len(line) or turn.leader != line[place]:
                yield "leader", f"{turn.leader} leads turn {place}, and the draw names another"

    def _engine(self, case: Case) -> Iterator[Found]:
        assert case.round is not None
        if case.round.engine is not self.engine:
            yield "engine", f"{case.round.engine.name.lower()}, and {self.engine.name.lower()} is due"
            self.engine = case.round.engine

    def _committee(self, case: Case) -> Iterator[Found]:
        """The members are those that the draw names, and there are none where the engine draws none."""
        assert case.round is not None
        due: set[str] = set()
        if case.round.engine is Engine.COMMITTEE:
            accounts = {int(account, 16): account for account in case.seats}
            entrants = [
                Entrant(number, case.seats[account].weight, case.seats[account].novice)
                for number, account in accounts.items()
            ]
            drawn = order(case.seed, COMMITTEE, entrants)[: self.terms.committee_size]
            due = {accounts[entrant.account] for entrant in drawn}
        if set(case.round.committee) != due:
            yield "committee", f"the draw names {len(due)} members, and they are others"

    def _raced(self, case: Case, puzzle: bytes, turns: list[Turn], begun: int) -> Iterator[Found]:
        """Every proof of work is under the target of its race."""
        assert case.round is not None
        if self._open:
            self.target = election.ease(self.target, self.terms.pow_seconds)
        self._open = not turns
        voters = {vote.voter.account for vote in case.round.votes}
        for place, turn in enumerate(turns):
            nonce = turn.elected.args["nonce"]
            if election.proof_value(puzzle, place, turn.leader, nonce) >= self.target:
                yield "leader", f"{turn.leader} shows no proof of work for turn {place}"
            if turn.leader not in voters:
                yield "leader", f"{turn.leader} has not voted in this round"
            took = turn.elected.timestamp - begun
            if took >= self.terms.elect_seconds:
                yield "deadlines.elect", "the proof of work came too late"
            self.target = election.retarget(self.target, took, self.terms.pow_seconds)
            if turn.ended is not None:
                begun, self._open = turn.ended.timestamp, True
