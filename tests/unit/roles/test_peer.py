"""One account with both roles: each acts, and neither is stopped by the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest

from bcfl.errors import ConfigError, RelayError, Reverted, StoreError
from bcfl.protocol.accounts import Account
from bcfl.relay.memory import MemoryRelay
from bcfl.roles.miner.miner import Miner
from bcfl.roles.peer import OwnInbox, Peer

ME, OTHER = Account.derive(0, "peer", 0), Account.derive(0, "peer", 1)


@dataclass
class Role:
    """A device or a miner that returns or raises the given values, one after the other."""

    results: list[str | Exception | None]
    account: Account = ME

    def act(self) -> str | None:
        text = self.results.pop(0) if self.results else None
        if isinstance(text, Exception):
            raise text
        return text


def peer_of(device: list[Any], miner: list[Any]) -> Peer:
    return Peer(Role(device), Role(miner))  # type: ignore[arg-type]


def test_default_behavior() -> None:
    peer = peer_of(["trained", None, None], ["committed", "voted", None])
    assert [peer.act() for _ in range(3)] == ["trained, committed", "voted", None]
    assert peer.account is ME


@pytest.mark.parametrize("error", [Reverted("late"), StoreError("away"), RelayError("silent")])
def test_one_role_goes_on_when_the_other_fails(error: Exception) -> None:
    assert peer_of([error], ["voted"]).act() == "voted"
    assert peer_of(["trained"], [error]).act() == "trained"


def test_a_failure_that_lasts_is_raised_when_nothing_else_is_due() -> None:
    peer = peer_of([StoreError("away")] * 2, ["voted"])
    assert peer.act() == "voted"
    with pytest.raises(StoreError, match="away"):
        peer.act()


def test_what_trying_again_cannot_mend_ends_both() -> None:
    with pytest.raises(ConfigError, match="no"):
        peer_of([ConfigError("no")], ["voted"]).act()


def test_the_own_inbox_is_reached_without_the_network() -> None:
    relay, miner, other = MemoryRelay(), cast(Miner, Role([])), cast(Miner, Role([], OTHER))
    relay.open(OTHER.address, other)
    own_relay = OwnInbox(relay, miner)
    assert own_relay.inbox(ME.address) is miner
    assert own_relay.inbox(OTHER.address) is other
    with pytest.raises(RelayError):
        relay.inbox(ME.address)
