"""Find what is wrong with a proposal, and build the challenge that shows it.

Whoever has the last model, the accepted updates and what the leader made of them compares the one with the
other, slice after slice, and builds the first challenge that the contract upholds. Vectors may be mapped
files: all that is held in memory beside them is the new model and one digest for every subtree of some MiB
(`merkle.rows_proof`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from bcfl.protocol import aggregation, merkle
from bcfl.protocol.challenges import (
    WORD,
    Candidate,
    Challenge,
    ChallengeContext,
    LeafChallenge,
    PaddingChallenge,
    RowChallenge,
    SumChallenge,
    Trees,
    WeightsChallenge,
    lane_of,
    weights_digest,
)
from bcfl.protocol.fixedpoint import Lanes, Model
from bcfl.protocol.limits import GROUP, MODEL_BYTES
from bcfl.protocol.types import Tally, Update
from bcfl.protocol.verification import mean_weights

_SLICE = 1 << 20  # lanes compared at a time
_ZERO = b"\x00"


@dataclass(frozen=True)
class Node:
    """A node of a tree: height, index among the nodes of that height, digest, siblings up to the root."""

    height: int
    index: int
    digest: bytes
    siblings: tuple[bytes, ...]


class Source(Protocol):
    """The leaves of a tree, and how they differ from the right ones."""

    def leaf(self, index: int) -> bytes:
        """Return the packed leaf at `index`."""

    def proof(self, index: int) -> tuple[bytes, ...]:
        """Return the siblings of the leaf at `index`, the lowest first."""

    def first_wrong_leaf(self, right: Vectors) -> int | None:
        """Return the index of the first leaf that is not that of `right`, or None."""

    def node_in_padding(self) -> Node | None:
        """Return a node that stands where there must be padding, or None."""


@dataclass(frozen=True)
class Vectors:
    """A tree over one vector, or the rows tree of several; only the vectors are held, (parameters,) each."""

    vectors: Sequence[Lanes]
    leaf_lanes: int

    @property
    def root(self) -> bytes:
        """Return the root of the tree."""
        return merkle.rows_root(self.vectors, self.leaf_lanes)

    def leaf(self, index: int) -> bytes:
        """Return the packed leaf at `index`."""
        return merkle.row(self.vectors, self.leaf_lanes, index)

    def proof(self, index: int) -> tuple[bytes, ...]:
        """Return the siblings of the leaf at `index`, the lowest first."""
        return merkle.rows_proof(self.vectors, self.leaf_lanes, index)

    def first_wrong_leaf(self, right: Vectors) -> int | None:
        """Return the index of the first leaf that is not that of `right`, compared in slices, or None."""
        if len(self.vectors) != len(right.vectors):
            return 0
        lane = first_difference(self.vectors, right.vectors)
        return None if lane is None else lane // self.leaf_lanes

    def node_in_padding(self) -> Node | None:
        """Return None: a vector has nothing beyond its leaves."""
        return None


@dataclass(frozen=True)
class Leaves:
    """A tree over any bytes; leaves from `count` on stand where there must be padding."""

    packed: Sequence[bytes]
    count: int

    @cached_property
    def tree(self) -> merkle.Tree:
        """Return all digests of the tree."""
        return merkle.tree_of(self.packed, (self.count - 1).bit_length())

    @property
    def root(self) -> bytes:
        """Return the root of the tree."""
        return self.tree.root

    def leaf(self, index: int) -> bytes:
        """Return the packed leaf at `index`."""
        return self.packed[index]

    def proof(self, index: int) -> tuple[bytes, ...]:
        """Return the siblings of the leaf at `index`, the lowest first."""
        return self.tree.proof(index)

    def first_wrong_leaf(self, right: Vectors) -> int | None:
        """Return the index of the first leaf that is not that of `right`, or None."""
        return next((i for i in range(self.count) if self.packed[i] != right.leaf(i)), None)

    def node_in_padding(self) -> Node | None:
        """Return the first leaf from `count` on, or None."""
        if len(self.packed) <= self.count:
            return None
        digest = self.tree.levels[0][32 * self.count :][:32]
        return Node(0, self.count, digest, self.tree.proof(self.count))


@dataclass(frozen=True)
class SingleLeaf:
    """A tree of which one leaf and its siblings are known, as the last answer of a dispute shows them."""

    index: int
    content: bytes
    siblings: tuple[bytes, ...]

    def leaf(self, index: int) -> bytes:
        """Return the leaf; raises KeyError for the index of another one."""
        return {self.index: self.content}[index]

    def proof(self, index: int) -> tuple[bytes, ...]:
        """Return the siblings of the leaf at `index`, the lowest first."""
        return {self.index: self.siblings}[index]

    def first_wrong_leaf(self, right: Vectors) -> int | None:
        """Return the index of the leaf where it is not that of `right`, else None."""
        return None if self.content == right.leaf(self.index) else self.index

    def node_in_padding(self) -> Node | None:
        """Return None: nothing is known of the padding."""
        return None


@dataclass(frozen=True)
class Evidence:
    """Everything behind a proposal, as its challenger sees it."""

    context: ChallengeContext
    candidate: Candidate
    tally: Tally
    words: Sequence[int]  # of all updates of the round
    updates: Sequence[Update]  # all updates of the round
    lanes: Sequence[Lanes]  # of the accepted updates, (parameters,) each
    parent_model: Model  # (parameters,)
    model: Source  # behind the candidate's root
    rows: Source  # behind its rows

    @property
    def samples(self) -> tuple[int, ...]:
        """Return the weights of the accepted updates in the mean, in their order."""
        return mean_weights(self.tally, [update.samples for update in self.updates])

    def find(self) -> Challenge | None:
        """Return the challenge that refutes the proposal; None if it is right."""
        if self.candidate.weights != weights_digest(self.samples):
            return WeightsChallenge(self.candidate, self.tally, tuple(self.words), self.samples)
        return self._wrong_rows() or self._wrong_model()

    def _wrong_rows(self) -> Challenge | None:
        right = Vectors(self.lanes, self.context.terms.leaf_lanes)
        index = self.rows.first_wrong_leaf(right)
        if index is None:
            return self._padding(Trees.ROWS, self.rows)
        row, right_row = self.rows.leaf(index), right.leaf(index)
        if len(row) != len(right_row):
            return self._leaf(Trees.ROWS, self.rows, index)
        start = next(i for i in range(0, len(row), WORD) if row[i : i + WORD] != right_row[i : i + WORD])
        return self.row_challenge(index, *divmod(start, self.context.leaf_bytes))

    def _wrong_model(self) -> Challenge | None:
        terms = self.context.terms
        delta = aggregation.aggregate(terms.rule, self.lanes, self.samples, terms.shift, terms.trim)
        right = Vectors([aggregation.apply(self.parent_model, delta)], terms.leaf_lanes)
        index = self.model.first_wrong_leaf(right)
        if index is None:
            return self._padding(Trees.MODEL, self.model)
        leaf, right_leaf = _ZERO + self.model.leaf(index), _ZERO + right.leaf(index)
        if len(leaf) != len(right_leaf):
            return self._leaf(Trees.MODEL, self.model, index)
        lanes = range(terms.leaf_lanes)
        lane = next(i for i in lanes if lane_of(leaf, i, MODEL_BYTES) != lane_of(right_leaf, i, MODEL_BYTES))
        return self.sum_challenge(index, lane)

    def sum_challenge(self, leaf: int, lane: int) -> SumChallenge:
        """Build the challenge of one lane of the new model, wrong or not."""
        terms = self.context.terms
        parent = Vectors([self.parent_model], terms.leaf_lanes)
        row, width = _ZERO + self.rows.leaf(leaf), terms.lane_bits // 8
        places = range(lane, (len(row) - 1) // width, terms.leaf_lanes)
        values = [lane_of(row, place, width) for place in places]
        low, high = aggregation.bounds(terms.rule, values, terms.trim) or (0, 0)
        return SumChallenge(
            self.candidate, self.tally, leaf, lane, low, high, self.samples,
            (self.rows.proof(leaf), parent.proof(leaf), self.model.proof(leaf)),
            _ZERO + parent.leaf(leaf), _ZERO + self.model.leaf(leaf), row,
        )  # fmt: skip

    def row_challenge(self, leaf: int, place: int, offset: int) -> RowChallenge:
        """Build the challenge of one word of a row, wrong or not.

        The word is at byte `offset` of the row's part of accepted update `place`.
        """
        position = [i for i, bit in enumerate(self.tally.accepted) if bit][place]
        first = position // GROUP * GROUP
        update = Vectors([self.lanes[place]], self.context.terms.leaf_lanes)
        return RowChallenge(
            self.candidate, self.tally, leaf, offset // WORD, position, self.updates[position],
            tuple(self.words[first : first + GROUP]), (self.rows.proof(leaf), update.proof(leaf)),
            _ZERO + update.leaf(leaf), _ZERO + self.rows.leaf(leaf),
        )  # fmt: skip

    def _leaf(self, tree: Trees, source: Source, index: int) -> LeafChallenge:
        content = _ZERO + source.leaf(index)
        return LeafChallenge(self.candidate, self.tally, tree, index, source.proof(index), content)

    def _padding(self, tree: Trees, source: Source) -> PaddingChallenge | None:
        node = source.node_in_padding()
        if node is None:
            return None
        fields = (node.height, node.index, node.digest, node.siblings)
        return PaddingChallenge(self.candidate, self.tally, tree, *fields)


def first_difference(vectors: Sequence[Lanes], others: Sequence[Lanes]) -> int | None:
    """Return the first lane at which any vector differs from its counterpart among `others`, or None."""
    for start in range(0, len(vectors[0]), _SLICE):
        lanes = []
        for vector, other in zip(vectors, others, strict=True):
            mask = vector[start : start + _SLICE] != other[start : start + _SLICE]
            if mask.any():
                lanes.append(start + int(np.argmax(mask)))
        if lanes:
            return min(lanes)
    return None
