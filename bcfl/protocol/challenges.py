"""Step 6: challenges as data, and the ruling of the contract on each: anybody shows one place that is wrong.

A proposal states `rows = keccak(0x02 ++ weights ++ root of the rows tree)`, `weights` being the digest of the
samples of the accepted updates. A challenge opens it, hands in the round's tally and shows

    SumChallenge      one lane of the new model that is not what its row and the old model come to,
                      or not zero beyond the parameters
    RowChallenge      one word of a row that is not what the accepted update has there
    WeightsChallenge  weights that are not the samples of the accepted updates
    LeafChallenge     a leaf of another length than all leaves of its tree have
    PaddingChallenge  a node where there must be padding, and is none

Whatever does not open raises ChallengeError with the contract's reason. What opens is ruled on: True refutes
the proposal, False means that it is right at that place. Leaves stand here as they are hashed, behind a zero.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar

from bcfl.errors import ChallengeError
from bcfl.protocol import aggregation, merkle
from bcfl.protocol.fixedpoint import MODEL_BITS
from bcfl.protocol.hashing import fold, keccak, word
from bcfl.protocol.submissions import GROUP, Domain, opens, pack_claim, unpack_claim
from bcfl.protocol.types import Tally, Terms, Update
from bcfl.protocol.verification import tally_bytes, tally_digest

MODEL_BYTES = MODEL_BITS // 8
WORD = 32
_ROWS, _LEAF = b"\x02", b"\x00"

Proof = tuple[bytes, ...]  # siblings, the lowest first


class Form(IntEnum):
    """How a proposal was challenged; the numbers are those of the contract's events."""

    SUM = 1
    ROW = 2
    WEIGHTS = 3
    LEAF = 4
    PADDING = 5
    DISPUTE = 6  # nobody has shown what was asked for (`disputes.py`)


class Trees(IntEnum):
    """The trees that a proposal stands on; for a dispute, the update at position p is UPDATE + p."""

    MODEL = 0
    ROWS = 1
    UPDATE = 2


@dataclass(frozen=True)
class Candidate:
    """What is behind the digest of a proposal."""

    root: bytes
    cid: bytes
    weights: bytes  # digest of the samples of the accepted updates
    rows: bytes  # root of the rows tree
    layer: bytes  # of the leader's chain

    @property
    def fields(self) -> tuple[bytes, bytes, bytes, bytes, bytes]:
        """In the order of the contract's struct."""
        return self.root, self.cid, self.weights, self.rows, self.layer

    def digest(self, round_: int) -> bytes:
        """What attestations attest."""
        return keccak(word(round_) + self.root + self.cid + rows_digest(self.weights, self.rows) + self.layer)


@dataclass(frozen=True)
class ChallengeContext:
    """What the contract knows when a challenge comes."""

    terms: Terms
    domain: Domain
    round: int
    proposal: bytes  # digest of the candidate
    before: bytes  # root of the ledger's last model
    accepted: bytes  # digest of the tally

    @property
    def leaf_bytes(self) -> int:
        """Bytes of a leaf of an update."""
        return self.terms.leaf_lanes * self.terms.lane_bits // 8

    @property
    def model_leaf(self) -> int:
        """Bytes of a leaf of a model."""
        return self.terms.leaf_lanes * MODEL_BYTES

    @property
    def leaves(self) -> int:
        """Leaves of every tree, without padding."""
        return merkle.leaves(self.terms.parameters, self.terms.leaf_lanes)

    @property
    def depth(self) -> int:
        """Siblings of a whole proof."""
        return merkle.depth(self.terms.parameters, self.terms.leaf_lanes)

    def open(self, candidate: Candidate, tally: Tally) -> None:
        """Insist on the proposal and the tally of the round."""
        _insist(candidate.digest(self.round) == self.proposal, "not what was proposed")
        _insist(tally_digest(tally) == self.accepted, "not the round's tally")

    def prove(self, leaf: bytes, index: int, proof: Proof, root: bytes) -> None:
        """Insist that a leaf stands at an index of a tree."""
        _insist(index < self.leaves, "no such place")
        _insist(len(proof) == self.depth, "proof of another length")
        _insist(merkle.climb(keccak(leaf), index, proof) == root, "not in the tree")


