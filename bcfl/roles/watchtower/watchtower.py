"""Step 6 for anybody: recompute every proposal from chain and store, and challenge the wrong ones in time.

A watchtower has no stake and no role, only the bond of a challenge. Where a challenge needs what nobody has
shown, it disputes the tree, picks the first wrong node time after time, and challenges the leaf at the end;
if nobody answers, the proposal is refuted by that. An accepted update that it cannot get is disputed down to
a leaf that only it knows beforehand: whoever made the model has it. Vectors go to files as they come, so that
memory holds a few models, whatever the number of updates.
"""

from __future__ import annotations

from dataclasses import dataclass

from bcfl.errors import BcflError, Corrupt, Oversized, PayloadError, StoreError, Unavailable
from bcfl.ports import ContractCall, Ledger
from bcfl.protocol import aggregation, merkle, verification
from bcfl.protocol.accounts import Account
from bcfl.protocol.challenges import (
    Candidate,
    Challenge,
    ChallengeContext,
    Trees,
    rows_digest,
    weights_digest,
)
from bcfl.protocol.disputes import Course, strayed, update_args
from bcfl.protocol.evidence import Evidence, Shown, Source, Vectors
from bcfl.protocol.fixedpoint import Lanes
from bcfl.protocol.rounds import Proposal, Submission
from bcfl.protocol.types import Phase, Tally
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.disputes import disputes_of, expiry, nodes_below, proposal_digest
from bcfl.roles.common.snapshot import RoundSnapshot, take_snapshot
from bcfl.roles.watchtower.spool import Spool


@dataclass(frozen=True)
class Judgement:
    """What a watchtower thinks of a proposal: right, or wrong and `reason` says why there is no challenge.

    `tree`: what has to be shown before there can be one. `lost`: the accepted update to ask for.
    """

    right: bool
    challenge: Challenge | None = None
    reason: str = ""
    tree: Trees | None = None
    lost: Submission | None = None


