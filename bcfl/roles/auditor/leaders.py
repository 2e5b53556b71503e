"""The engine, the committee, the hash chains, and the leader of every turn, each from what came before."""

from __future__ import annotations

from collections.abc import Iterator

from bcfl.protocol import election, verification
from bcfl.protocol.hashing import keccak
from bcfl.protocol.lottery import COMMITTEE, Entrant, order
from bcfl.protocol.types import Engine, Mode, Terms, VoidReason
from bcfl.roles.auditor.replay import Case
from bcfl.roles.auditor.turns import Turn
from bcfl.roles.auditor.verdict import Issue

NOTHING = bytes(32)


class Leaders:
    """Who has to lead, round after round; engine, hash chains and target move from each round to the next.

    Call `check_opening` and `check` once for every round, in order.
    """

    def __init__(self, terms: Terms) -> None:
        self.terms, self.target = terms, terms.pow_target
        self.engine = Engine(terms.engine)
        self.tails: dict[str, bytes] = {}  # miner -> the layer last shown of its hash chain
        self._unwon = False  # the last race ended without a winner

    def check_chains(self, case: Case) -> Iterator[Issue]:
        """Follow the miners' hash chains through a round, and check the layers that leaders show."""
        renewals: set[str] = set()
        for event in case.events:
            if event.name in ("MinerRegistered", "Renewed"):
                self.tails[event.args["miner"]] = event.args["tail"]
                renewals.add(event.args["miner"])
            elif event.name == "Proposed":
                leader, layer = event.args["leader"], event.args["layer"]
                if keccak(layer) != self.tails.get(leader):
                    yield "proposal.layer", "it is not the next layer of the leader's hash chain"
                if leader in renewals:
                    yield "proposal.layer", "the leader has renewed its hash chain in this round"
                self.tails[leader] = layer

    def check_opening(self, case: Case) -> Iterator[Issue]:
        """Yield what is wrong with the engine and the committee."""
        yield from self._check_engine(case)
        yield from self._check_committee(case)

    def check(self, case: Case, turns: list[Turn]) -> Iterator[Issue]:
        """Yield what is wrong with engine, race and leaders from the tally on."""
        assert case.round is not None
        yield from self.check_chains(case)
        tally = next(case.events_named("Tallied"), None)
        if tally is None:
            return
        yield from self._check_wishes(case)
        race = case.round.engine is Engine.POW
        if not race and tally.args["parent"] != NOTHING:
            yield "tally.parent", "there is no race that could start from it"
        if case.round.void is VoidReason.FEW_ACCEPTED:
            return
        if race:
            puzzle = verification.puzzle(case.seed, case.round.votes, tally.args["parent"])
            yield from self._check_race(case, puzzle, turns, tally.timestamp)
            return
        line = [voter.account for voter in case.round.leader_order()]
        for place, turn in enumerate(turns):
            if place >= len(line) or turn.leader != line[place]:
                yield "leader", f"{turn.leader} leads turn {place}, and the draw names another"

    def _check_engine(self, case: Case) -> Iterator[Issue]:
        assert case.round is not None
        if case.round.engine is not self.engine:
            yield "engine", f"{case.round.engine.name.lower()}, and {self.engine.name.lower()} is due"
            self.engine = case.round.engine

    def _check_committee(self, case: Case) -> Iterator[Issue]:
        """Check that the members are those of the draw; only the committee engine draws any."""
        assert case.round is not None
        due: set[str] = set()
        if case.round.engine is Engine.COMMITTEE:
            accounts = {int(account, 16): account for account in case.seats}
            entrants = [
                Entrant(number, case.seats[account].weight, case.seats[account].novice)
                for number, account in accounts.items()
            ]
            winners = order(case.seed, COMMITTEE, entrants)[: self.terms.committee_size]
            due = {accounts[entrant.account] for entrant in winners}
        if set(case.round.committee) != due:
            yield "committee", f"the draw names {len(due)} members, and they are others"

    def _check_wishes(self, case: Case) -> Iterator[Issue]:
        """Take the engine of the next round from the votes' wishes, where the terms allow them."""
        assert case.round is not None
        if self.terms.mode == Mode.HYBRID:
            self.engine = verification.chosen_engine(case.round.votes) or self.engine
        elif any(vote.opening.wish is not None for vote in case.round.votes):
            yield "votes", "a vote wishes for an engine, and the terms allow none"

    def _check_race(self, case: Case, puzzle: bytes, turns: list[Turn], start: int) -> Iterator[Issue]:
        """Check that every proof of work is under the target of its race; `start` is in seconds."""
        assert case.round is not None
        if self._unwon:
            self.target = election.ease(self.target, self.terms.pow_seconds)
        self._unwon = not turns
        voters = {vote.voter.account for vote in case.round.votes}
        for place, turn in enumerate(turns):
            nonce = turn.election.args["nonce"]
            if election.proof_value(puzzle, place, turn.leader, nonce) >= self.target:
                yield "leader", f"{turn.leader} shows no proof of work for turn {place}"
            if turn.leader not in voters:
                yield "leader", f"{turn.leader} has not voted in this round"
            seconds = turn.election.timestamp - start
            if seconds >= self.terms.elect_seconds:
                yield "deadlines.elect", "the proof of work came too late"
            self.target = election.retarget(self.target, seconds, self.terms.pow_seconds)
            if turn.ending is not None:
                start, self._unwon = turn.ending.timestamp, True