@dataclass(frozen=True)
class SumChallenge:
    """Wrong arithmetic: the row, the old and the new leaf at one place, and a lane of it.

    `low` and `high` are the values at the ends of what the median or the trimmed mean keeps, 0 for the mean.
    """

    form: ClassVar = Form.SUM
    candidate: Candidate
    tally: Tally
    leaf: int
    lane: int
    low: int
    high: int
    samples: tuple[int, ...]
    proofs: tuple[Proof, Proof, Proof]  # of the row, of the old, of the new leaf
    before: bytes
    after: bytes
    row: bytes

    def call(self) -> tuple[str, tuple[Any, ...]]:
        """The contract's function and its arguments."""
        return "challenge_sum", (
            self.candidate.fields, tally_bytes(self.tally), *_lists(self.proofs), self.leaf, self.lane,
            self.low, self.high, pack_samples(self.samples), self.before, self.after, self.row,
        )  # fmt: skip

    def rule(self, context: ChallengeContext) -> bool:
        """The contract's ruling."""
        context.open(self.candidate, self.tally)
        context.prove(self.row, self.leaf, self.proofs[0], self.candidate.rows)
        context.prove(self.before, self.leaf, self.proofs[1], context.before)
        context.prove(self.after, self.leaf, self.proofs[2], self.candidate.root)
        _insist(self.lane < context.terms.leaf_lanes, "no such place")
        count = sum(self.tally.accepted)
        right = keccak(pack_samples(self.samples)) == self.candidate.weights
        _insist(right and len(self.samples) == count, "not the proposed weights")
        _content(self.row, count * context.leaf_bytes)
        _content(self.before, context.model_leaf)
        _content(self.after, context.model_leaf)
        return lane_of(self.after, self.lane, MODEL_BYTES) != self._expected(context)

    def _expected(self, context: ChallengeContext) -> int:
        terms, width = context.terms, context.terms.lane_bits // 8
        if self.leaf * terms.leaf_lanes + self.lane >= terms.parameters:
            return 0
        part = terms.leaf_lanes
        lanes = [lane_of(self.row, part * place + self.lane, width) for place in range(len(self.samples))]
        bounds = aggregation.bounds(terms.rule, lanes, terms.trim)
        _insist((self.low, self.high) == bounds or bounds is None, "not the bounds")
        step = aggregation.aggregate_lane(terms.rule, lanes, self.samples, terms.shift, terms.trim)
        return max(-(2**31), min(2**31 - 1, lane_of(self.before, self.lane, MODEL_BYTES) + step))


