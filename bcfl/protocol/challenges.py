"""Rule on challenges as the contract does: anybody shows one place of a proposal that is wrong.

Whoever challenges has announced it before (`docket.py`), or rules at the end of a dispute (`disputes.py`).

A proposal states `rows = keccak(0x02 ++ weights ++ root of the rows tree)`, `weights` being the digest of the
samples of the accepted updates. A challenge opens this statement, hands in the tally of the round and shows

    SumChallenge      one lane of the new model that is not what its row and the old model add up to,
                      or not zero beyond the parameters
    RowChallenge      one word of a row that is not what the accepted update has there
    WeightsChallenge  weights that are not the samples of the accepted updates
    LeafChallenge     a leaf of another length than all leaves of its tree have
    PaddingChallenge  a node where there must be padding, and is none

A challenge that does not open raises ChallengeError with the contract's reason. One that opens is ruled on:
True refutes the proposal, False means that it is right at that place. Leaves stand here as they are hashed,
with a zero byte in front.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar

from bcfl.errors import ChallengeError
from bcfl.protocol import aggregation, merkle
from bcfl.protocol.hashing import fold, keccak, word
from bcfl.protocol.limits import GROUP, MODEL_BYTES
from bcfl.protocol.submissions import Domain, opens, pack_claim, unpack_claim
from bcfl.protocol.types import Tally, Terms, Update
from bcfl.protocol.verification import mean_weights, tally_bytes, tally_digest

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
    SILENCE = 6  # nobody answered a dispute in time (`disputes.py`)


class Trees(IntEnum):
    """The trees that a proposal stands on; for a dispute, the update at position p is UPDATE + p."""

    MODEL = 0
    ROWS = 1
    UPDATE = 2


@dataclass(frozen=True)
class Candidate:
    """The values behind the digest of a proposal."""

    root: bytes
    weights: bytes  # digest of the samples of the accepted updates
    rows: bytes  # root of the rows tree

    @property
    def fields(self) -> tuple[bytes, bytes, bytes]:
        """Return the values in the order of the contract's struct."""
        return self.root, self.weights, self.rows

    def digest(self, round_: int, accepted: bytes) -> bytes:
        """Return the digest that miners attest for round `round_`, whose tally has the digest `accepted`."""
        rows = rows_digest(self.weights, self.rows)
        return proposal_digest(round_, accepted, self.root, rows)


