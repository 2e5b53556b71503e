"""A proposal recomputed from the accepted updates, and the challenge of a wrong one.

Vectors go to files as they come, so that memory holds a few models, whatever the number of updates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from bcfl.errors import BcflError, PayloadError, StoreError
from bcfl.protocol import aggregation, verification
from bcfl.protocol.challenges import (
    Candidate,
    Challenge,
    ChallengeContext,
    Trees,
    rows_digest,
    weights_digest,
)
from bcfl.protocol.disputes import Course, first_mismatch
from bcfl.protocol.evidence import Evidence, SingleLeaf, Source, Vectors
from bcfl.protocol.fixedpoint import Lanes, Model
from bcfl.protocol.rounds import Proposal, Submission
from bcfl.protocol.submissions import Domain
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.disputes import disputes_of, nodes_below
from bcfl.roles.common.snapshot import RoundSnapshot
from bcfl.roles.watchtower.openings import tally_of
from bcfl.roles.watchtower.spool import Spool


@dataclass(frozen=True)
class Judgement:
    """Whether a proposal is right; where a wrong one cannot be challenged, `reason` says why.

    `tree` has to be shown before there can be a challenge; `lost_update` is the accepted update to ask for.
    `is_sealed`: nobody knows, since no key that can be had opens what the proposal is made of.
    """

    right: bool
    challenge: Challenge | None = None
    reason: str = ""
    tree: Trees | None = None
    lost_update: Submission | None = None
    is_sealed: bool = False


class Recomputation:
    """A proposal, and what the accepted updates of its round come to.

    Raises PayloadError or StoreError where an update or the last model cannot be read.
    """

    def __init__(
        self, snapshot: RoundSnapshot, proposal: Proposal, domain: Domain, archive: Archive, spool: Spool
    ) -> None:
        self.snapshot, self.proposal, self.domain = snapshot, proposal, domain
        self.archive, self.spool = archive, spool
        self.disputes, self.leaf_lanes = disputes_of(snapshot), snapshot.terms.leaf_lanes
        self.samples = [item.weight for item in snapshot.current.accepted_submissions()]
        try:
            self.updates = [self._read_update(item) for item in snapshot.current.accepted_submissions()]
            self.parent = snapshot.history.model_before(snapshot.round)
            self.parent_model = archive.model(self.parent, snapshot.history)
        finally:
            archive.forget()

    @property
    def rows(self) -> Vectors:
        """The right rows tree."""
        return Vectors(self.updates, self.leaf_lanes)

    @cached_property
    def model(self) -> Vectors:
        """The tree of the right model."""
        terms = self.snapshot.terms
        delta = aggregation.aggregate(terms.rule, self.updates, self.samples, terms.shift, terms.trim)
        return Vectors([aggregation.apply(self.parent_model, delta)], self.leaf_lanes)

    def judge(self) -> Judgement:
        """Judge the proposal; a challenge is one that the contract upholds, by the twin's ruling."""
        weights, right_rows = weights_digest(self.samples), self.rows
        digests = weights, right_rows.root
        rows: Source = right_rows
        model: Source = Vectors([self.parent_model], self.leaf_lanes)  # any will do for wrong rows
        if rows_digest(*digests) != self.proposal.rows:
            answers = ((course.weights, course.rows) for course in self.disputes)
            digests = next(((first, second) for first, second in answers if first and second), digests)
            leaf = self._wrong_leaf(Trees.ROWS, right_rows)
            if leaf is not None:
                rows = leaf
            elif digests[0] == weights:  # nor have the weights been shown to be wrong
                return Judgement(False, None, "nobody has shown what its rows are made of", Trees.ROWS)
        else:
            proposed_model = self._proposed_model()
            if proposed_model is None:
                return Judgement(False, None, "nobody has shown the bytes of its model", Trees.MODEL)
            model = proposed_model
        return self._judge(self._evidence(digests, rows, model))

    def first_wrong_node(self, course: Course) -> int | None:
        """Return the place of the first wrong one among the nodes that a dispute has shown, or None."""
        state = course.state
        tree = self.rows if state.tree is Trees.ROWS else self.model
        return first_mismatch(course.nodes, nodes_below(tree, state, self.snapshot.terms))

    def _judge(self, evidence: Evidence) -> Judgement:
        challenge = evidence.find()
        if challenge is None:
            return Judgement(True)
        if not challenge.rule(evidence.context):
            raise BcflError(
                f"round {self.snapshot.round}: the challenge of a wrong proposal would fail; report this"
            )
        return Judgement(False, challenge)

    def _fetch(self) -> Model:
        """Return the proposed model from the store, (parameters,); raises as `Archive.update`."""
        return self.archive.fetch_model(self.snapshot.round, self.proposal.root, self.proposal.cid)

    def _proposed_model(self) -> Source | None:
        """Return what is known of the proposed model: its bytes, that it is right, or a wrong leaf of it."""
        try:
            lanes = self.spool.add(self._fetch())
        except (PayloadError, StoreError):
            if self.model.root == self.proposal.root:
                return self.model
            return self._wrong_leaf(Trees.MODEL, self.model)
        self.archive.forget()
        return Vectors([lanes], self.leaf_lanes)

    def _evidence(self, digests: tuple[bytes, bytes], rows: Source, model: Source) -> Evidence:
        """Collect everything that is known of what stands behind the proposal."""
        snapshot, proposal = self.snapshot, self.proposal
        tally, words = tally_of(snapshot, self.domain)
        accepted = verification.tally_digest(tally)
        candidate = Candidate(proposal.root, *digests)
        context = ChallengeContext(
            terms=snapshot.terms,
            domain=self.domain,
            round=snapshot.round,
            proposal=candidate.digest(snapshot.round, accepted),
            parent_root=self.parent.root,
            accepted=accepted,
        )
        updates = [item.update for item in snapshot.current.submissions]
        return Evidence(
            context, candidate, tally, words, updates, self.updates, self.parent_model, model, rows
        )

    def _wrong_leaf(self, tree: Trees, right: Vectors) -> SingleLeaf | None:
        """Return the wrong leaf of a tree that a dispute has brought to light, or None."""
        for course in self.disputes:
            if course.state.tree is tree and course.leaf is not None:
                leaf = SingleLeaf(course.state.index, course.leaf[1:], course.above)
                if leaf.first_wrong_leaf(right) is not None:
                    return leaf
        return None

    def _read_update(self, item: Submission) -> Lanes:
        """Return an accepted update, checked, in a file."""
        lanes = self.spool.add(self.archive.update(item))
        self.archive.forget()
        return lanes