@dataclass(frozen=True)
class RowChallenge:
    """Wrong row: one word of it is not what the accepted update at `position` has there."""

    form: ClassVar = Form.ROW
    candidate: Candidate
    tally: Tally
    leaf: int
    word: int  # of the update's leaf
    position: int  # of the update among all of the round
    update: Update
    group: tuple[int, ...]  # words of the updates between the two checkpoints around the position
    proofs: tuple[Proof, Proof]  # of the row, of the update's leaf
    part: bytes
    row: bytes

    def call(self) -> tuple[str, tuple[Any, ...]]:
        """The contract's function and its arguments."""
        opening = (self.update.root, self.update.cid, pack_claim(self.update))
        return "challenge_row", (
            self.candidate.fields, tally_bytes(self.tally), opening, list(self.group), self.position,
            *_lists(self.proofs), self.leaf, self.word, self.part, self.row,
        )  # fmt: skip

    def rule(self, context: ChallengeContext) -> bool:
        """The contract's ruling."""
        context.open(self.candidate, self.tally)
        size, accepted = context.leaf_bytes, self.tally.accepted
        root = self._root(context)
        context.prove(self.row, self.leaf, self.proofs[0], self.candidate.rows)
        context.prove(self.part, self.leaf, self.proofs[1], root)
        _insist(self.word < size // WORD, "no such place")
        _content(self.row, sum(accepted) * size)
        _content(self.part, size)
        start = 1 + sum(accepted[: self.position]) * size + self.word * WORD
        at = 1 + self.word * WORD
        return self.row[start : start + WORD] != self.part[at : at + WORD]

    def _root(self, context: ChallengeContext) -> bytes:
        """The root of the accepted update, once it is shown to be one of the round."""
        accepted, points = self.tally.accepted, self.tally.checkpoints
        _insist(self.position < len(accepted) and accepted[self.position], "no such place")
        place = self.position // GROUP
        start = points[place - 1] if place else bytes(32)
        _insist(fold(map(word, self.group), start) == points[place], "not the round's updates")
        claimed = unpack_claim(context.round, self.update.root, self.update.cid, pack_claim(self.update))
        shown = self.group[self.position % GROUP]
        _insist(opens(context.domain, claimed, shown), "not the update's opening")
        return self.update.root


@dataclass(frozen=True)
class WeightsChallenge:
    """Wrong weights: the samples of the accepted updates have another digest."""

    form: ClassVar = Form.WEIGHTS
    candidate: Candidate
    tally: Tally
    updates: tuple[int, ...]  # all words of the round
    samples: tuple[int, ...]  # of the accepted ones

    def call(self) -> tuple[str, tuple[Any, ...]]:
        """The contract's function and its arguments."""
        return "challenge_weights", (
            self.candidate.fields, tally_bytes(self.tally), list(self.updates), pack_samples(self.samples),
        )  # fmt: skip

    def rule(self, context: ChallengeContext) -> bool:
        """The contract's ruling."""
        context.open(self.candidate, self.tally)
        last = self.tally.checkpoints[-1]
        _insist(fold(map(word, self.updates)) == last, "not the round's updates")
        accepted = zip(self.updates, self.tally.accepted, strict=True)
        right = tuple(update & 0xFFFFFF for update, bit in accepted if bit)
        _insist(self.samples == right, "not the accepted samples")
        return keccak(pack_samples(self.samples)) != self.candidate.weights


@dataclass(frozen=True)
class LeafChallenge:
    """A leaf of another length than all leaves of its tree have: an update too few, or too many."""

    form: ClassVar = Form.LEAF
    candidate: Candidate
    tally: Tally
    tree: Trees
    leaf: int
    proof: Proof
    content: bytes

    def call(self) -> tuple[str, tuple[Any, ...]]:
        """The contract's function and its arguments."""
        return "challenge_leaf", (
            self.candidate.fields, tally_bytes(self.tally), list(self.proof), int(self.tree), self.leaf,
            self.content,
        )  # fmt: skip

    def rule(self, context: ChallengeContext) -> bool:
        """The contract's ruling."""
        context.open(self.candidate, self.tally)
        root, size = self.candidate.root, context.model_leaf
        if self.tree is Trees.ROWS:
            root, size = self.candidate.rows, context.leaf_bytes * sum(self.tally.accepted)
        context.prove(self.content, self.leaf, self.proof, root)
        _content(self.content, None)
        return len(self.content) != 1 + size


@dataclass(frozen=True)
class PaddingChallenge:
    """A node above nothing but padding that has another digest than padding has."""

    form: ClassVar = Form.PADDING
    candidate: Candidate
    tally: Tally
    tree: Trees
    height: int
    index: int  # among the nodes of that height
    digest: bytes
    proof: Proof

    def call(self) -> tuple[str, tuple[Any, ...]]:
        """The contract's function and its arguments."""
        return "challenge_padding", (
            self.candidate.fields, tally_bytes(self.tally), list(self.proof), int(self.tree), self.height,
            self.index, self.digest,
        )  # fmt: skip

    def rule(self, context: ChallengeContext) -> bool:
        """The contract's ruling."""
        context.open(self.candidate, self.tally)
        root = self.candidate.rows if self.tree is Trees.ROWS else self.candidate.root
        rest = len(self.proof)
        place = self.index < 1 << rest and self.index << self.height >= context.leaves
        _insist(place, "no such place")
        _insist(self.height + rest == context.depth, "proof of another length")
        _insist(merkle.climb(self.digest, self.index, self.proof) == root, "not in the tree")
        return self.digest != merkle.padding(self.height)


Challenge = SumChallenge | RowChallenge | WeightsChallenge | LeafChallenge | PaddingChallenge


def pack_samples(samples: Sequence[int]) -> bytes:
    """Four bytes for each, most significant first."""
    return struct.pack(f">{len(samples)}I", *samples)


def weights_digest(samples: Sequence[int]) -> bytes:
    """The digest of the samples of the accepted updates, in their order."""
    return keccak(pack_samples(samples))


def rows_digest(weights: bytes, rows: bytes) -> bytes:
    """What a proposal states for the accepted updates: their weights, and the root of their rows tree."""
    return keccak(_ROWS + weights + rows)


def lane_of(leaf: bytes, lane: int, width: int) -> int:
    """A lane of `width` bytes of a leaf that stands behind its zero byte."""
    return int.from_bytes(leaf[1 + lane * width :][:width], "big", signed=True)


def _content(leaf: bytes, size: int | None) -> None:
    _insist(leaf[:1] == _LEAF, "not a leaf")
    _insist(size is None or len(leaf) == 1 + size, "leaf of another length")


def _lists(proofs: Sequence[Proof]) -> list[list[bytes]]:
    return [list(proof) for proof in proofs]


def _insist(condition: bool, reason: str) -> None:
    if not condition:
        raise ChallengeError(f"challenges: {reason}")
