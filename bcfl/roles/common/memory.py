"""Remember the vectors of a round, and what follows from them, for all archives of one process."""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from typing import Final

from bcfl.protocol import merkle
from bcfl.protocol.fixedpoint import Lanes
from bcfl.roles.common.aggregation import NewModel

MAX_ROOTS: Final = 8_192  # of contents that are remembered, 64 bytes each
Name = tuple[bytes, ...]  # root and CID of a vector; of a sealed update also round and device


class Memory:
    """The vectors that were read, checked or computed in a round; roots stay longer.

    Of what is sealed it holds the wrapped keys, and the key that was right. Whoever asks for the vector has
    to come by the same key: parties of one process do not read what is sealed for others.
    """

    def __init__(self, leaf_lanes: int) -> None:
        self._leaf_lanes = leaf_lanes
        self.vectors: dict[Name, Lanes] = {}
        self.next_models: dict[tuple[bytes, ...], NewModel] = {}
        self.norms: dict[Name, float] = {}
        self.wraps: dict[Name, bytes] = {}  # of sealed updates
        self.keys: dict[Name, bytes] = {}  # that opened what is sealed; of a model by its root alone
        self.unavailable: set[bytes] = set()  # digests of CIDs
        self._roots: dict[bytes, bytes] = {}  # by digest of the content, oldest first

    def forget(self, name: Name | None = None) -> None:
        """Drop everything but the roots, and the one vector of that name."""
        kept = {key: lanes for key, lanes in self.vectors.items() if key == name}
        key = self.keys.get(name[:1]) if name is not None else None
        for content in (self.vectors, self.next_models, self.norms, self.wraps, self.keys):
            content.clear()
        self.unavailable.clear()
        self.vectors.update(kept)
        if name is not None and key is not None:
            self.keys[name[:1]] = key

    def root(self, data: bytes, lanes: Lanes) -> bytes:
        """Return the Merkle root of a vector, computed once for each content: a digest costs far less."""
        content = sha256(data).digest()
        root = self._roots.get(content)
        if root is None:
            root = merkle.root(lanes, self._leaf_lanes)
            if len(self._roots) >= MAX_ROOTS:
                with suppress(StopIteration, KeyError, RuntimeError):
                    del self._roots[next(iter(self._roots))]
            self._roots[content] = root
        return root
