"""Answer disputes about a right proposal, and end those in which no move came in time.

Everybody can recompute a right proposal. Silence costs its author the most, so the author answers first; the
other miners, who attested it, do so one after the other in the second half of the time. Where many disputes
are open, each miner answers its share of them at once, several in a transaction. Challenges of a wrong
proposal are left to those who made it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from bcfl.errors import PayloadError, Reverted, StoreError
from bcfl.ports import ContractCall
from bcfl.protocol.challenges import Trees, weights_digest
from bcfl.protocol.disputes import Dispute, State
from bcfl.protocol.evidence import Vectors
from bcfl.protocol.fixedpoint import Lanes
from bcfl.protocol.limits import MAX_CALLS
from bcfl.protocol.rounds import Proposal
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.disputes import expires, expiry, nodes_below, open_disputes
from bcfl.roles.common.snapshot import TURN_SECONDS, RoundSnapshot
from bcfl.roles.miner.context import MinerContext

_ZERO = b"\x00"
MOST_AT_ONCE = 4  # answers in one move; where more are due, every miner answers its share at once
MOST_KEPT = 64  # answers in memory

Place = tuple[Trees, int | None, State, int, int]  # tree, update, state, height and index in it


class Answers:
    """A miner's moves in disputes; `agrees` tells whether a proposal is what the miner computes itself."""

    def __init__(
        self, context: MinerContext, archive: Archive, agrees: Callable[[RoundSnapshot, Proposal], bool]
    ) -> None:
        self.context, self.archive, self.agrees = context, archive, agrees
        self._answers: tuple[int, dict[Place, list[ContractCall]]] = (0, {})  # of one round

    def act(self, snapshot: RoundSnapshot) -> str | None:
        """Make the first moves that are due of this miner in open disputes; None if there is none.

        A dispute that cannot be answered keeps no other from being answered.
        """
        calls: list[ContractCall] = []
        courses = open_disputes(snapshot)
        is_crowded = sum(course.state.is_answerable for course in courses) > MOST_AT_ONCE
        for course in sorted(
            courses, key=lambda item: is_crowded and not self._is_mine(snapshot, item.state)
        ):
            try:
                calls += self._due(snapshot, course.state, is_crowded)
            except (PayloadError, StoreError, Reverted):  # the bytes are gone, or somebody else was quicker
                continue
            if len(calls) >= MOST_AT_ONCE:
                break
        report = "showed what is disputed"
        if not calls:
            calls = self._expiries(snapshot, [course.state for course in courses])
            report = "ended disputes that nobody went on with"
        try:
            self.context.send(*calls)
        except Reverted:  # somebody else was quicker
            return None
        return report if calls else None

    def answers(self, snapshot: RoundSnapshot, state: Dispute) -> list[ContractCall]:
        """Return the calls that show the disputed node of a right proposal, all that are due at once.

        Raises StoreError or PayloadError where the bytes of an accepted update cannot be had.
        """
        round_, known = self._answers
        if round_ != snapshot.round or len(known) > MOST_KEPT:
            self._answers = snapshot.round, (known := {})
        place = state.tree, state.position, state.state, state.height, state.index
        if place not in known:
            known[place] = self._compute(snapshot, state)
        return [replace(call, args=(state.number, *call.args[1:])) for call in known[place]]

    def _compute(self, snapshot: RoundSnapshot, state: Dispute) -> list[ContractCall]:
        """Compute the answers; disputes of the same place have the same."""
        submissions = snapshot.current.accepted_submissions()
        tree = Vectors(self._vectors(snapshot, state), snapshot.terms.leaf_lanes)
        if state.state is State.ROWS:
            weights = weights_digest([item.weight for item in submissions])
            below = replace(state, state=State.ANSWER, node=tree.root)
            return [
                ContractCall("answer_rows", (state.number, weights, tree.root)),
                self._show(tree, snapshot, below),
            ]
        return [self._show(tree, snapshot, state)]

    def _expiries(self, snapshot: RoundSnapshot, states: Sequence[Dispute]) -> list[ContractCall]:
        """Return what ends disputes whose time is over, many at once; none if it is another's turn."""
        lapsed = [state for state in states if snapshot.now >= max(state.deadline, expires(snapshot, state))]
        if not lapsed or not self.context.my_turn(snapshot):
            return []
        calls = [expiry(snapshot, state.number) for state in lapsed[:MAX_CALLS]]
        return [replace(call, optional=len(calls) > 1) for call in calls]

    def _due(self, snapshot: RoundSnapshot, state: Dispute, is_crowded: bool) -> list[ContractCall]:
        """Return the answers in one dispute that are this miner's now."""
        proposal = snapshot.current.proposals[-1]
        if not state.is_answerable or snapshot.now >= state.deadline:
            return []
        is_at_once = is_crowded and self._is_mine(snapshot, state)
        if not is_at_once and snapshot.now < self._turn_to_answer(snapshot, state, proposal):
            return []
        if not self.agrees(snapshot, proposal):
            return []
        return [replace(call, optional=True) for call in self.answers(snapshot, state)]

    def _is_mine(self, snapshot: RoundSnapshot, state: Dispute) -> bool:
        """Whether a dispute is in this miner's share, where there are many."""
        seats = [member.account for member in snapshot.history.voters()]
        address = self.context.address
        return address in seats and seats.index(address) == state.number % len(seats)

    def _turn_to_answer(self, snapshot: RoundSnapshot, state: Dispute, proposal: Proposal) -> int:
        """Return the time from which this miner answers: the author at once, then the others in turn."""
        if proposal.author == self.context.address:
            return state.due - snapshot.terms.answer_seconds
        seats = [member.account for member in snapshot.history.voters()]
        half = snapshot.terms.answer_seconds // 2
        gap = min(TURN_SECONDS, half // 2 // len(seats))
        place = seats.index(self.context.address)
        return state.due - half + (place - snapshot.round) % len(seats) * gap

    def _vectors(self, snapshot: RoundSnapshot, state: Dispute) -> Sequence[Lanes]:
        """Return what the disputed tree is made of."""
        submissions = snapshot.current.accepted_submissions()
        if state.tree is Trees.MODEL:
            parent = snapshot.history.model_before(snapshot.round)
            return [self.archive.next_model(parent, submissions, snapshot.history).model]
        if state.tree is Trees.UPDATE:
            return [self.archive.update(snapshot.current.submissions[state.position or 0])]
        return [self.archive.update(item) for item in submissions]

    @staticmethod
    def _show(tree: Vectors, snapshot: RoundSnapshot, state: Dispute) -> ContractCall:
        """Return the call that shows the nodes below the disputed one, or its leaf."""
        if state.height == 0:
            return ContractCall("answer_leaf", (state.number, _ZERO + tree.leaf(state.index)))
        return ContractCall("answer", (state.number, nodes_below(tree, state, snapshot.terms)))
