"""How one party follows a chain: time is pushed on, who is away comes back, a new chain is read anew."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from bcfl.daemon import Daemon
from bcfl.errors import ConfigError, Reverted, StoreError, Unreachable
from bcfl.ledger.artifact import federation_at
from bcfl.ledger.federation import FederationLedger
from bcfl.protocol.types import Phase
from tests.crew import daemons, site_of, until_closed
from tests.village import Village


def test_parties_play_rounds_by_their_turns_alone(tmp_path: Path) -> None:
    village = Village(tmp_path)
    running = daemons(village)
    for number in (1, 2):
        until_closed(village, running, number)
        assert village.history.rounds[number].status == "finalized"
    assert all(daemon.health()[0] for daemon in running)
    assert "bcfl_acts_total" in running[0].counters.text()


def test_miners_push_on_what_time_has_brought_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No device ever comes: round after round is void, and somebody writes that down."""
    monkeypatch.setattr("bcfl.daemon.TURN_SECONDS", 0)
    village = Village(tmp_path)
    running = daemons(village, devices=False)
    until_closed(village, running, 1)
    until_closed(village, running, 2)
    assert village.history.rounds[1].status == "void"


def test_a_miner_without_a_vote_pushes_where_nobody_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bcfl.daemon.TURN_SECONDS", 0)
    village = Village(tmp_path)
    running = daemons(village, devices=False)
    village.history.seats = []
    for member in village.history.miners.values():
        member.weight = 0
    until_closed(village, running, 1)
    assert village.history.rounds[1].status == "void"


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
    village = Village(tmp_path)
    party = Failing(Unreachable("the node is away"))
    daemon = Daemon(party, village.owner, village.ledger, village.archive, poll=0.5)
    with caplog.at_level(logging.WARNING, "bcfl"):
        assert [daemon.turn() for _ in range(6)] == [1, 2, 4, 8, 15, 15]
    assert "the node is away" in caplog.text
    assert village.owner.key.hex() not in caplog.text
    party.error = Reverted("submissions: already revealed")
    assert daemon.turn() == 0.5


def test_time_is_pushed_on_even_where_the_own_store_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a phase that nobody can act in would not even begin to end."""
    monkeypatch.setattr("bcfl.daemon.TURN_SECONDS", 0)
    village = Village(tmp_path)
    assert village.chain is not None
    office = village.offices[0]
    party = Failing(StoreError("the store is away"))
    daemon = Daemon(party, office.account, village.ledger, village.archive, pushes=True)
    village.chain.warp(village.chain.now() + village.terms.commit_seconds)
    before = village.ledger._head()
    assert daemon.turn() > daemon._poll  # it is tried again, later
    assert village.ledger._head() == before + 1
    assert not village.ledger.overdue()


def test_a_chore_that_fails_does_not_hold_the_party_up(tmp_path: Path) -> None:
    village = Village(tmp_path)

    class Ill:
        tried = 0

        def act(self, _: object) -> str | None:
            self.tried += 1
            raise StoreError("the store is away")

        def end(self, _: object) -> None:
            raise StoreError("the store is away")

    ill, party = Ill(), Idle()
    daemon = Daemon(party, village.owner, village.ledger, village.archive, chores=[ill], longest=3600)
    assert [daemon.turn() for _ in range(3)] == [0.5, 0.5, 0.5]
    assert (ill.tried, party.asked) == (1, 3)
    daemon.stop()
    daemon.run()


def test_pauses_are_short_where_phases_are(tmp_path: Path) -> None:
    village = Village(tmp_path)
    party = Failing(Unreachable("the node is away"))
    daemon = Daemon(party, village.owner, village.ledger, village.archive, poll=0.5, longest=3)
    assert [daemon.turn() for _ in range(5)] == [1, 2, 3, 3, 3]
    site, _ = site_of(village)
    assert site.longest == site.search == 7.5


def test_what_trying_again_cannot_mend_ends_it(tmp_path: Path) -> None:
    village = Village(tmp_path)
    daemon = Daemon(Failing(ConfigError("no")), village.owner, village.ledger, village.archive)
    with pytest.raises(ConfigError):
        daemon.run()


def test_stop_ends_it_and_so_do_enough_rounds(tmp_path: Path) -> None:
    village = Village(tmp_path)
    daemon = daemons(village)[0]
    daemon.stop()
    daemon.run()
    assert not village.history.rounds[1].commits
    counting = daemons(village)[0]
    counting._rounds = 1
    until_closed(village, [counting, *daemons(village)[1:]], 1)
    counting.turn()
    counting.run(1)


def test_a_reorganised_chain_is_read_again(tmp_path: Path) -> None:
    one, other = Village(tmp_path / "one"), Village(tmp_path / "other")
    site, fork = site_of(one)
    assert site.ledger.history().rounds[1].number == 1
    one.until(Phase.VOTE)
    other.dead(other.homes[0])
    other.until(Phase.VOTE)
    before = site.ledger.history()
    assert len(before.rounds[1].submissions) == 4
    fork.chain = other.chain  # type: ignore[assignment]
    after = site.ledger.history()
    fresh = FederationLedger(federation_at(other.chain, str(other.contract))).history()  # type: ignore[arg-type]
    assert site.ledger.reorganisations == 1
    assert after == fresh
    assert after != before
    assert site.ledger.history() is after


def test_a_chain_that_only_grows_is_read_once(tmp_path: Path) -> None:
    village = Village(tmp_path)
    site, _ = site_of(village)
    first = site.ledger.history()
    village.play()
    assert site.ledger.history() is first
    assert site.ledger.reorganisations == 0
    assert first.rounds[1].status == "finalized"
