"""What is kept of a state is bounded, whoever asks for how much of it."""

from __future__ import annotations

import pytest
from eth_typing import Address

from bcfl.ledger.devnet import accounts
from bcfl.ledger.devnet.accounts import States, TrieAccounts


class Nodes(dict[bytes, bytes]):
    """A database that keeps what was read of states."""

    def __init__(self) -> None:
        super().__init__()
        self.states = States()


def address(number: int) -> Address:
    return Address(number.to_bytes(20, "big"))


def test_places_that_many_ask_for_are_not_all_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "READ", 50)
    database = Nodes()
    state = TrieAccounts(database)
    for number in range(1, 200):
        state.set_balance(address(number), number)
    root = state.make_state_root()
    reader = TrieAccounts(database, root)
    reader.state_root = TrieAccounts(database).make_state_root()
    reader.state_root = root  # nothing is known of it any more
    for _ in range(2):
        assert [reader.get_balance(address(number)) for number in range(1, 400)] == [
            *range(1, 200),
            *[0] * 200,
        ]
    assert len(database.states.known(root)) == 50
