"""Keep the vectors of a federation on its store: write them canonically, read them only after every check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass
from typing import Self

import numpy as np

from bcfl.errors import PayloadError, Sealed, StoreError, Unavailable
from bcfl.ports import Store, Vector
from bcfl.protocol import cid, fixedpoint, payload, sealing
from bcfl.protocol.accounts import Account
from bcfl.protocol.fixedpoint import Lanes, Model
from bcfl.protocol.hashing import word
from bcfl.protocol.limits import MODEL_BITS
from bcfl.protocol.rounds import History, Round, Submission
from bcfl.protocol.sizes import Sizes
from bcfl.protocol.types import Block, Layout, Terms
from bcfl.roles.common import aggregation
from bcfl.roles.common.aggregation import NewModel
from bcfl.roles.common.memory import Memory, Name
from bcfl.roles.common.vault import Vault, opened


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
    stores across a network. `vault` holds the keys of whoever reads; without it what is sealed stays so.
    Raises ConfigError for terms that count other parameters than the layout.
    """

    def __init__(
        self, store: Store, layout: Layout, terms: Terms, readers: int = 1, vault: Vault | None = None
    ) -> None:
        payload.require_parameters(layout, terms)
        self.store, self.layout, self.terms, self.readers, self.vault = store, layout, terms, readers, vault
        self.sizes = Sizes(layout, terms.lane_bits)
        self.privacy = self.sizes.privacy
        self._memory = Memory(terms.leaf_lanes)
        self.on_touch: Callable[[str], None] = lambda _: None

    def of_party(self, vault: Vault) -> Self:
        """Return this archive as a party sees it: the same store and memory, and its own keys."""
        archive = copy(self)
        archive.vault = vault
        return archive

    def put(self, lanes: Lanes) -> StoredVector:
        """Write a vector, (parameters,), and return how the chain names it."""
        return self.publish(self.pack(lanes))

    def pack(self, lanes: Lanes) -> PackedVector:
        """Encode a vector, (parameters,), as the store will hold it, without writing it."""
        return _packed(*self.encode(lanes))

    def encode(self, lanes: Lanes) -> tuple[bytes, bytes]:
        """Return the payload of a vector, (parameters,), and its root."""
        data = payload.encode(self.layout, lanes)
        return data, self._memory.root(data, lanes)

    def pack_update(self, lanes: Lanes, round_: Round, device: int, account: Account) -> PackedVector:
        """Encode a device's update, (parameters,), for a round: sealed for its voters, if that is agreed."""
        if not self.privacy.confidential:
            return self.pack(lanes)
        plain, root = self.encode(lanes)
        seal = sealing.Seal(self._require_vault().domain, round_.number, device, root)
        return _packed(sealing.seal_update(plain, seal, account, list(round_.readers.values())), root)

    def publish(self, vector: PackedVector) -> StoredVector:
        """Write a packed vector."""
        self.on_touch(self.store.put(vector.data))
        return vector.stored

    def publish_model(self, model: NewModel) -> bytes:
        """Write the model of a round, sealed if that is agreed, and return the digest of its CID."""
        data = payload.encode(self.layout, model.model)
        if model.key:
            data = sealing.seal_model(data, model.key, self._require_vault().domain, model.round, model.root)
        return self.publish(_packed(data, model.root)).cid

    def model(self, block: Block, history: History | None = None) -> Model:
        """Return the model of a block as integers, (parameters,).

        With `history` it is looked for under every CID that was stated for it, and recomputed where its bytes
        cannot be had. Raises Unavailable or another StoreError, or PayloadError, where that does not help
        either.
        """
        try:
            return self.fetch_model(block.round, block.root, block.cid)
        except (PayloadError, StoreError):
            if history is None or not block.round:
                raise
        for digest in history.model_cids(block)[1:]:
            with suppress(PayloadError, StoreError):
                lanes = self._read_model(block.round, block.root, digest)
                self._memory.vectors[block.root, block.cid] = lanes
                return lanes
        return self._recompute(block, history)

    def fetch_model(self, number: int, root: bytes, digest: bytes) -> Model:
        """Return a round's model, be it final or proposed, as integers, (parameters,); raises as `update`."""
        if (root, digest) not in self._memory.vectors or not self._has_model_key(number, root):
            self._memory.vectors[root, digest] = self._read_model(number, root, digest)
        return self._memory.vectors[root, digest]

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

    def update(self, submission: Submission, *, asks: bool = True) -> Lanes:
        """Return the lanes of a revealed update, (parameters,).

        With `asks`, other miners are asked for a key that is missing. Raises Unavailable or another
        StoreError if its bytes cannot be had, Sealed if no key opens them, PayloadError if they are not
        canonical or do not have the revealed root.
        """
        name = self._name(submission)
        if name not in self._memory.vectors or not self._is_open(submission, asks):
            self._memory.vectors[name] = self._read_update(submission, asks)
        return self._memory.vectors[name]

    def norm(self, submission: Submission) -> float:
        """Return the Euclidean norm of a revealed update's values and keep only that; raises as `update`."""
        name, norms = self._name(submission), self._memory.norms
        if name not in norms or not self._is_open(submission, asks=False):
            lanes = self._memory.vectors.get(name)
            if lanes is None or not self._is_open(submission, asks=False):
                lanes = self._read_update(submission, asks=False)
            scale = 2.0 ** (self.terms.shift - self.terms.scale_bits)
            norms[name] = float(np.linalg.norm(lanes.astype(np.float64))) * scale
        return norms[name]

    def asks_norms(self, number: int) -> bool:
        """Whether this party cannot read a round's updates, and has to ask for what follows from them."""
        return self.privacy.confidential and self.vault is not None and not self.vault.is_reader(number)

    def next_model(
        self, parent: Block, submissions: list[Submission], history: History | None = None
    ) -> NewModel:
        """Return the model that accepted submissions make of a block's; raises as `update` and `model` do."""
        updates = [self.update(item) for item in submissions]
        names = (b"".join(self._name(item)) + item.weight.to_bytes(4, "big") for item in submissions)
        key = (parent.root, *names)
        known = self._memory.next_models
        if key not in known:
            model = self.model(parent, history)
            known[key] = aggregation.next_model(
                model,
                submissions,
                updates,
                self.layout,
                self.terms,
                self._memory.root,
                self._sealing(submissions),
            )
        if known[key].key:
            self._require_vault().remember_model(known[key].round, known[key].root, known[key].key)
            self._memory.keys[(known[key].root,)] = known[key].key
        return known[key]

    def holds(self, submission: Submission) -> bool:
        """Return whether the lanes of a revealed update have been read in this round."""
        return self._name(submission) in self._memory.vectors

    def is_given(self, submission: Submission) -> bool:
        """Return whether the store itself gives the lanes of an update now, whatever is in memory."""
        try:
            self._read_update(submission, asks=False)
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
            self.update(submission, asks=False)
        except (PayloadError, StoreError) as error:
            if isinstance(error, Unavailable) and not isinstance(error, Sealed):
                self.mark_unavailable(submission)

    def mark_unavailable(self, submission: Submission) -> None:
        """Refuse an update without asking the store, until `clear_unavailable` or the end of the round."""
        self._memory.unavailable.add(submission.update.cid)

    def clear_unavailable(self) -> None:
        """Ask the store again for updates that were marked unavailable."""
        self._memory.unavailable.clear()

    def forget(self, keep: Block | None = None) -> None:
        """Drop everything in memory but the model of one block."""
        self._memory.forget(None if keep is None else (keep.root, keep.cid))

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
            self._memory.vectors[each.root, each.cid] = result.model
            with suppress(StoreError):
                self.publish_model(result)
        return self._memory.vectors[block.root, block.cid]

    def _name(self, submission: Submission) -> Name:
        """Return what an update is remembered by; what is sealed for one place is nothing for another."""
        update = submission.update
        place = (word(update.round), word(update.device)) if self.privacy.confidential else ()
        return (update.root, update.cid, *place)

    def _is_open(self, submission: Submission, asks: bool) -> bool:
        """Whether this party has the key of an update that is in memory; so is one that is public."""
        if not self.privacy.confidential:
            return True
        name, vault = self._name(submission), self.vault
        right, wraps = self._memory.keys.get(name), self._memory.wraps.get(name)
        if vault is None or right is None or wraps is None:
            return False
        for key in vault.content_keys(submission, wraps, asks):
            if key == right:
                vault.remember(submission, key)
                return True
        return False

    def _read_update(self, submission: Submission, asks: bool) -> Lanes:
        """Read an update from the store and check it."""
        name = self.sizes.update_cid(submission)
        data = self._get(name, submission.update.cid, self.sizes.update(submission.readers))
        if self.privacy.confidential:
            lanes = self._open(submission, data, name, asks)
        else:
            lanes = self._decode(data, self.terms.lane_bits, submission.update.root, name)
        self.on_touch(name)
        return lanes

    def _open(self, submission: Submission, data: bytes, name: str, asks: bool) -> Lanes:
        """Return the lanes, (parameters,), of a sealed update, by the first key that opens what has the root.

        Raises PayloadError where the device's own key opens something else, and nobody has a better one.
        """
        if self.vault is None:
            raise Sealed(f"{name} is sealed, and there are no keys here", name)
        readers, seal = submission.readers, self.vault.seal(submission)
        wraps, bits = sealing.wraps_of(data, readers), self.terms.lane_bits
        lanes, key = opened(
            self.vault.content_keys(submission, wraps, asks),
            lambda key: sealing.open_update(data, readers, key, seal),
            lambda plain: self._decode(plain, bits, submission.update.root, name),
            name,
        )
        self.vault.remember(submission, key)
        self._memory.wraps[self._name(submission)] = wraps
        self._memory.keys[self._name(submission)] = key
        return lanes

    def _has_model_key(self, number: int, root: bytes) -> bool:
        """Whether this party has the key of a model that is in memory; so is one that is public."""
        if not self.sizes.seals_model(number):
            return True
        right, vault = self._memory.keys.get((root,)), self.vault
        return vault is not None and right is not None and right in vault.model_keys(number, root, asks=True)

    def _read_model(self, number: int, root: bytes, digest: bytes) -> Lanes:
        """Read a round's model from the store and check it."""
        name = self.sizes.model_cid(number, digest)
        data = self._get(name, digest, self.sizes.model(number))
        if self.sizes.seals_model(number):
            lanes = self._open_model(number, root, digest, data)
        else:
            lanes = self._decode(data, MODEL_BITS, root, name)
        self.on_touch(name)
        return lanes

    def _open_model(self, number: int, root: bytes, digest: bytes, data: bytes) -> Lanes:
        name = self.sizes.model_cid(number, digest)
        if self.vault is None:
            raise Sealed(f"{name} is sealed for the members, and there are no keys here", name)
        domain = self.vault.domain
        lanes, key = opened(
            self._model_keys(self.vault, number, root),
            lambda key: sealing.open_model(data, key, domain, number, root),
            lambda plain: self._decode(plain, MODEL_BITS, root, name),
            name,
        )
        self.vault.remember_model(number, root, key)
        self._memory.keys[(root,)] = key
        return lanes

    def _model_keys(self, vault: Vault, number: int, root: bytes) -> Iterator[bytes]:
        """Yield keys that may open the model of a round, as far as this party has or gets them.

        A voter that remembers nothing reads the round's updates again, whose content keys make the model's.
        """
        yield from vault.model_keys(number, root, asks=True)
        accepted = vault.accepted(number)
        if vault.is_reader(number) and any(vault.key_of(item) is None for item in accepted):
            with self.untouched():
                for item in accepted:
                    with suppress(PayloadError, StoreError):
                        self._read_update(item, asks=False)
            yield from vault.model_keys_of(number, root, accepted)

    def _sealing(self, submissions: list[Submission]) -> Callable[[bytes, bytes], tuple[bytes, bytes]]:
        """Return what makes the bytes of a round's model on the store, and its key, of payload and root."""
        if not self.privacy.members:
            return lambda data, _: (data, b"")
        vault, number = self._require_vault(), submissions[0].update.round

        def seal(data: bytes, root: bytes) -> tuple[bytes, bytes]:
            key = next(iter(vault.model_keys_of(number, root, submissions)))
            return sealing.seal_model(data, key, vault.domain, number, root), key

        return seal

    def _decode(self, data: bytes, lane_bits: int, root: bytes, name: str) -> Lanes:
        """Return the lanes of a payload, (parameters,); raises PayloadError unless they have the root."""
        lanes = payload.decode(data, self.layout, lane_bits)
        if self._memory.root(data, lanes) != root:
            raise PayloadError(f"the bytes of {name} do not have the stated root")
        return lanes

    def _get(self, name: str, digest: bytes, size: int) -> bytes:
        if digest in self._memory.unavailable:
            raise Unavailable(f"the bytes of {name} were looked for in vain", name)
        data = self.store.get(name, size)
        if self.privacy.confidential and len(data) != size:
            raise PayloadError(f"{name} has {len(data)} bytes, expected {size}")
        return data

    def _require_vault(self) -> Vault:
        if self.vault is None:
            raise Sealed("what this federation seals cannot be written without a member's keys")
        return self.vault


def _packed(data: bytes, root: bytes) -> PackedVector:
    return PackedVector(StoredVector(root, cid.digest(cid.compute(data))), data)
