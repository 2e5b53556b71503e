"""Vectors of the federation on the store: written canonically, read back only after every check."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from bcfl.errors import PayloadError, StoreError, Unavailable
from bcfl.ports import Store, Vector
from bcfl.protocol import aggregation, challenges, cid, fixedpoint, merkle, payload
from bcfl.protocol.fixedpoint import Lanes, Model
from bcfl.protocol.rounds import History, Submission
from bcfl.protocol.types import Block, Layout, Terms

MODEL_BITS = 32


@dataclass(frozen=True)
class Stored:
    """A vector that is on the store: its root, and the digest of its CID."""

    root: bytes
    cid: bytes


@dataclass(frozen=True)
class Packed:
    """A vector in the form that goes on the store, and how the chain names it."""

    stored: Stored
    data: bytes


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
    process that look at the same bytes do so once. `on_touch` hears the CID of all that was written, or read
    and found right. `readers`: how many updates are read side by side, on a store where reading is waiting.
    """

    def __init__(self, store: Store, layout: Layout, terms: Terms, readers: int = 1) -> None:
        self.store, self.layout, self.terms, self.readers = store, layout, terms, readers
        self._checked: dict[tuple[bytes, bytes], Lanes] = {}
        self._made: dict[tuple[bytes, ...], NewModel] = {}
        self._lost: set[bytes] = set()
        self.on_touch: Callable[[str], None] = lambda _: None
        self._lengths: dict[tuple[bytes, bytes], float] = {}
        self._sizes = {bits: payload.size(layout, bits) for bits in (MODEL_BITS, terms.lane_bits)}

    def put(self, lanes: Lanes) -> Stored:
        """Write a vector; returns how the chain names it."""
        return self.publish(self.packed(lanes))

    def packed(self, lanes: Lanes) -> Packed:
        """A vector as the store will hold it, not written yet."""
        data = payload.encode(self.layout, lanes)
        name = cid.compute(data)
        return Packed(Stored(merkle.root(lanes, self.terms.leaf_lanes), cid.digest(name)), data)

    def publish(self, packed: Packed) -> Stored:
        """Write what was packed."""
        self.on_touch(self.store.put(packed.data))
        return packed.stored

    def model(self, block: Block, history: History | None = None) -> Model:
        """The model of a block, as integers; with `history` it is recomputed where its bytes cannot be had.

        Raises Unavailable or another StoreError, or PayloadError, where that does not help either.
        """
        try:
            return self._get(block.root, block.cid, MODEL_BITS)
        except (PayloadError, StoreError):
            if history is None or not block.round:
                raise
            return self._recompute(block, history)

    def fetch_model(self, root: bytes, cid_digest: bytes) -> Model:
        """A proposed model, as integers; raises as `update` does."""
        return self._get(root, cid_digest, MODEL_BITS)

    def values(self, block: Block, history: History | None = None) -> Vector:
        """The model of a block, as floats; `history` is for `model`."""
        return fixedpoint.decode(self.model(block, history), self.terms.scale_bits)

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

    def next_model(self, before: Block, taken: list[Submission], history: History | None = None) -> NewModel:
        """The model that accepted submissions make of the one before; any two machines agree on it."""
        updates = [self.update(item) for item in taken]
        key = (before.root, *(item.update.root + item.update.samples.to_bytes(4, "big") for item in taken))
        if key not in self._made:
            self._made[key] = self._aggregate(self.model(before, history), taken, updates)
        return self._made[key]

    def holds(self, submission: Submission) -> bool:
        """Whether the lanes of a revealed update have been read in this round."""
        return (submission.update.root, submission.update.cid) in self._checked

    def collect(self, submissions: list[Submission]) -> None:
        """Read updates side by side; what nobody gives is given up, what fails is left for `update`.

        So those who withhold their bytes cost as much time as one of them, not as all of them.
        """
        missing = [item for item in submissions if not self.holds(item)]
        if self.readers > 1 and missing:
            with ThreadPoolExecutor(min(self.readers, len(missing))) as pool:
                pool.map(self._collect, missing)

    def _collect(self, item: Submission) -> None:
        try:
            self.update(item)
        except Unavailable:
            self.give_up(item)
        except (PayloadError, StoreError):
            pass

    def give_up(self, submission: Submission) -> None:
        """Until `hope`, or the end of the round, call the bytes of a revealed update unavailable unasked."""
        self._lost.add(submission.update.cid)

    def hope(self) -> None:
        """Look again for what was given up."""
        self._lost.clear()

    def forget(self, keep: Block | None = None) -> None:
        """Drop what is kept in memory, all but the model of one block."""
        name = None if keep is None else (keep.root, keep.cid)
        self._checked = {key: lanes for key, lanes in self._checked.items() if key == name}
        self._lost.clear()
        self._made.clear()
        self._lengths.clear()

    def _recompute(self, block: Block, history: History) -> Model:
        """A model from the last one that can be read and the updates accepted since; the root decides.

        What comes out is put on the store again: its CID is the block's, unless its leader lied about that.
        """
        missing = [block]
        while True:
            before = history.model_before(missing[-1].round)
            try:
                self.model(before)
                break
            except (PayloadError, StoreError):
                if not before.round:
                    raise
                missing.append(before)
        for each in reversed(missing):
            made = self.next_model(history.model_before(each.round), history.rounds[each.round].taken())
            if made.root != each.root:
                raise PayloadError(f"the accepted updates of round {each.round} do not come to its model")
            self._checked[each.root, each.cid] = made.model
            with suppress(StoreError):
                self.store.put(payload.encode(self.layout, made.model))
        return self._checked[block.root, block.cid]

    def _aggregate(self, before: Model, taken: list[Submission], updates: list[Lanes]) -> NewModel:
        terms = self.terms
        samples = [item.update.samples for item in taken]
        step = aggregation.aggregate(terms.rule, updates, samples, terms.shift, terms.trim)
        model = aggregation.apply(before, step)
        rows = challenges.rows_digest(
            challenges.weights_digest(samples), merkle.rows_root(updates, terms.leaf_lanes)
        )
        digest = cid.digest(cid.compute(payload.encode(self.layout, model)))
        return NewModel(model, merkle.root(model, terms.leaf_lanes), digest, rows)

    def _get(self, root: bytes, digest: bytes, lane_bits: int) -> Lanes:
        key = (root, digest)
        if key not in self._checked:
            self._checked[key] = self._read(root, digest, lane_bits)
        return self._checked[key]

    def _read(self, root: bytes, digest: bytes, lane_bits: int) -> Lanes:
        """The vector of that root, checked."""
        name = self.cid_of(digest, lane_bits)
        if digest in self._lost:
            raise Unavailable(f"the bytes of {name} were looked for in vain", name)
        data = self.store.get(name, self._sizes[lane_bits])
        lanes = payload.decode(data, self.layout, lane_bits)
        if merkle.root(lanes, self.terms.leaf_lanes) != root:
            raise PayloadError(f"the bytes of {name} do not have the stated root")
        self.on_touch(name)
        return lanes


def as_matrix(vectors: list[Lanes], terms: Terms) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Updates as float rows: (updates, parameters)."""
    scale = np.float32(2.0 ** (terms.shift - terms.scale_bits))
    return np.stack(vectors).astype(np.float32) * scale
