"""Hold the state of accounts while py-evm computes: what changes lies over what was, in plain dictionaries.

py-evm's own state goes through a journal, a cache, and RLP for each account and each word of storage. Here
only what a block has changed in the end goes into tries, which give the same roots.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Final, NamedTuple, cast

from eth.abc import AccountDatabaseAPI, MetaWitnessAPI
from eth.db.journal import get_next_checkpoint
from eth.db.witness import MetaWitness
from eth.typing import JournalDBCheckpoint
from eth.validation import validate_canonical_address, validate_uint256
from eth_typing import Address, Hash32

from bcfl.ledger.devnet.tries import (
    BLANK_ROOT,
    Nodes,
    Tries,
    parts_of,
    rlp_list,
    rlp_number,
    rlp_string,
    string_of,
)
from bcfl.protocol.hashing import keccak

NO_CODE: Final = Hash32(keccak(b""))
NO_STORAGE: Final = Hash32(BLANK_ROOT)
KNOWN: Final = 4_096  # places of a state that are kept for the next, with what is there
READ: Final = 16 * KNOWN  # places that are kept of one state, whoever asks for them


class FlatAccount(NamedTuple):
    """What the state says of one account; its storage as it was when the block began."""

    nonce: int = 0
    balance: int = 0  # wei
    code: bytes = b""
    code_hash: Hash32 = NO_CODE
    storage_root: Hash32 = NO_STORAGE


Place = Address | tuple[Address, int]  # an account, or a slot of its storage
World = dict[Place, Any]  # a FlatAccount (None: deleted) or a word at each place
EMPTY: Final = FlatAccount()
ABSENT: Final = object()


class Accounts(AccountDatabaseAPI):
    """The state of all accounts, with what py-evm asks of it, over a state that `_base` knows."""

    def __init__(self, root: Hash32) -> None:
        self._root = root
        self._locked: World = {}  # of earlier transactions of the block
        self._changes: World = {}
        self._undo: list[tuple[World, Place, Any]] = []  # what was at a place before; no entry: ABSENT
        self._warm: World = {}  # places that the transaction has used
        self._checkpoints: dict[JournalDBCheckpoint, int] = {}

    # Places.

    @abstractmethod
    def _base(self, place: Place) -> Any:
        """Return what was at a place when the block began."""

    def _original(self, place: Place) -> Any:
        """Return what was at a place when the transaction began."""
        value = self._locked.get(place, ABSENT)
        return self._base(place) if value is ABSENT else value

    def _get(self, place: Place) -> Any:
        value = self._changes.get(place, ABSENT)
        return self._original(place) if value is ABSENT else value

    def _put(self, world: World, place: Place, value: Any) -> None:
        self._undo.append((world, place, world.get(place, ABSENT)))
        world[place] = value

    def _account(self, address: Address) -> FlatAccount:
        return self._get(address) or EMPTY

    # Storage.

    def get_storage(self, address: Address, slot: int, from_journal: bool = True) -> int:
        """Return a word, as it is now or, not `from_journal`, as it was when the transaction began."""
        return (self._get if from_journal else self._original)((address, slot)) or 0

    def set_storage(self, address: Address, slot: int, value: int) -> None:
        """Put a word into a slot."""
        self._put(self._changes, (address, slot), value)

    def delete_storage(self, address: Address) -> None:
        """Clear all slots that have changed in this block."""
        for place in {*self._locked, *self._changes}:
            if isinstance(place, tuple) and place[0] == address:
                self._put(self._changes, place, 0)

    def is_storage_warm(self, address: Address, slot: int) -> bool:
        """Whether the transaction has used a slot."""
        return (address, slot) in self._warm

    def mark_storage_warm(self, address: Address, slot: int) -> None:
        """Note that the transaction uses a slot."""
        if (address, slot) not in self._warm:
            self._put(self._warm, (address, slot), True)

    # Accounts.

    def get_balance(self, address: Address) -> int:
        """Return the wei of an account."""
        return self._account(address).balance

    def set_balance(self, address: Address, balance: int) -> None:
        """Give an account so many wei."""
        self._put(self._changes, address, self._account(address)._replace(balance=balance))

    def get_nonce(self, address: Address) -> int:
        """Return how many transactions an account has sent, or contracts it has made."""
        return self._account(address).nonce

    def set_nonce(self, address: Address, nonce: int) -> None:
        """Put a nonce."""
        self._put(self._changes, address, self._account(address)._replace(nonce=nonce))

    def increment_nonce(self, address: Address) -> None:
        """Count one more."""
        self.set_nonce(address, self.get_nonce(address) + 1)

    def set_code(self, address: Address, code: bytes) -> None:
        """Put the code of a contract."""
        account = self._account(address)._replace(code=code, code_hash=Hash32(keccak(code)))
        self._put(self._changes, address, account)

    def get_code(self, address: Address) -> bytes:
        """Return the code of a contract; no bytes where there is none."""
        return self._account(address).code

    def get_code_hash(self, address: Address) -> Hash32:
        """Return the digest of the code."""
        return self._account(address).code_hash

    def delete_code(self, address: Address) -> None:
        """Leave an account without code."""
        self.set_code(address, b"")

    def account_has_code_or_nonce(self, address: Address) -> bool:
        """Whether a contract cannot be made at an address."""
        account = self._account(address)
        return bool(account.nonce or account.code)

    def delete_account(self, address: Address) -> None:
        """Take an account away."""
        if self.account_has_code_or_nonce(address):  # an account without has no storage
            self.delete_storage(address)
        self._put(self._changes, address, None)

    def account_exists(self, address: Address) -> bool:
        """Whether the state has an account."""
        return self._get(address) is not None

    def touch_account(self, address: Address) -> None:
        """Have an account in the state, maybe an empty one."""
        self._put(self._changes, address, self._account(address))

    def account_is_empty(self, address: Address) -> bool:
        """Whether an account has nothing, or is not there."""
        account = self._account(address)
        return not (account.nonce or account.code or account.balance)

    def is_address_warm(self, address: Address) -> bool:
        """Whether the transaction has used an address."""
        return address in self._warm

    def mark_address_warm(self, address: Address) -> None:
        """Note that the transaction uses an address."""
        if address not in self._warm:
            self._put(self._warm, address, True)

    # Roots.

    @property
    def state_root(self) -> Hash32:
        """Return the root of the state, without what has changed since the block began."""
        return self._root

    @state_root.setter
    def state_root(self, value: Hash32) -> None:
        if value != self._root:
            self._root = value
            self._moved()

    @abstractmethod
    def _moved(self) -> None:
        """Go to the state with the root."""

    def make_state_root(self) -> Hash32:
        """Make what has changed lasting; return the root of that."""
        self.lock_changes()
        if self._locked:
            changes, self._locked = self._locked, {}
            self._store(changes)
        return self._root

    @abstractmethod
    def _store(self, changes: World) -> None:
        """Keep the state that changes make, and go to it."""

    # Going back and making lasting.

    def record(self) -> JournalDBCheckpoint:
        """Return a place to go back to."""
        checkpoint = get_next_checkpoint()
        self._checkpoints[checkpoint] = len(self._undo)
        return checkpoint

    def discard(self, checkpoint: JournalDBCheckpoint) -> None:
        """Go back to a place."""
        for _ in range(len(self._undo) - self._checkpoints.pop(checkpoint)):
            world, place, value = self._undo.pop()
            if value is ABSENT:
                del world[place]
            else:
                world[place] = value

    def commit(self, checkpoint: JournalDBCheckpoint) -> None:
        """Forget a place; what changed since stays."""
        self._checkpoints.pop(checkpoint, None)

    def lock_changes(self) -> None:
        """End a transaction: nothing of it is taken back."""
        self._locked.update(self._changes)
        for entries in (self._changes, self._warm, self._undo, self._checkpoints):
            entries.clear()

    def persist(self) -> MetaWitnessAPI:
        """Write what has changed, and return that nothing is known of the nodes that were read."""
        self.make_state_root()
        return MetaWitness(set(), {})


class States:
    """What was read of states: nodes of their tries, and what is where in the one that was asked last."""

    def __init__(self) -> None:
        self.nodes: Nodes = {}
        self._known: tuple[Hash32, World] = Hash32(BLANK_ROOT), {}

    def known(self, root: Hash32) -> World:
        """Return what is known of a state; who reads more adds it."""
        of, world = self._known
        if of != root:
            world = {}
            self._known = root, world
        return world

    def follow(self, root: Hash32, world: World, changes: World) -> World:
        """Return what is known of the state that `changes` make, with this root, of one with a `world`.

        The former stays as it is: another thread may call a contract on it.
        """
        world = {**world, **changes} if len(world) < KNOWN else dict(changes)
        self._known = root, world
        return world


class TrieAccounts(Accounts):
    """The state of all accounts as the tries of a database have it, with the roots that Ethereum gives it."""

    def __init__(self, db: Any, state_root: Hash32 = NO_STORAGE) -> None:
        super().__init__(state_root)
        self._database = db
        self._states: States = getattr(db, "states", None) or States()
        self._tries = Tries(db.__getitem__, self._states.nodes)
        self._known = self._states.known(state_root)

    def _base(self, place: Place) -> Any:
        value = self._known.get(place, ABSENT)
        if value is ABSENT:
            value = self._slot(*place) if isinstance(place, tuple) else self._read_account(place)
            if len(self._known) < READ:
                self._known[place] = value
        return value

    def _read_account(self, address: Address) -> FlatAccount | None:
        validate_canonical_address(address, title="address")
        data = self._tries.get(self._root, keccak(address))
        if not data:
            return None
        nonce, balance, storage_root, code_hash = map(string_of, parts_of(data))
        code = b"" if code_hash == NO_CODE else self._database[code_hash]
        numbers = int.from_bytes(nonce, "big"), int.from_bytes(balance, "big")
        return FlatAccount(*numbers, code, Hash32(code_hash), Hash32(storage_root))

    def _slot(self, address: Address, slot: int) -> int:
        validate_uint256(slot, title="slot")
        account: FlatAccount | None = self._base(address)
        if account is None or account.storage_root == BLANK_ROOT:
            return 0
        data = self._tries.get(account.storage_root, keccak(slot.to_bytes(32, "big")))
        return int.from_bytes(string_of(data), "big") if data else 0

    def delete_storage(self, address: Address) -> None:
        """Clear all slots of an account, which had none when the block began."""
        account: FlatAccount | None = self._base(address)
        # A contract is only deleted in the transaction that creates it (EIP-6780): no earlier block knows it.
        assert account is None or account.storage_root == NO_STORAGE
        super().delete_storage(address)

    def _moved(self) -> None:
        self._known = self._states.known(self._root)

    def has_root(self, state_root: bytes) -> bool:
        """Whether there is a state with a root."""
        return state_root == BLANK_ROOT or state_root in self._database

    def _store(self, changes: World) -> None:
        """Put changes into the tries of storages, then the accounts into that of the state."""
        slots = dict[Address, dict[bytes, bytes]]()
        for place, value in changes.items():
            if isinstance(place, tuple) and value != self._base(place):
                data = rlp_number(value) if value else b""
                slots.setdefault(place[0], {})[keccak(place[1].to_bytes(32, "big"))] = data
        accounts: World = {place: value for place, value in changes.items() if isinstance(place, bytes)}
        for address, words in slots.items():
            account = accounts.get(address, ABSENT)
            account = self._base(address) if account is ABSENT else account
            root, nodes = self._tries.changed((account or EMPTY).storage_root, words)
            self._write(nodes)
            if account is not None or root != BLANK_ROOT:
                accounts[address] = (account or EMPTY)._replace(storage_root=Hash32(root))
        leaves = dict[bytes, bytes]()
        for place, account in accounts.items():
            if account != self._base(place):
                leaves[keccak(cast(bytes, place))] = b"" if account is None else _leaf(account)
                if account is not None and account.code:
                    self._write({account.code_hash: account.code})
        root, nodes = self._tries.changed(self._root, leaves)
        self._write(nodes)
        self._known = self._states.follow(Hash32(root), self._known, changes | accounts)
        self._root = Hash32(root)

    def _write(self, entries: dict[bytes, bytes]) -> None:
        for key, value in entries.items():
            self._database[key] = value


def _leaf(account: FlatAccount) -> bytes:
    numbers = rlp_number(account.nonce), rlp_number(account.balance)
    return rlp_list((*numbers, rlp_string(account.storage_root), rlp_string(account.code_hash)))
