"""One party follows a chain: it ends phases, waits for what is away, and reads a new chain anew."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from bcfl import errors
from bcfl.errors import (
    BcflError,
    ConfigError,
    DiskError,
    PayloadError,
    RelayError,
    Reverted,
    RunError,
    StoreError,
    Unfinished,
    Unreachable,
)
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


def test_miners_end_a_phase_whose_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No device ever comes: round after round is void, and somebody writes that down."""
    monkeypatch.setattr("bcfl.federation.daemon.TURN_SECONDS", 0)
    local = LocalFederation(tmp_path)
    running = daemons(local, devices=False)
    until_closed(local, running, 1)
    until_closed(local, running, 2)
    assert local.history.rounds[1].status == "void"


def test_a_miner_without_a_vote_ends_a_phase_where_nobody_has_one(
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


def every(kind: type[BcflError]) -> list[type[BcflError]]:
    """Return all kinds of errors below one."""
    return [item for below in kind.__subclasses__() for item in (below, *every(below))]


class Idle:
    """A party with nothing to do."""

    turns = 0

    def act(self) -> str | None:
        self.turns += 1
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


def test_a_long_read_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each turn of a party that joins late takes its 30 seconds of reading."""
    local = LocalFederation(tmp_path)
    now = [0.0]
    monkeypatch.setattr("bcfl.federation.daemon.time", SimpleNamespace(monotonic=lambda: now[0]))

    def history() -> None:
        now[0] += 30
        raise Unfinished(f"events are read up to block {now[0]:g}")

    daemon = Daemon(Idle(), local.owner, local.ledger, local.archive)
    monkeypatch.setattr(local.ledger, "history", history)
    with caplog.at_level(logging.INFO, "bcfl"):
        for _ in range(10):
            assert daemon.turn() == 0.0
            is_well, state = daemon.health()
            assert (is_well, state["failures"], state["seconds_since_turn"]) == (True, 0, 0.0)
    assert "bcfl_failures_total 0" in daemon.counters.text()
    assert caplog.messages[-1] == "events are read up to block 300"


def test_a_phase_is_ended_even_where_the_own_store_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a phase that nobody can act in would not even begin to end."""
    monkeypatch.setattr("bcfl.federation.daemon.TURN_SECONDS", 0)
    local = LocalFederation(tmp_path)
    assert local.chain is not None
    miner = local.miner_parties[0]
    party = Failing(StoreError("the store is away"))
    daemon = Daemon(party, miner.account, local.ledger, local.archive, advances=True)
    local.chain.warp(local.chain.now() + local.terms.commit_seconds)
    block = local.ledger._head()
    assert daemon.turn() > daemon._poll  # it is tried again, later
    assert local.ledger._head() == block + 1
    assert not local.ledger.overdue()


class FailingTask:
    """A background task that always goes wrong."""

    def __init__(self, error: Exception) -> None:
        self.error, self.tries = error, 0

    def act(self, _: object) -> str | None:
        self.tries += 1
        raise self.error

    def end(self, _: object) -> None:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [StoreError("away"), RelayError("away"), PayloadError("no model"), DiskError("full"), KeyError("x")],
)
def test_a_background_task_that_fails_does_not_hold_the_party_up(error: Exception, tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    task, party = FailingTask(error), Idle()
    daemon = Daemon(party, local.owner, local.ledger, local.archive, background=[task], retry_seconds=3600)
    assert [daemon.turn() for _ in range(3)] == [0.5, 0.5, 0.5]
    assert (task.tries, party.turns) == (1, 3)
    daemon.stop()
    daemon.run()


def test_what_cannot_be_ended_does_not_end_the_party_with_an_error(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    tasks = [FailingTask(ConfigError("no")), FailingTask(RunError("no"))]
    daemon = Daemon(Idle(), local.owner, local.ledger, local.archive, background=tasks)
    daemon.stop()
    daemon.run()


def test_pauses_are_short_where_phases_are(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    party = Failing(Unreachable("the node is away"))
    daemon = Daemon(party, local.owner, local.ledger, local.archive, poll=0.5, retry_seconds=3)
    assert [daemon.turn() for _ in range(5)] == [1, 2, 3, 3, 3]
    client, _ = client_of(local)
    assert client.retry_seconds == client.search_seconds == 7.5


NO_FAULTS = ConfigError, RunError, Reverted, Unfinished
FAULTS = [
    RecursionError("deep"), ZeroDivisionError(), KeyError("gone"), OSError(), MemoryError(),
    *(
        kind("no") for kind in every(BcflError)
        if kind.__module__ == errors.__name__ and not issubclass(kind, NO_FAULTS)
    ),
    DiskError("it is full"),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_fault_in_a_turn_is_told_and_tried_again(
    fault: Exception, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    local = LocalFederation(tmp_path)
    daemon = Daemon(Failing(fault), local.owner, local.ledger, local.archive, poll=0.5, retry_seconds=3)
    assert [daemon.turn() for _ in range(3)] == [1, 2, 3]
    assert daemon.health()[1]["failures"] == 3
    assert (str(fault) or type(fault).__name__) in caplog.text


@pytest.mark.parametrize(("seconds", "is_well"), [(None, True), (10.0, True), (301.0, False)])
def test_a_party_is_not_well_whose_node_stands_still(
    seconds: float | None, is_well: bool, tmp_path: Path
) -> None:
    local = LocalFederation(tmp_path)
    party = local.miner_parties[0]
    daemon = Daemon(party, party.account, local.ledger, local.archive, head_seconds=lambda: seconds)
    assert daemon.health()[0] == is_well
    assert daemon.health()[1]["seconds_since_block"] == seconds


@pytest.mark.parametrize("kind", [ConfigError, RunError])
def test_what_trying_again_cannot_mend_ends_it(kind: type[BcflError], tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    daemon = Daemon(Failing(kind("no")), local.owner, local.ledger, local.archive)
    with pytest.raises(kind):
        daemon.run()
    daemon = Daemon(Idle(), local.owner, local.ledger, local.archive, background=[FailingTask(kind("no"))])
    with pytest.raises(kind):
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
    other.remove(other.device_parties[0])
    other.until(Phase.VOTE)
    old_history = client.ledger.history()
    assert len(old_history.rounds[1].submissions) == 4
    fork.chain = other.chain  # type: ignore[assignment]
    new_history = client.ledger.history()
    expected = FederationLedger(federation_at(other.chain, str(other.contract))).history()  # type: ignore[arg-type]
    assert client.ledger.reorganisations == 1
    assert new_history == expected
    assert new_history != old_history
    assert client.ledger.history() is new_history


def test_a_chain_that_only_grows_is_read_once(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    client, _ = client_of(local)
    first = client.ledger.history()
    local.play()
    assert client.ledger.history() is first
    assert client.ledger.reorganisations == 0
    assert first.rounds[1].status == "finalized"
