"""Make what is behind updates and proposals: vectors, right models and wrong ones."""

from __future__ import annotations

from random import Random

from bcfl.protocol import aggregation, merkle
from bcfl.protocol.challenges import Candidate, ChallengeContext, rows_digest, weights_digest
from bcfl.protocol.evidence import Evidence, Vectors
from bcfl.protocol.fixedpoint import Lanes, Model
from bcfl.protocol.limits import MODEL_BITS
from bcfl.protocol.types import Terms
from bcfl.protocol.verification import mean_weights
from testkit.forged_proposals import FORGERIES, one_lane_off_by_one, random_lanes
from testkit.harness import Federation

RIGHT = 0  # kind of a proposal; the others are forgeries
KINDS = range(1 + len(FORGERIES))


def genesis(terms: Terms) -> Model:
    """Return the first model."""
    return random_lanes(Random(1), terms, MODEL_BITS)


def lanes(terms: Terms, number: int, device: int) -> Lanes:
    """Return the update of a device in a round."""
    return random_lanes(Random(number << 16 | device), terms, terms.lane_bits)


def update_root(terms: Terms, number: int, device: int) -> bytes:
    return merkle.root(lanes(terms, number, device), terms.leaf_lanes)


def proposal(evidence: Evidence, cid: bytes = b"") -> tuple[bytes, bytes, bytes]:
    """Return root, CID and rows."""
    c = evidence.candidate
    return c.root, cid, rows_digest(c.weights, c.rows)


class Contents:
    """Make the proposals of the rounds of a federation, by kind."""

    def __init__(self, f: Federation) -> None:
        self.f, self.terms = f, f.terms
        self.parent = genesis(f.terms)
        self.kinds: dict[tuple[int, int], Evidence] = {}
        self.evidence: dict[bytes, Evidence] = {}  # digest of a proposal -> all behind it

    def of(self, kind: int) -> Evidence:
        """Return the proposal of a kind in the running round, which is counted."""
        key = self.f.clock.round, kind
        if key not in self.kinds:
            evidence = self.make_right(key[0]) if kind == RIGHT else self.forge(*key)
            self.kinds[key] = self.evidence[evidence.context.proposal] = evidence
        return self.kinds[key]

    def make_right(self, number: int) -> Evidence:
        terms, tally, updates = self.terms, self.f.tallies[number], self.f.updates(number)
        accepted = [update for update, bit in zip(updates, tally.accepted, strict=True) if bit]
        vectors = [lanes(terms, number, update.device) for update in accepted]
        samples = list(mean_weights(tally, [update.samples for update in updates]))
        delta = aggregation.aggregate(terms.rule, vectors, samples, terms.shift, terms.trim)
        model = Vectors([aggregation.apply(self.parent, delta)], terms.leaf_lanes)
        rows = Vectors(vectors, terms.leaf_lanes)
        candidate = Candidate(model.root, weights_digest(samples), rows.root)
        parent_root, accepted_set = merkle.root(self.parent, terms.leaf_lanes), self.f.accepted()
        content = candidate.digest(number, accepted_set)
        context = ChallengeContext(terms, self.f.domain, number, content, parent_root, accepted_set)
        words = self.f.words(number)
        return Evidence(context, candidate, tally, words, updates, vectors, self.parent, model, rows)

    def forge(self, number: int, kind: int) -> Evidence:
        """Forge a proposal whose model is a vector, so that the next round can start from it."""
        right, rng = self.of(RIGHT), Random(number)
        evidence = FORGERIES[kind - 1](rng, right)
        if evidence is None or not isinstance(evidence.model, Vectors):
            evidence = one_lane_off_by_one(rng, right)
        assert evidence is not None
        return evidence

    def finalize(self, content: bytes) -> None:
        """Let the next round start from a proposal."""
        model = self.evidence[content].model
        assert isinstance(model, Vectors)
        self.parent = model.vectors[0]