@dataclass(frozen=True)
class ChallengeContext:
    """What the contract knows of the round when a challenge comes."""

    terms: Terms
    domain: Domain
    round: int
    proposal: bytes  # digest of the candidate
    parent_root: bytes  # of the ledger's last model
    accepted: bytes  # digest of the tally

    @property
    def leaf_bytes(self) -> int:
        """Return the bytes of a leaf of an update, without its zero byte."""
        return self.terms.leaf_lanes * self.terms.lane_bits // 8

    @property
    def model_leaf(self) -> int:
        """Return the bytes of a leaf of a model, without its zero byte."""
        return self.terms.leaf_lanes * MODEL_BYTES

    @property
    def leaves(self) -> int:
        """Return the number of leaves of every tree, without padding."""
        return merkle.leaves(self.terms.parameters, self.terms.leaf_lanes)

    @property
    def depth(self) -> int:
        """Return the number of siblings of a whole proof."""
        return merkle.depth(self.terms.parameters, self.terms.leaf_lanes)

    def open(self, candidate: Candidate, tally: Tally) -> None:
        """Check that these are the proposal and the tally of the round; raises ChallengeError."""
        if candidate.digest(self.round, self.accepted) != self.proposal:
            raise ChallengeError("proposals: not what was proposed")
        _require(tally_digest(tally) == self.accepted, "not the round's tally")

    def prove(self, leaf: bytes, index: int, proof: Proof, root: bytes) -> None:
        """Check that a leaf stands at an index of a tree; raises ChallengeError."""
        _require(index < self.leaves, "no such place")
        _require(len(proof) == self.depth, "proof of another length")
        _require(merkle.climb(keccak(leaf), index, proof) == root, "not in the tree")

    def check_update(self, tally: Tally, position: int, update: Update, group: Sequence[int]) -> None:
        """Check that `update` is the accepted one at a position of the round; raises ChallengeError.

        `group`: the words of the updates between the two checkpoints around the position.
        """
        accepted, points = tally.accepted, tally.checkpoints
        _require(position < len(accepted) and accepted[position], "no such place")
        place = position // GROUP
        start = points[place - 1] if place else bytes(32)
        _require(fold(map(word, group), start) == points[place], "not the round's updates")
        claimed = unpack_claim(self.round, update.root, update.cid, pack_claim(update))
        _require(opens(self.domain, claimed, group[position % GROUP]), "not the update's opening")


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
    old_leaf: bytes
    new_leaf: bytes
    row: bytes

    @property
    def place(self) -> tuple[int, int]:
        """Return the leaf, and the place of it, that an announcement names."""
        return self.leaf, self.lane

    def call(self, right: int) -> tuple[str, tuple[Any, ...]]:
        """Return the contract's function and its arguments; `right` is a salt or the number of a dispute."""
        return "challenge_sum", (
            self.candidate.fields, right, tally_bytes(self.tally), *_lists(self.proofs), self.leaf, self.lane,
            self.low, self.high, pack_samples(self.samples), self.old_leaf, self.new_leaf, self.row,
        )  # fmt: skip

    def rule(self, context: ChallengeContext) -> bool:
        """Return the contract's ruling; raises ChallengeError where the challenge does not open."""
        context.open(self.candidate, self.tally)
        context.prove(self.row, self.leaf, self.proofs[0], self.candidate.rows)
        context.prove(self.old_leaf, self.leaf, self.proofs[1], context.parent_root)
        context.prove(self.new_leaf, self.leaf, self.proofs[2], self.candidate.root)
        _require(self.lane < context.terms.leaf_lanes, "no such place")
        count = sum(self.tally.accepted)
        is_weights = weights_digest(self.samples) == self.candidate.weights
        _require(is_weights and len(self.samples) == count, "not the proposed weights")
        _require_leaf(self.row, count * context.leaf_bytes)
        _require_leaf(self.old_leaf, context.model_leaf)
        _require_leaf(self.new_leaf, context.model_leaf)
        return lane_of(self.new_leaf, self.lane, MODEL_BYTES) != self._expected(context)

    def _expected(self, context: ChallengeContext) -> int:
        terms, width = context.terms, context.terms.lane_bits // 8
        if self.leaf * terms.leaf_lanes + self.lane >= terms.parameters:
            return 0
        places = range(self.lane, terms.leaf_lanes * len(self.samples), terms.leaf_lanes)
        lanes = [lane_of(self.row, place, width) for place in places]
        bounds = aggregation.bounds(terms.rule, lanes, terms.trim)
        _require((self.low, self.high) == bounds or bounds is None, "not the bounds")
        delta = aggregation.aggregate_lane(terms.rule, lanes, self.samples, terms.shift, terms.trim)
        return max(-(2**31), min(2**31 - 1, lane_of(self.old_leaf, self.lane, MODEL_BYTES) + delta))


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
    part: bytes  # leaf of the update
    row: bytes

    @property
    def place(self) -> tuple[int, int]:
        """Return the leaf, and the place of it, that an announcement names."""
        return self.leaf, self.position << 16 | self.word

    def call(self, right: int) -> tuple[str, tuple[Any, ...]]:
        """Return the contract's function and its arguments; `right` is a salt or the number of a dispute."""
        opening = (self.update.root, self.update.cid, pack_claim(self.update))
        return "challenge_row", (
            self.candidate.fields, right, tally_bytes(self.tally), opening, list(self.group), self.position,
            *_lists(self.proofs), self.leaf, self.word, self.part, self.row,
        )  # fmt: skip

    def rule(self, context: ChallengeContext) -> bool:
        """Return the contract's ruling; raises ChallengeError where the challenge does not open."""
        context.open(self.candidate, self.tally)
        size, accepted = context.leaf_bytes, self.tally.accepted
        context.check_update(self.tally, self.position, self.update, self.group)
        context.prove(self.row, self.leaf, self.proofs[0], self.candidate.rows)
        context.prove(self.part, self.leaf, self.proofs[1], self.update.root)
        _require(self.word < size // WORD, "no such place")
        _require_leaf(self.row, sum(accepted) * size)
        _require_leaf(self.part, size)
        part_start = 1 + self.word * WORD
        row_start = part_start + sum(accepted[: self.position]) * size
        return self.row[row_start : row_start + WORD] != self.part[part_start : part_start + WORD]


@dataclass(frozen=True)
class WeightsChallenge:
    """Wrong weights: those of the accepted updates have another digest."""

    form: ClassVar = Form.WEIGHTS
    candidate: Candidate
    tally: Tally
    updates: tuple[int, ...]  # all words of the round
    samples: tuple[int, ...]  # weights of the accepted ones

    @property
    def place(self) -> tuple[int, int]:
        """Return the leaf, and the place of it, that an announcement names."""
        return 0, 0

    def call(self, right: int) -> tuple[str, tuple[Any, ...]]:
        """Return the contract's function and its arguments; `right` is a salt or the number of a dispute."""
        return "challenge_weights", (
            self.candidate.fields, right, tally_bytes(self.tally), list(self.updates),
            pack_samples(self.samples),
        )  # fmt: skip

    def rule(self, context: ChallengeContext) -> bool:
        """Return the contract's ruling; raises ChallengeError where the challenge does not open."""
        context.open(self.candidate, self.tally)
        _require(fold(map(word, self.updates)) == self.tally.checkpoints[-1], "not the round's updates")
        weights = mean_weights(self.tally, [update & 0xFFFFFF for update in self.updates])
        _require(self.samples == weights, "not the weights of the accepted updates")
        return weights_digest(weights) != self.candidate.weights


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

    @property
    def place(self) -> tuple[int, int]:
        """Return the leaf, and the place of it, that an announcement names."""
        return self.leaf, int(self.tree)

    def call(self, right: int) -> tuple[str, tuple[Any, ...]]:
        """Return the contract's function and its arguments; `right` is a salt or the number of a dispute."""
        return "challenge_leaf", (
            self.candidate.fields, right, tally_bytes(self.tally), list(self.proof), int(self.tree),
            self.leaf,
            self.content,
        )  # fmt: skip

    def rule(self, context: ChallengeContext) -> bool:
        """Return the contract's ruling; raises ChallengeError where the challenge does not open."""
        context.open(self.candidate, self.tally)
        root, size = self.candidate.root, context.model_leaf
        if self.tree is Trees.ROWS:
            root, size = self.candidate.rows, context.leaf_bytes * sum(self.tally.accepted)
        context.prove(self.content, self.leaf, self.proof, root)
        _require_leaf(self.content, None)
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

    @property
    def place(self) -> tuple[int, int]:
        """Return the leaf, and the place of it, that an announcement names."""
        return self.index, self.tree << 8 | self.height

    def call(self, right: int) -> tuple[str, tuple[Any, ...]]:
        """Return the contract's function and its arguments; `right` is a salt or the number of a dispute."""
        return "challenge_padding", (
            self.candidate.fields, right, tally_bytes(self.tally), list(self.proof), int(self.tree),
            self.height,
            self.index, self.digest,
        )  # fmt: skip

    def rule(self, context: ChallengeContext) -> bool:
        """Return the contract's ruling; raises ChallengeError where the challenge does not open."""
        context.open(self.candidate, self.tally)
        root = self.candidate.rows if self.tree is Trees.ROWS else self.candidate.root
        levels = len(self.proof)
        exists = self.index < 1 << levels and self.index << self.height >= context.leaves
        _require(exists, "no such place")
        _require(self.height + levels == context.depth, "proof of another length")
        _require(merkle.climb(self.digest, self.index, self.proof) == root, "not in the tree")
        return self.digest != merkle.padding(self.height)


Challenge = SumChallenge | RowChallenge | WeightsChallenge | LeafChallenge | PaddingChallenge


def proposal_digest(round_: int, accepted: bytes, root: bytes, rows: bytes) -> bytes:
    """Return what stands for a proposal; `accepted` is the digest of the round's tally.

    The CID is not in it: it follows from the model, and says no more than where to look.
    """
    return keccak(word(round_) + accepted + root + rows)


def cid_mark(cid: bytes) -> bytes:
    """Return the seven bytes that the contract keeps of a proposal's CID; two CIDs may have the same."""
    return keccak(cid)[-7:]


def pack_samples(samples: Sequence[int]) -> bytes:
    """Pack samples into four bytes each, most significant first."""
    return struct.pack(f">{len(samples)}I", *samples)


def weights_digest(samples: Sequence[int]) -> bytes:
    """Return the digest of the samples of the accepted updates, in their order."""
    return keccak(pack_samples(samples))


def rows_digest(weights: bytes, rows: bytes) -> bytes:
    """Return what a proposal states for the accepted updates: weights digest and rows root in one hash."""
    return keccak(_ROWS + weights + rows)


def lane_of(leaf: bytes, lane: int, width: int) -> int:
    """Return a signed lane of `width` bytes from a leaf with its zero byte in front."""
    return int.from_bytes(leaf[1 + lane * width :][:width], "big", signed=True)


def _require_leaf(leaf: bytes, size: int | None) -> None:
    _require(leaf[:1] == _LEAF, "not a leaf")
    _require(size is None or len(leaf) == 1 + size, "leaf of another length")


def _lists(proofs: Sequence[Proof]) -> list[list[bytes]]:
    return [list(proof) for proof in proofs]


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise ChallengeError(f"challenges: {reason}")
