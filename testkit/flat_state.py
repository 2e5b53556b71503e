"""Keep the state of py-evm in plain dicts, without tries: what a state root costs is saved, nothing else."""

from __future__ import annotations

from typing import Any, NamedTuple

from eth.abc import AccountDatabaseAPI, MetaWitnessAPI
from eth.constants import BLANK_ROOT_HASH
from eth.db.journal import get_next_checkpoint
from eth.db.witness import MetaWitness
from eth.typing import JournalDBCheckpoint
from eth_typing import Address, Hash32

from bcfl.protocol.hashing import keccak


class FlatAccount(NamedTuple):
    """What the state says of one account."""

    nonce: int = 0
    balance: int = 0  # wei
    code: bytes = b""
    code_hash: Hash32 = Hash32(keccak(b""))


Place = Address | tuple[Address, int]  # an account, or a slot of its storage
World = dict[Place, Any]  # a FlatAccount (None: deleted) or a word at each place
EMPTY = FlatAccount()
WHOLE = 64  # states kept whole
_ABSENT = object()


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


class FlatAccounts(AccountDatabaseAPI):
    """The state of all accounts, with what py-evm asks of it; the places that it changes lie over a world."""

    def __init__(self, db: Any, state_root: Hash32 = BLANK_ROOT_HASH) -> None:
        self._worlds: Worlds = db.worlds
        self._root, self._world = state_root, self._worlds.get(state_root)
        self._locked: World = {}  # of earlier transactions of the block
        self._changes: World = {}
        self._undo: list[tuple[World, Place, Any]] = []  # what was at a place before; no entry: _ABSENT
        self._warm: World = {}  # places that the transaction has used
        self._checkpoints: dict[JournalDBCheckpoint, int] = {}

    # Places.

    def _original(self, place: Place) -> Any:
        """Return what was at a place when the transaction began."""
        value = self._locked.get(place, _ABSENT)
        return self._world.get(place) if value is _ABSENT else value

    def _get(self, place: Place) -> Any:
        value = self._changes.get(place, _ABSENT)
        return self._original(place) if value is _ABSENT else value

    def _put(self, world: World, place: Place, value: Any) -> None:
        self._undo.append((world, place, world.get(place, _ABSENT)))
        world[place] = value

    def _account(self, address: Address) -> FlatAccount:
        return self._get(address) or EMPTY

    # Storage.

    def get_storage(self, address: Address, slot: int, from_journal: bool = True) -> int:
        return (self._get if from_journal else self._original)((address, slot)) or 0

    def set_storage(self, address: Address, slot: int, value: int) -> None:
        self._put(self._changes, (address, slot), value)

    def delete_storage(self, address: Address) -> None:
        places = {*self._world, *self._locked, *self._changes}
        for place in places:
            if isinstance(place, tuple) and place[0] == address:
                self._put(self._changes, place, 0)

    def is_storage_warm(self, address: Address, slot: int) -> bool:
        return (address, slot) in self._warm

    def mark_storage_warm(self, address: Address, slot: int) -> None:
        if (address, slot) not in self._warm:
            self._put(self._warm, (address, slot), True)

    # Accounts.

    def get_balance(self, address: Address) -> int:
        return self._account(address).balance

    def set_balance(self, address: Address, balance: int) -> None:
        self._put(self._changes, address, self._account(address)._replace(balance=balance))

    def get_nonce(self, address: Address) -> int:
        return self._account(address).nonce

    def set_nonce(self, address: Address, nonce: int) -> None:
        self._put(self._changes, address, self._account(address)._replace(nonce=nonce))

    def increment_nonce(self, address: Address) -> None:
        self.set_nonce(address, self.get_nonce(address) + 1)

    def set_code(self, address: Address, code: bytes) -> None:
        account = self._account(address)._replace(code=code, code_hash=Hash32(keccak(code)))
        self._put(self._changes, address, account)

    def get_code(self, address: Address) -> bytes:
        return self._account(address).code

    def get_code_hash(self, address: Address) -> Hash32:
        return self._account(address).code_hash

    def delete_code(self, address: Address) -> None:
        self.set_code(address, b"")

    def account_has_code_or_nonce(self, address: Address) -> bool:
        account = self._account(address)
        return bool(account.nonce or account.code)

    def delete_account(self, address: Address) -> None:
        if self.account_has_code_or_nonce(address):  # an account without has no storage
            self.delete_storage(address)
        self._put(self._changes, address, None)

    def account_exists(self, address: Address) -> bool:
        return self._get(address) is not None

    def touch_account(self, address: Address) -> None:
        self._put(self._changes, address, self._account(address))

    def account_is_empty(self, address: Address) -> bool:
        account = self._account(address)
        return not (account.nonce or account.code or account.balance)

    def is_address_warm(self, address: Address) -> bool:
        return address in self._warm

    def mark_address_warm(self, address: Address) -> None:
        if address not in self._warm:
            self._put(self._warm, address, True)

    # Going back and making lasting.

    def record(self) -> JournalDBCheckpoint:
        checkpoint = get_next_checkpoint()
        self._checkpoints[checkpoint] = len(self._undo)
        return checkpoint

    def discard(self, checkpoint: JournalDBCheckpoint) -> None:
        for _ in range(len(self._undo) - self._checkpoints.pop(checkpoint)):
            world, place, value = self._undo.pop()
            if value is _ABSENT:
                del world[place]
            else:
                world[place] = value

    def commit(self, checkpoint: JournalDBCheckpoint) -> None:
        self._checkpoints.pop(checkpoint, None)

    def lock_changes(self) -> None:
        self._locked.update(self._changes)
        for entries in (self._changes, self._warm, self._undo, self._checkpoints):
            entries.clear()

    @property
    def state_root(self) -> Hash32:
        return self._root

    @state_root.setter
    def state_root(self, value: Hash32) -> None:
        if value != self._root:
            self._root, self._world = value, self._worlds.get(value)

    def has_root(self, state_root: bytes) -> bool:
        return state_root in self._worlds

    def make_state_root(self) -> Hash32:
        """Keep the state under the digest of the last root and of what has changed."""
        self.lock_changes()
        if self._locked:
            self.state_root, self._locked = self._worlds.add(self._root, self._locked), {}
        return self._root

    def persist(self) -> MetaWitnessAPI:
        self.make_state_root()
        return MetaWitness(set(), {})
