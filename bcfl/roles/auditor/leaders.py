"""Step 5: the seed from the votes, and the leader of every turn from seed and engine."""

from __future__ import annotations

from collections.abc import Iterator

from bcfl.protocol import election, verification
from bcfl.protocol.types import Engine, Tally, Terms, VoidReason
from bcfl.roles.auditor.reading import Case
from bcfl.roles.auditor.submissions import Found
from bcfl.roles.auditor.turns import Turn

ACCOUNT = (1 << 160) - 1


class Leaders:
    """Who has to lead, round after round; the target of the race moves from each race to the next."""

    def __init__(self, terms: Terms) -> None:
        self.terms, self.target = terms, terms.pow_target
        self._open = False  # the last race ended without a winner

    def check(self, case: Case, count: Tally, turns: list[Turn]) -> Iterator[Found]:
        """Everything that is wrong; to be asked for every round, in order."""
        assert case.round is not None
        told = next(case.named("Tallied"), None)
        if told is None:
            return
        seed = verification.next_seed(case.seed, case.round.votes)
        if told.args["seed"] != seed:
            yield "seed", f"the votes make it 0x{seed.hex()}"
        if case.round.void is VoidReason.FEW_ACCEPTED:
            return
        if self.terms.engine == Engine.POW:
            yield from self._raced(case, seed, turns, told.timestamp)
            return
        order = election.ranking(seed, count.voters)
        for place, turn in enumerate(turns):
            if place >= len(order) or int(turn.leader, 16) != order[place] & ACCOUNT:
                yield "leader", f"{turn.leader} leads turn {place}, and the draw names another"

    def _raced(self, case: Case, seed: bytes, turns: list[Turn], begun: int) -> Iterator[Found]:
        """Every proof of work is under the target of its race."""
        if self._open:
            self.target = election.ease(self.target, self.terms.pow_seconds)
        self._open = not turns
        voters = {vote.voter.account for vote in case.round.votes} if case.round else set()
        for place, turn in enumerate(turns):
            nonce = turn.elected.args["nonce"]
            if election.proof_value(seed, place, turn.leader, nonce) >= self.target:
                yield "leader", f"{turn.leader} shows no proof of work for turn {place}"
            if turn.leader not in voters:
                yield "leader", f"{turn.leader} has not voted in this round"
            took = turn.elected.timestamp - begun
            if took >= self.terms.elect_seconds:
                yield "deadlines.elect", "the proof of work came too late"
            self.target = election.retarget(self.target, took, self.terms.pow_seconds)
            if turn.skipped is not None:
                begun, self._open = turn.skipped.timestamp, True
