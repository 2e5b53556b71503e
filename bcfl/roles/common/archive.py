"""Keep the vectors of a federation on its store: write them canonically, read them only after every check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import numpy as np

from bcfl.errors import PayloadError, StoreError, Unavailable
from bcfl.ports import Matrix, Store, Vector
from bcfl.protocol import cid, fixedpoint, merkle, payload
from bcfl.protocol.fixedpoint import Lanes, Model
from bcfl.protocol.limits import MODEL_BITS
from bcfl.protocol.rounds import History, Submission
from bcfl.protocol.types import Block, Layout, Terms
from bcfl.roles.common import aggregation
from bcfl.roles.common.aggregation import NewModel

MAX_ROOTS: Final = 8_192  # of contents that are remembered, 64 bytes each


@dataclass(frozen=True)
class StoredVector:
    """How the chain names a vector: its Merkle root, and the digest of its CID."""

    root: bytes
    cid: bytes


@dataclass(frozen=True)
class PackedVector:
    """A vector as bytes for the store, and how the chain names it."""

    stored: StoredVector
    data: bytes


class Archive:
    """The vectors of one federation on a store.

    Vectors that were read, checked or computed in a round stay in memory until `forget`, so that parties of
    one process that look at the same bytes do so once; roots stay longer. `on_touch` is called with the CID
    of every vector that was written, or read and found right. `readers` updates are read side by side, for
    stores across a network. Raises ConfigError for terms that count other parameters than the layout.
    """

    def __init__(self, store: Store, layout: Layout, terms: Terms, readers: int = 1) -> None:
        payload.require_parameters(layout, terms)
        self.store, self.layout, self.terms, self.readers = store, layout, terms, readers
        self._vectors: dict[tuple[bytes, bytes], Lanes] = {}  # by root and CID
        self._next_models: dict[tuple[bytes, ...], NewModel] = {}
        self._roots: dict[bytes, bytes] = {}  # by digest of the content, oldest first
        self._unavailable: set[bytes] = set()  # digests of CIDs
        self.on_touch: Callable[[str], None] = lambda _: None
        self._norms: dict[tuple[bytes, bytes], float] = {}
        self._sizes = {bits: payload.size(layout, bits) for bits in (MODEL_BITS, terms.lane_bits)}

    def put(self, lanes: Lanes) -> StoredVector:
        """Write a vector, (parameters,), and return how the chain names it."""
        return self.publish(self.pack(lanes))

    def pack(self, lanes: Lanes) -> PackedVector:
        """Encode a vector, (parameters,), as the store will hold it, without writing it."""
        data = payload.encode(self.layout, lanes)
        name = cid.compute(data)
        return PackedVector(StoredVector(self._root(data, lanes), cid.digest(name)), data)

    def publish(self, vector: PackedVector) -> StoredVector:
        """Write a packed vector."""
        self.on_touch(self.store.put(vector.data))
        return vector.stored

    def model(self, block: Block, history: History | None = None) -> Model:
        """Return the model of a block as integers, (parameters,).

        With `history` it is looked for under every CID that was stated for it, and recomputed where its bytes
        cannot be had. Raises Unavailable or another StoreError, or PayloadError, where that does not help
        either.
        """
        try:
            return self._get(block.root, block.cid, MODEL_BITS)
        except (PayloadError, StoreError):
            if history is None or not block.round:
                raise
        for digest in history.model_cids(block)[1:]:
            with suppress(PayloadError, StoreError):
                self._vectors[block.root, block.cid] = self._read(block.root, digest, MODEL_BITS)
                return self._vectors[block.root, block.cid]
        return self._recompute(block, history)

    def fetch_model(self, root: bytes, cid_digest: bytes) -> Model:
        """Return a proposed model as integers, (parameters,); raises as `update` does."""
        return self._get(root, cid_digest, MODEL_BITS)

    def values(self, block: Block, history: History | None = None) -> Vector:
        """Return the model of a block as floats, (parameters,); `history` and errors as in `model`."""
        return fixedpoint.decode(self.model(block, history), self.terms.scale_bits)

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """Read without touching: what is read within has to be kept by nobody for that."""
        on_touch, self.on_touch = self.on_touch, lambda _: None
        try:
            yield
        finally:
            self.on_touch = on_touch

    def update(self, submission: Submission) -> Lanes:
        """Return the lanes of a revealed update, (parameters,).

        Raises Unavailable or another StoreError if its bytes cannot be had, PayloadError if they are
        not canonical or do not have the revealed root.
        """
        return self._get(submission.update.root, submission.update.cid, self.terms.lane_bits)

    def norm(self, submission: Submission) -> float:
        """Return the Euclidean norm of a revealed update's values and keep only that; raises as `update`."""
        key = (submission.update.root, submission.update.cid)
        if key not in self._norms:
            lanes = self._vectors.get(key)
            if lanes is None:
                lanes = self._read(*key, self.terms.lane_bits)
            scale = 2.0 ** (self.terms.shift - self.terms.scale_bits)
            self._norms[key] = float(np.linalg.norm(lanes.astype(np.float64))) * scale
        return self._norms[key]

    def cid_of(self, digest: bytes, lane_bits: int = MODEL_BITS) -> str:
        """Return the CID that a digest on chain stands for."""
        return cid.from_digest(digest, self._sizes[lane_bits])

    def next_model(
        self, parent: Block, submissions: list[Submission], history: History | None = None
    ) -> NewModel:
        """Return the model that accepted submissions make of a block's; raises as `update` and `model` do."""
        updates = [self.update(item) for item in submissions]
        names = (item.update.root + item.weight.to_bytes(4, "big") for item in submissions)
        key = (parent.root, *names)
        if key not in self._next_models:
            model = self.model(parent, history)
            self._next_models[key] = aggregation.next_model(
                model, submissions, updates, self.layout, self.terms, self._root
            )
        return self._next_models[key]

    def holds(self, submission: Submission) -> bool:
        """Return whether the lanes of a revealed update have been read in this round."""
        return (submission.update.root, submission.update.cid) in self._vectors

    def is_given(self, submission: Submission) -> bool:
        """Return whether the store itself gives the lanes of an update now, whatever is in memory."""
        try:
            self._read(submission.update.root, submission.update.cid, self.terms.lane_bits)
        except (PayloadError, StoreError):
            return False
        return True

    def collect(self, submissions: list[Submission]) -> None:
        """Read updates side by side: mark those that nobody gives, leave other failures to `update`.

        So devices that withhold their bytes cost as much time as one of them, not as all of them.
        """
        missing = [item for item in submissions if not self.holds(item)]
        if self.readers > 1 and missing:
            with ThreadPoolExecutor(min(self.readers, len(missing))) as pool:
                pool.map(self._collect, missing)

    def _collect(self, submission: Submission) -> None:
        try:
            self.update(submission)
        except Unavailable:
            self.mark_unavailable(submission)
        except (PayloadError, StoreError):
            pass

    def mark_unavailable(self, submission: Submission) -> None:
        """Refuse an update without asking the store, until `clear_unavailable` or the end of the round."""
        self._unavailable.add(submission.update.cid)

    def clear_unavailable(self) -> None:
        """Ask the store again for updates that were marked unavailable."""
        self._unavailable.clear()

    def forget(self, keep: Block | None = None) -> None:
        """Drop everything in memory but the model of one block."""
        name = None if keep is None else (keep.root, keep.cid)
        self._vectors = {key: lanes for key, lanes in self._vectors.items() if key == name}
        self._unavailable.clear()
        self._next_models.clear()
        self._norms.clear()

    def _recompute(self, block: Block, history: History) -> Model:
        """Compute a model from the last one that can be read and the updates accepted since; check its root.

        The result is put on the store again: its CID is the block's, unless its leader lied about that.
        """
        missing = [block]
        while True:
            parent = history.model_before(missing[-1].round)
            try:
                self.model(parent)
                break
            except (PayloadError, StoreError):
                if not parent.round:
                    raise
                missing.append(parent)
        for each in reversed(missing):
            result = self.next_model(
                history.model_before(each.round), history.rounds[each.round].accepted_submissions()
            )
            if result.root != each.root:
                raise PayloadError(f"the accepted updates of round {each.round} do not come to its model")
            self._vectors[each.root, each.cid] = result.model
            with suppress(StoreError):
                self.store.put(payload.encode(self.layout, result.model))
        return self._vectors[block.root, block.cid]

    def _root(self, data: bytes, lanes: Lanes) -> bytes:
        """Return the Merkle root of a vector, computed once for each content: a digest costs far less."""
        content = sha256(data).digest()
        root = self._roots.get(content)
        if root is None:
            root = merkle.root(lanes, self.terms.leaf_lanes)
            if len(self._roots) >= MAX_ROOTS:
                with suppress(StopIteration, KeyError, RuntimeError):
                    del self._roots[next(iter(self._roots))]
            self._roots[content] = root
        return root

    def _get(self, root: bytes, digest: bytes, lane_bits: int) -> Lanes:
        key = (root, digest)
        if key not in self._vectors:
            self._vectors[key] = self._read(root, digest, lane_bits)
        return self._vectors[key]

    def _read(self, root: bytes, digest: bytes, lane_bits: int) -> Lanes:
        """Read the vector of a root from the store and check it."""
        name = self.cid_of(digest, lane_bits)
        if digest in self._unavailable:
            raise Unavailable(f"the bytes of {name} were looked for in vain", name)
        data = self.store.get(name, self._sizes[lane_bits])
        lanes = payload.decode(data, self.layout, lane_bits)
        if self._root(data, lanes) != root:
            raise PayloadError(f"the bytes of {name} do not have the stated root")
        self.on_touch(name)
        return lanes


def as_matrix(updates: list[Lanes], terms: Terms) -> Matrix:
    """Return the lanes of updates as float rows, (updates, parameters)."""
    scale = np.float32(2.0 ** (terms.shift - terms.scale_bits))
    return np.stack(updates).astype(np.float32) * scale