class Watchtower:
    """Looks at each proposal once; `act` challenges or disputes a wrong one and says what it did."""

    def __init__(self, account: Account, ledger: Ledger, archive: Archive) -> None:
        self.account, self.ledger, self.archive = account, ledger, archive
        self._seen: tuple[bytes, int] | None = None  # the proposal judged last, and the disputes there were

    def act(self) -> str | None:
        """Judge the proposal that stands, if it is new, or go on with a dispute about it.

        Raises Reverted where somebody else was quicker.
        """
        snapshot = take_snapshot(self.ledger)
        if snapshot is None or snapshot.clock.phase is not Phase.ATTEST or not snapshot.current.proposals:
            return None
        proposal, courses = snapshot.current.proposals[-1], disputes_of(snapshot)
        if courses and courses[-1].ended is None:
            return self._go_on(snapshot, courses[-1])
        name = proposal_digest(snapshot.round, proposal), len(courses)
        if name == self._seen:
            return None
        found = self.judge(snapshot, proposal)
        done = self._do(snapshot, found)
        self._seen = name
        return done

    def _do(self, snapshot: RoundSnapshot, found: Judgement) -> str:
        bond = snapshot.terms.challenge_bond
        if found.right:
            return "found the proposal right"
        if found.challenge is not None:
            function, args = found.challenge.call()
            self.ledger.send(self.account, [ContractCall(function, args, bond)])
            return f"challenged the proposal: {found.challenge.form.name.lower()}"
        p = snapshot.current.proposals[-1]
        fields = (p.root, p.cid, p.rows, p.layer)
        if found.tree is not None:
            step = ContractCall("dispute", (*fields, int(found.tree)), bond)
        elif found.lost is not None:
            position, update = found.lost.position, found.lost.update
            opened = update_args(*self._count(snapshot), position, update)
            step = ContractCall("dispute_update", (*fields, *opened), bond)
        else:
            return f"found the proposal wrong, without a challenge: {found.reason}"
        self.ledger.send(self.account, [step])
        return f"disputed the proposal: {found.reason}"

    def _go_on(self, snapshot: RoundSnapshot, course: Course) -> str | None:
        """What is due in a dispute: to call time, or in an own one to pick a node."""
        state = course.state
        if snapshot.now >= state.due:
            self.ledger.send(self.account, [expiry(snapshot)])
            return "ended a dispute that nobody went on with"
        if state.answerable or state.challenger != self.account.address:
            return None
        if state.tree is Trees.UPDATE:
            return self._go_down(snapshot, course)
        with Spool() as spool:
            lanes, before = self._read(snapshot, spool)
            place = self._astray(snapshot, course, lanes, before)
            if place is None:  # then the weights are wrong, and they have been shown
                found = self._compare(snapshot, snapshot.current.proposals[-1], lanes, before, spool)
                return self._do(snapshot, found) if found.challenge else None
        self._pursue(course, place)
        return "asked for what is below a node that is wrong"

    def _go_down(self, snapshot: RoundSnapshot, course: Course) -> str:
        """On the way to a leaf of an update that is lost; should it turn up, the proposal can be judged."""
        found = self.judge(snapshot, snapshot.current.proposals[-1])
        if found.challenge is not None:
            return self._do(snapshot, found)
        state, terms = course.state, snapshot.terms
        leaf = self._dice(snapshot) % merkle.leaves(terms.parameters, terms.leaf_lanes)
        levels = state.shown - 1
        self._pursue(course, (leaf >> (state.height - levels)) & ((1 << levels) - 1))
        return "asked for what is below a node of a lost update"

    def _pursue(self, course: Course, place: int) -> None:
        step = ContractCall("pursue", (place, course.nodes[place], list(course.proof(place))))
        self.ledger.send(self.account, [step])

    def _dice(self, snapshot: RoundSnapshot) -> int:
        """A number that nobody else knows beforehand, the same after a restart."""
        name = proposal_digest(snapshot.round, snapshot.current.proposals[-1])
        return int.from_bytes(self.account.secret("lost update", name), "big")

    def _lost(self, snapshot: RoundSnapshot) -> Submission | None:
        """An accepted update that nobody gives; None if one of this proposal was asked for before."""
        mine = (c.state for c in disputes_of(snapshot) if c.state.challenger == self.account.address)
        if any(state.tree is Trees.UPDATE for state in mine):
            return None
        lost = [item for item in snapshot.current.taken() if not self._given(item)]
        return lost[self._dice(snapshot) % len(lost)] if lost else None

    def _given(self, item: Submission) -> bool:
        """Whether the bytes of an update are there, or it is not the update's fault that they are not."""
        try:
            self.archive.update(item)
        except (PayloadError, Unavailable, Corrupt, Oversized):
            return False
        except StoreError:
            return True
        finally:
            self.archive.forget()
        return True

    def _astray(
        self, snapshot: RoundSnapshot, course: Course, lanes: list[Lanes], before: Lanes
    ) -> int | None:
        """The first of the nodes that were shown that is not the right one."""
        state, leaf_lanes = course.state, snapshot.terms.leaf_lanes
        vectors = lanes if state.tree is Trees.ROWS else [self._right_model(snapshot, lanes, before)]
        tree = Vectors(vectors, leaf_lanes)
        right = [tree.root] if state.shown == 1 else nodes_below(tree, state, snapshot.terms)
        return strayed(course.nodes, right)

    def judge(self, snapshot: RoundSnapshot, proposal: Proposal) -> Judgement:
        """Recompute a proposal; a challenge is one that the contract upholds, by the twin's ruling."""
        with Spool() as spool:
            try:
                lanes, before = self._read(snapshot, spool)
            except (PayloadError, StoreError) as error:
                reason = f"the bytes of an accepted update cannot be had ({error})"
                return Judgement(False, None, reason, lost=self._lost(snapshot))
            return self._compare(snapshot, proposal, lanes, before, spool)

    def _read(self, snapshot: RoundSnapshot, spool: Spool) -> tuple[list[Lanes], Lanes]:
        """The accepted updates and the last model; raises PayloadError or StoreError without them."""
        try:
            lanes = [self._update(item, spool) for item in snapshot.current.taken()]
            return lanes, self.archive.model(snapshot.history.model_before(snapshot.round), snapshot.history)
        finally:
            self.archive.forget()

    def _compare(
        self, snapshot: RoundSnapshot, proposal: Proposal, lanes: list[Lanes], before: Lanes, spool: Spool
    ) -> Judgement:
        """What the accepted updates come to, beside what is proposed."""
        leaf_lanes, courses = snapshot.terms.leaf_lanes, disputes_of(snapshot)
        right = Vectors(lanes, leaf_lanes)
        weights, rows = weights_digest([i.update.samples for i in snapshot.current.taken()]), right.root
        stated = weights, rows
        source: Source = right
        model: Source = Vectors([before], leaf_lanes)  # as good as any, where the rows are wrong
        if rows_digest(weights, rows) != proposal.rows:
            stated = next(((c.weights, c.rows) for c in courses if c.weights and c.rows), stated)
            leaf = shown_leaf(courses, Trees.ROWS, right)
            if leaf is not None:
                source = leaf
            elif stated[0] == weights:  # nor have the weights been shown to be wrong
                return Judgement(False, None, "nobody has shown what its rows are made of", Trees.ROWS)
        else:
            known = self._model(snapshot, proposal, lanes, before, spool)
            if known is None:
                return Judgement(False, None, "nobody has shown the bytes of its model", Trees.MODEL)
            model = known
        candidate = Candidate(proposal.root, proposal.cid, *stated, proposal.layer)
        evidence = self._evidence(snapshot, candidate, lanes, before, source, model)
        challenge = evidence.find()
        if challenge is None:
            return Judgement(True)
        if not challenge.rule(evidence.context):
            raise BcflError(
                f"round {snapshot.round}: the challenge of a wrong proposal would fail; report this"
            )
        return Judgement(False, challenge)

    def _model(
        self, snapshot: RoundSnapshot, proposal: Proposal, lanes: list[Lanes], before: Lanes, spool: Spool
    ) -> Source | None:
        """What is known of the proposed model: its bytes, that it is right, or the leaf that was shown."""
        leaf_lanes = snapshot.terms.leaf_lanes
        proposed = self._proposed(proposal, spool)
        if proposed is not None:
            return Vectors([proposed], leaf_lanes)
        right = Vectors([self._right_model(snapshot, lanes, before)], leaf_lanes)
        if right.root == proposal.root:
            return right
        return shown_leaf(disputes_of(snapshot), Trees.MODEL, right)

    def _right_model(self, snapshot: RoundSnapshot, lanes: list[Lanes], before: Lanes) -> Lanes:
        terms, samples = snapshot.terms, [item.update.samples for item in snapshot.current.taken()]
        return aggregation.apply(
            before, aggregation.aggregate(terms.rule, lanes, samples, terms.shift, terms.trim)
        )

    def _evidence(
        self,
        snapshot: RoundSnapshot,
        candidate: Candidate,
        lanes: list[Lanes],
        before: Lanes,
        rows: Source,
        model: Source,
    ) -> Evidence:
        """Everything that is known of what stands behind a proposal."""
        terms, current, domain = snapshot.terms, snapshot.current, self.ledger.domain
        count, words = self._count(snapshot)
        context = ChallengeContext(
            terms=terms,
            domain=domain,
            round=snapshot.round,
            proposal=candidate.digest(snapshot.round),
            before=snapshot.history.model_before(snapshot.round).root,
            accepted=verification.tally_digest(count),
        )
        updates = [item.update for item in current.submissions]
        return Evidence(context, candidate, count, words, updates, lanes, before, model, rows)

    def _count(self, snapshot: RoundSnapshot) -> tuple[Tally, list[int]]:
        """The tally of the round, and the words of its updates."""
        current = snapshot.current
        words = current.words(self.ledger.domain)
        return verification.tally(words, current.votes, current.engine), words

    def _update(self, item: Submission, spool: Spool) -> Lanes:
        """An accepted update, checked, in a file."""
        kept = spool.keep(self.archive.update(item))
        self.archive.forget()
        return kept

    def _proposed(self, proposal: Proposal, spool: Spool) -> Lanes | None:
        """The proposed model, if the store gives bytes that have the proposed root."""
        try:
            kept = spool.keep(self.archive.fetch_model(proposal.root, proposal.cid))
        except (PayloadError, StoreError):
            return None
        self.archive.forget()
        return kept


def shown_leaf(courses: list[Course], tree: Trees, right: Vectors) -> Shown | None:
    """The wrong leaf of a tree that a dispute has brought to light."""
    for course in courses:
        if course.state.tree is tree and course.leaf is not None:
            found = Shown(course.state.index, course.leaf[1:], course.above)
            if found.unlike(right) is not None:
                return found
    return None
