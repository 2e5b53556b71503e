"""Step 6: what is wrong with a proposal, and the challenge that shows it.

Whoever has the last model, the accepted updates and what the leader made of them compares the one with the
other, slice after slice, and builds the first challenge that the contract upholds. Vectors may be
mapped files: what is kept beside them is the new model and one digest for every subtree of some MiB
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
    MODEL_BYTES,
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
from bcfl.protocol.submissions import GROUP
from bcfl.protocol.types import Tally, Update

_SLICE = 1 << 20  # lanes compared at a time
_ZERO = b"\x00"


@dataclass(frozen=True)
class Node:
    """A node of a tree: height, place among the nodes of that height, digest, siblings up to the root."""

    height: int
    index: int
    digest: bytes
    siblings: tuple[bytes, ...]


class Source(Protocol):
    """Where the leaves of a tree come from."""

    def leaf(self, index: int) -> bytes:
        """The packed leaf."""

    def proof(self, index: int) -> tuple[bytes, ...]:
        """Its siblings, lowest first."""

    def unlike(self, right: Vectors) -> int | None:
        """The first leaf that is not that of `right`."""

    def stray(self) -> Node | None:
        """A node that stands where there must be padding."""


@dataclass(frozen=True)
class Vectors:
    """A tree over one vector, or the rows tree of several: nothing is kept but the vectors."""

    vectors: Sequence[Lanes]
    leaf_lanes: int

    @property
    def root(self) -> bytes:
        """The root of the tree."""
        return merkle.rows_root(self.vectors, self.leaf_lanes)

    def leaf(self, index: int) -> bytes:
        """The packed leaf."""
        return merkle.row(self.vectors, self.leaf_lanes, index)

    def proof(self, index: int) -> tuple[bytes, ...]:
        """Its siblings, lowest first."""
        return merkle.rows_proof(self.vectors, self.leaf_lanes, index)

    def unlike(self, right: Vectors) -> int | None:
        """The first leaf that is not that of `right`, slice after slice."""
        if len(self.vectors) != len(right.vectors):
            return 0
        lane = first_difference(self.vectors, right.vectors)
        return None if lane is None else lane // self.leaf_lanes

    def stray(self) -> Node | None:
        """None: a vector has nothing beyond its leaves."""
        return None


@dataclass(frozen=True)
class Leaves:
    """A tree that somebody made of whatever bytes; those behind `count` stand where there must be padding."""

    packed: Sequence[bytes]
    count: int

    @cached_property
    def tree(self) -> merkle.Tree:
        """All digests."""
        return merkle.tree_of(self.packed, (self.count - 1).bit_length())

    @property
    def root(self) -> bytes:
        """The root of the tree."""
        return self.tree.root

    def leaf(self, index: int) -> bytes:
        """The packed leaf."""
        return self.packed[index]

    def proof(self, index: int) -> tuple[bytes, ...]:
        """Its siblings, lowest first."""
        return self.tree.proof(index)

    def unlike(self, right: Vectors) -> int | None:
        """The first leaf that is not that of `right`, leaf after leaf."""
        return next((i for i in range(self.count) if self.packed[i] != right.leaf(i)), None)

    def stray(self) -> Node | None:
        """The first leaf behind `count`."""
        if len(self.packed) <= self.count:
            return None
        digest = self.tree.levels[0][32 * self.count :][:32]
        return Node(0, self.count, digest, self.tree.proof(self.count))


@dataclass(frozen=True)
class SingleLeaf:
    """A tree of which nothing is known but one leaf, with its siblings, and that it is wrong."""

    index: int
    content: bytes
    siblings: tuple[bytes, ...]

    def leaf(self, index: int) -> bytes:
        """The packed leaf, if it is that one."""
        return {self.index: self.content}[index]

    def proof(self, index: int) -> tuple[bytes, ...]:
        """Its siblings, lowest first."""
        return {self.index: self.siblings}[index]

    def unlike(self, right: Vectors) -> int | None:
        """The leaf that was shown."""
        return None if self.content == right.leaf(self.index) else self.index

    def stray(self) -> Node | None:
        """None: what is behind the leaves was not shown."""
        return None


@dataclass(frozen=True)
class Evidence:
    """All that stands behind a proposal, as its challenger sees it."""

    context: ChallengeContext
    candidate: Candidate
    tally: Tally
    words: Sequence[int]  # of all updates of the round
    updates: Sequence[Update]  # all updates of the round
    lanes: Sequence[Lanes]  # of the accepted ones
    before: Model
    model: Source  # what the candidate's root was made of
    rows: Source  # what its rows tree was made of

    @property
    def samples(self) -> tuple[int, ...]:
        """Of the accepted updates, in their order."""
        return tuple(u.samples for u, bit in zip(self.updates, self.tally.accepted, strict=True) if bit)

    def find(self) -> Challenge | None:
        """The challenge that refutes the proposal; None if it is right."""
        if self.candidate.weights != weights_digest(self.samples):
            return WeightsChallenge(self.candidate, self.tally, tuple(self.words), self.samples)
        return self._wrong_rows() or self._wrong_model()

    def _wrong_rows(self) -> Challenge | None:
        right = Vectors(self.lanes, self.context.terms.leaf_lanes)
        index = self.rows.unlike(right)
        if index is None:
            return self._stray(Trees.ROWS, self.rows)
        shown, expected = self.rows.leaf(index), right.leaf(index)
        if len(shown) != len(expected):
            return self._leaf(Trees.ROWS, self.rows, index)
        at = next(i for i in range(0, len(shown), WORD) if shown[i : i + WORD] != expected[i : i + WORD])
        return self.row_challenge(index, *divmod(at, self.context.leaf_bytes))

    def _wrong_model(self) -> Challenge | None:
        terms = self.context.terms
        step = aggregation.aggregate(terms.rule, self.lanes, self.samples, terms.shift, terms.trim)
        right = Vectors([aggregation.apply(self.before, step)], terms.leaf_lanes)
        index = self.model.unlike(right)
        if index is None:
            return self._stray(Trees.MODEL, self.model)
        shown, expected = _ZERO + self.model.leaf(index), _ZERO + right.leaf(index)
        if len(shown) != len(expected):
            return self._leaf(Trees.MODEL, self.model, index)
        lanes = range(terms.leaf_lanes)
        lane = next(i for i in lanes if lane_of(shown, i, MODEL_BYTES) != lane_of(expected, i, MODEL_BYTES))
        return self.sum_challenge(index, lane)

    def sum_challenge(self, leaf: int, lane: int) -> SumChallenge:
        """The challenge of one lane of the new model, wrong or not."""
        terms = self.context.terms
        old = Vectors([self.before], terms.leaf_lanes)
        row, width = _ZERO + self.rows.leaf(leaf), terms.lane_bits // 8
        places = range(lane, (len(row) - 1) // width, terms.leaf_lanes)
        values = [lane_of(row, place, width) for place in places]
        low, high = aggregation.bounds(terms.rule, values, terms.trim) or (0, 0)
        return SumChallenge(
            self.candidate, self.tally, leaf, lane, low, high, self.samples,
            (self.rows.proof(leaf), old.proof(leaf), self.model.proof(leaf)),
            _ZERO + old.leaf(leaf), _ZERO + self.model.leaf(leaf), row,
        )  # fmt: skip

    def row_challenge(self, leaf: int, place: int, at: int) -> RowChallenge:
        """The challenge of the word at byte `at` of accepted update `place` in a row, wrong or not."""
        position = [i for i, bit in enumerate(self.tally.accepted) if bit][place]
        first = position // GROUP * GROUP
        own = Vectors([self.lanes[place]], self.context.terms.leaf_lanes)
        return RowChallenge(
            self.candidate, self.tally, leaf, at // WORD, position, self.updates[position],
            tuple(self.words[first : first + GROUP]), (self.rows.proof(leaf), own.proof(leaf)),
            _ZERO + own.leaf(leaf), _ZERO + self.rows.leaf(leaf),
        )  # fmt: skip

    def _leaf(self, tree: Trees, source: Source, index: int) -> LeafChallenge:
        content = _ZERO + source.leaf(index)
        return LeafChallenge(self.candidate, self.tally, tree, index, source.proof(index), content)

    def _stray(self, tree: Trees, source: Source) -> PaddingChallenge | None:
        node = source.stray()
        if node is None:
            return None
        place = (node.height, node.index, node.digest, node.siblings)
        return PaddingChallenge(self.candidate, self.tally, tree, *place)


def first_difference(these: Sequence[Lanes], others: Sequence[Lanes]) -> int | None:
    """The first lane at which any vector differs from the one at its place among `others`."""
    for start in range(0, len(these[0]), _SLICE):
        places = []
        for one, other in zip(these, others, strict=True):
            differ = one[start : start + _SLICE] != other[start : start + _SLICE]
            if differ.any():
                places.append(start + int(np.argmax(differ)))
        if places:
            return min(places)
    return None
