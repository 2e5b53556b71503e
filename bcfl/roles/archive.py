"""Vectors of the federation on the store: written canonically, read back only after every check."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bcfl.errors import PayloadError
from bcfl.ports import Store, Vector
from bcfl.protocol import aggregation, cid, fixedpoint, merkle, payload
from bcfl.protocol.fixedpoint import Lanes, Model
from bcfl.protocol.rounds import Submission
from bcfl.protocol.types import Block, Layout, Terms

MODEL_BITS = 32


@dataclass(frozen=True)
class Stored:
    """A vector that is on the store: its root, and the digest of its CID."""

    root: bytes
    cid: bytes


@dataclass(frozen=True)
class NewModel:
    """What a round's accepted updates come to: everything a leader proposes."""

    model: Model
    root: bytes
    cid: bytes
    rows: bytes


class Archive:
    """Reads and writes the vectors of one federation.

    What was read, checked and computed in this round is kept until `forget`, so that parties of one
    process that look at the same bytes do so once.
    """

    def __init__(self, store: Store, layout: Layout, terms: Terms) -> None:
        self.store, self.layout, self.terms = store, layout, terms
        self._checked: dict[tuple[bytes, bytes], Lanes] = {}
        self._made: dict[tuple[bytes, ...], NewModel] = {}
        self._lengths: dict[tuple[bytes, bytes], float] = {}
        self._sizes = {bits: payload.size(layout, bits) for bits in (MODEL_BITS, terms.lane_bits)}

    def put(self, lanes: Lanes) -> Stored:
        """Write a vector; returns how the chain names it."""
        data = payload.encode(self.layout, lanes)
        return Stored(merkle.root(lanes, self.terms.leaf_lanes), cid.digest(self.store.put(data)))

    def model(self, block: Block) -> Model:
        """The model of a block, as integers."""
        return self._get(block.root, block.cid, MODEL_BITS)

    def fetch_model(self, root: bytes, cid_digest: bytes) -> Model:
        """A proposed model, as integers; raises as `update` does."""
        return self._get(root, cid_digest, MODEL_BITS)

    def values(self, block: Block) -> Vector:
        """The model of a block, as floats."""
        return fixedpoint.decode(self.model(block), self.terms.scale_bits)

    def update(self, submission: Submission) -> Lanes:
        """The lanes of a revealed update.

        Raises Unavailable or another StoreError if its bytes cannot be had, PayloadError if they are
        not canonical or do not have the revealed root.
        """
        return self._get(submission.update.root, submission.update.cid, self.terms.lane_bits)

    def length(self, submission: Submission) -> float:
        """The Euclidean length of a revealed update's values; raises as `update` does, keeps no lanes."""
        key = (submission.update.root, submission.update.cid)
        if key not in self._lengths:
            lanes = self._checked.get(key)
            if lanes is None:
                lanes = self._read(*key, self.terms.lane_bits)
            scale = 2.0 ** (self.terms.shift - self.terms.scale_bits)
            self._lengths[key] = float(np.linalg.norm(lanes.astype(np.float64))) * scale
        return self._lengths[key]

    def cid_of(self, digest: bytes, lane_bits: int = MODEL_BITS) -> str:
        """The CID that a digest on chain stands for."""
        return cid.from_digest(digest, self._sizes[lane_bits])

    def next_model(self, before: Block, taken: list[Submission]) -> NewModel:
        """The model that accepted submissions make of the one before; any two machines agree on it."""
        updates = [self.update(item) for item in taken]
        key = (before.root, *(item.update.root + item.update.samples.to_bytes(4, "big") for item in taken))
        if key not in self._made:
            self._made[key] = self._aggregate(before, taken, updates)
        return self._made[key]

    def forget(self) -> None:
        """Drop what is kept in memory."""
        self._checked.clear()
        self._made.clear()
        self._lengths.clear()

    def _aggregate(self, before: Block, taken: list[Submission], updates: list[Lanes]) -> NewModel:
        terms = self.terms
        samples = [item.update.samples for item in taken]
        step = aggregation.aggregate(terms.rule, updates, samples, terms.shift, terms.trim)
        model = aggregation.apply(self.model(before), step)
        rows = merkle.rows_root(updates, terms.leaf_lanes)
        digest = cid.digest(cid.compute(payload.encode(self.layout, model)))
        return NewModel(model, merkle.root(model, terms.leaf_lanes), digest, rows)

    def _get(self, root: bytes, digest: bytes, lane_bits: int) -> Lanes:
        key = (root, digest)
        if key not in self._checked:
            self._checked[key] = self._read(root, digest, lane_bits)
        return self._checked[key]

    def _read(self, root: bytes, digest: bytes, lane_bits: int) -> Lanes:
        """The vector of that root, checked."""
        data = self.store.get(self.cid_of(digest, lane_bits), self._sizes[lane_bits])
        lanes = payload.decode(data, self.layout, lane_bits)
        if merkle.root(lanes, self.terms.leaf_lanes) != root:
            raise PayloadError(f"the bytes of {self.cid_of(digest, lane_bits)} do not have the stated root")
        return lanes


def as_matrix(vectors: list[Lanes], terms: Terms) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Updates as float rows: (updates, parameters)."""
    scale = np.float32(2.0 ** (terms.shift - terms.scale_bits))
    return np.stack(vectors).astype(np.float32) * scale
