"""Keep the state of py-evm in plain dicts, without tries: what a state root costs is saved, nothing else."""

from __future__ import annotations

from typing import Any

from eth.constants import BLANK_ROOT_HASH
from eth_typing import Address, Hash32

from bcfl.ledger.devnet.accounts import Accounts, Place, World
from bcfl.protocol.hashing import keccak

WHOLE = 64  # states kept whole


class Worlds:
    """Every state by its root: what changed since another; those used last are whole."""

    def __init__(self) -> None:
        self._parents: dict[Hash32, tuple[Hash32, World]] = {}
        self._whole: dict[Hash32, World] = {BLANK_ROOT_HASH: {}}

    def __contains__(self, root: object) -> bool:
        return root in self._whole or root in self._parents

    def copy(self) -> Worlds:
        """Return the same states, of which either may gain others."""
        other = Worlds()
        other._parents, other._whole = dict(self._parents), dict(self._whole)
        return other

    def get(self, root: Hash32) -> World:
        """Return the state with this root."""
        changes: list[World] = []
        start = root
        while start not in self._whole:
            start, change = self._parents[start]
            changes.append(change)
        if changes:
            whole = dict(self._whole[start])
            for change in reversed(changes):
                whole.update(change)
            self._whole[root] = whole
            if len(self._whole) > WHOLE:
                del self._whole[next(root for root in self._whole if root != BLANK_ROOT_HASH)]
        return self._whole[root]

    def add(self, root: Hash32, changes: World) -> Hash32:
        """Keep what a state with this root becomes; return its own."""
        text = repr(sorted(changes.items(), key=repr)).encode()
        child = Hash32(keccak(root + text))
        self._parents[child] = root, changes
        return child


class FlatAccounts(Accounts):
    """The state of all accounts; the places that it changes lie over a world."""

    def __init__(self, db: Any, state_root: Hash32 = BLANK_ROOT_HASH) -> None:
        super().__init__(state_root)
        self._worlds: Worlds = db.worlds
        self._world = self._worlds.get(state_root)

    def _base(self, place: Place) -> Any:
        return self._world.get(place)

    def delete_storage(self, address: Address) -> None:
        places = {*self._world, *self._locked, *self._changes}
        for place in places:
            if isinstance(place, tuple) and place[0] == address:
                self._put(self._changes, place, 0)

    def _moved(self) -> None:
        self._world = self._worlds.get(self._root)

    def has_root(self, state_root: bytes) -> bool:
        return state_root in self._worlds

    def _store(self, changes: World) -> None:
        """Keep the state under the digest of the last root and of what has changed."""
        self.state_root = self._worlds.add(self._root, changes)
