"""How one party follows a chain: time is pushed on, who is away comes back, a new chain is read anew."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from bcfl.errors import ConfigError, Reverted, StoreError, Unreachable
from bcfl.federation.daemon import Daemon
from bcfl.ledger.artifact import federation_at
from bcfl.ledger.federation import FederationLedger
from bcfl.protocol.types import Phase
from tests.daemons import client_of, daemons, until_closed
from tests.local_federation import LocalFederation


def test_parties_play_rounds_by_their_turns_alone(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    running = daemons(local)
    for number in (1, 2):
        until_closed(local, running, number)
        assert local.history.rounds[number].status == "finalized"
    assert all(daemon.health()[0] for daemon in running)
    assert "bcfl_acts_total" in running[0].counters.text()


def test_miners_push_on_what_time_has_brought_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No device ever comes: round after round is void, and somebody writes that down."""
    monkeypatch.setattr("bcfl.federation.daemon.TURN_SECONDS", 0)
    local = LocalFederation(tmp_path)
    running = daemons(local, devices=False)
    until_closed(local, running, 1)
    until_closed(local, running, 2)
    assert local.history.rounds[1].status == "void"


def test_a_miner_without_a_vote_pushes_where_nobody_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bcfl.federation.daemon.TURN_SECONDS", 0)
    local = LocalFederation(tmp_path)
    running = daemons(local, devices=False)
    local.history.seats = []
    for member in local.history.miners.values():
        member.weight = 0
    until_closed(local, running, 1)
    assert local.history.rounds[1].status == "void"


class Idle:
    """A party with nothing to do."""

    asked = 0

    def act(self) -> str | None:
        self.asked += 1
        return None


class Failing:
    """A party whose every act goes wrong."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def act(self) -> str | None:
        raise self.error


def test_what_is_away_is_tried_again_ever_more_seldom(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    local = LocalFederation(tmp_path)
    party = Failing(Unreachable("the node is away"))
    daemon = Daemon(party, local.owner, local.ledger, local.archive, poll=0.5)
    with caplog.at_level(logging.WARNING, "bcfl"):
        assert [daemon.turn() for _ in range(6)] == [1, 2, 4, 8, 15, 15]
    assert "the node is away" in caplog.text
    assert local.owner.key.hex() not in caplog.text
    party.error = Reverted("submissions: already revealed")
    assert daemon.turn() == 0.5


def test_time_is_pushed_on_even_where_the_own_store_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a phase that nobody can act in would not even begin to end."""
    monkeypatch.setattr("bcfl.federation.daemon.TURN_SECONDS", 0)
    local = LocalFederation(tmp_path)
    assert local.chain is not None
    context = local.offices[0]
    party = Failing(StoreError("the store is away"))
    daemon = Daemon(party, context.account, local.ledger, local.archive, advances=True)
    local.chain.warp(local.chain.now() + local.terms.commit_seconds)
    before = local.ledger._head()
    assert daemon.turn() > daemon._poll  # it is tried again, later
    assert local.ledger._head() == before + 1
    assert not local.ledger.overdue()


def test_a_chore_that_fails_does_not_hold_the_party_up(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)

    class Ill:
        tried = 0

        def act(self, _: object) -> str | None:
            self.tried += 1
            raise StoreError("the store is away")

        def end(self, _: object) -> None:
            raise StoreError("the store is away")

    ill, party = Ill(), Idle()
    daemon = Daemon(party, local.owner, local.ledger, local.archive, background=[ill], retry_seconds=3600)
    assert [daemon.turn() for _ in range(3)] == [0.5, 0.5, 0.5]
    assert (ill.tried, party.asked) == (1, 3)
    daemon.stop()
    daemon.run()


def test_pauses_are_short_where_phases_are(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    party = Failing(Unreachable("the node is away"))
    daemon = Daemon(party, local.owner, local.ledger, local.archive, poll=0.5, retry_seconds=3)
    assert [daemon.turn() for _ in range(5)] == [1, 2, 3, 3, 3]
    client, _ = client_of(local)
    assert client.retry_seconds == client.search_seconds == 7.5


def test_what_trying_again_cannot_mend_ends_it(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    daemon = Daemon(Failing(ConfigError("no")), local.owner, local.ledger, local.archive)
    with pytest.raises(ConfigError):
        daemon.run()


def test_stop_ends_it_and_so_do_enough_rounds(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    daemon = daemons(local)[0]
    daemon.stop()
    daemon.run()
    assert not local.history.rounds[1].commits
    counting = daemons(local)[0]
    counting._rounds = 1
    until_closed(local, [counting, *daemons(local)[1:]], 1)
    counting.turn()
    counting.run(1)


def test_a_reorganised_chain_is_read_again(tmp_path: Path) -> None:
    one, other = LocalFederation(tmp_path / "one"), LocalFederation(tmp_path / "other")
    client, fork = client_of(one)
    assert client.ledger.history().rounds[1].number == 1
    one.until(Phase.VOTE)
    other.dead(other.homes[0])
    other.until(Phase.VOTE)
    before = client.ledger.history()
    assert len(before.rounds[1].submissions) == 4
    fork.chain = other.chain  # type: ignore[assignment]
    after = client.ledger.history()
    fresh = FederationLedger(federation_at(other.chain, str(other.contract))).history()  # type: ignore[arg-type]
    assert client.ledger.reorganisations == 1
    assert after == fresh
    assert after != before
    assert client.ledger.history() is after


def test_a_chain_that_only_grows_is_read_once(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    client, _ = client_of(local)
    first = client.ledger.history()
    local.play()
    assert client.ledger.history() is first
    assert client.ledger.reorganisations == 0
    assert first.rounds[1].status == "finalized"
