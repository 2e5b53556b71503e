"""Who wants a voter's watchtower to lose a bond, or to say nothing against a wrong proposal."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bcfl.errors import RelayError, Sealed
from bcfl.federation.reading_account import account_vault
from bcfl.protocol import sealing
from bcfl.protocol.challenges import Form
from bcfl.protocol.requests import KeyRequest
from bcfl.protocol.rounds import Round
from bcfl.protocol.sealing import Seal, seal_for
from bcfl.protocol.types import Phase, Verdict
from tests.daemons import client_of
from tests.integration.test_sealed_watchtower import sealed_federation, untouched, watch
from tests.local_federation import LocalFederation
from tests.sealed_attacks import answer_wrongly, only_for, seal_wrongly, signed_answer, with_wraps

SECOND = bytes(32)  # a key that opens the same bytes to another content
TICK_SECONDS = 5


class Relay:
    """The way to the miners as the watchtower has it; `answers` says who is reached."""

    def __init__(self, local: LocalFederation) -> None:
        self.local, self.asked = local, 0

    def ask(self, miners: Sequence[str], request: KeyRequest) -> Iterator[tuple[str, bytes]]:
        self.asked += bool(request.positions)
        yield from self.local.relay.ask(self.reached(miners), request)

    def reached(self, miners: Sequence[str]) -> Sequence[str]:
        return miners


class Silent(Relay):
    def reached(self, miners: Sequence[str]) -> Sequence[str]:
        return miners[:0]


class OneLiarFirst(Relay):
    """At first only one miner answers, which says that it has no key either."""

    def reached(self, miners: Sequence[str]) -> Sequence[str]:
        liar = self.local.miner_accounts[1].address
        return [liar] if self.asked <= 2 else miners


@pytest.fixture
def local(tmp_path: Path) -> LocalFederation:
    """A federation whose clock ticks while proposals wait, as that of any chain does."""
    local = sealed_federation(tmp_path)
    honest, chain = local.schedule.let_time_pass, local.schedule.chain

    def let_time_pass() -> None:
        if local.ledger.clock().phase is Phase.ATTEST and not local.ledger.overdue():
            chain.warp(chain.now() + TICK_SECONDS)
        else:
            honest()

    local.schedule.let_time_pass = let_time_pass  # type: ignore[method-assign]
    return local


def watched(local: LocalFederation, monkeypatch: pytest.MonkeyPatch, kind: type[Relay]) -> list[str]:
    """Let the first miner's account watch; returns what it says."""
    relay = kind(local)
    monkeypatch.setattr("bcfl.relay.client.HttpRelay", lambda *_, **__: relay)
    return watch(local, local.miner_accounts[0])


def refuse(_: KeyRequest) -> bytes:
    raise RelayError("not for you")


def vote_of(local: LocalFederation, device: int) -> Verdict:
    """Return what the watchtower's account has voted on a device's update."""
    round_ = local.history.rounds[1]
    place = next(item.position for item in round_.submissions if item.update.device == device)
    return round_.verdicts(place)[local.miner_accounts[0].address]


def second_key(data: bytes, seal: Seal, round_: Round) -> bytes:
    """Give the first reader a key of its own, and the others the right one."""
    first = next(iter(round_.readers.values()))
    wrap = seal_for(first or b"", SECOND, seal.data, os.urandom(32))
    return with_wraps(data, [wrap, *[None] * (len(round_.readers) - 1)])


@pytest.fixture
def _opens_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    right = sealing.open_update

    def open_update(data: bytes, readers: int, key: bytes, seal: Seal) -> bytes:
        return b"another content" if key == SECOND else right(data, readers, key, seal)

    monkeypatch.setattr(sealing, "open_update", open_update)


@pytest.mark.usefixtures("_opens_twice")
@pytest.mark.parametrize("forge", [only_for(1, 2, 3), second_key], ids=["no key", "a second key"])
def test_what_the_colluding_majority_alone_can_open_is_disputed(
    local: LocalFederation, monkeypatch: pytest.MonkeyPatch, forge: Any
) -> None:
    """They accept an update, give its key to nobody, and cannot show it: silence refutes them."""
    seal_wrongly(local, 1, forge)
    for liar in (1, 2, 3):
        answer_wrongly(local, liar, refuse)
        local.miner_parties[liar].lead.answers.agrees = lambda *_: False
    reports = watched(local, monkeypatch, Relay)
    local.play()
    assert vote_of(local, 1) in (Verdict.UNAVAILABLE, Verdict.MALFORMED)
    assert any(report.startswith("disputed the proposal") for report in reports)
    forms = [event.args["form"] for event in local.ledger.contract.events(name="Refuted")]
    assert forms == [Form.SILENCE]
    assert local.history.rounds[1].refutations[0][1] == local.miner_accounts[0].address


@pytest.mark.usefixtures("_opens_twice")
@pytest.mark.parametrize("forge", [only_for(1, 2, 3), second_key], ids=["no key", "a second key"])
def test_a_device_that_seals_wrongly_for_a_voter_costs_its_watchtower_no_bond(
    local: LocalFederation, monkeypatch: pytest.MonkeyPatch, forge: Any
) -> None:
    """Its miner got the key of the others in time; that the watchtower reaches nobody is its own matter."""
    seal_wrongly(local, 1, forge)
    reports = watched(local, monkeypatch, Silent)
    assert local.play().status == "finalized"
    assert vote_of(local, 1) is Verdict.ACCEPTED
    assert untouched(local)
    assert any("trying on" in report for report in reports)


def test_many_updates_that_do_not_open_are_asked_for_together(
    local: LocalFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else who is silent stalls a voter once for each of them, until the window is over."""
    for device in (0, 1, 2, 3):
        seal_wrongly(local, device, only_for(1, 2, 3))
    relay = Silent(local)
    monkeypatch.setattr("bcfl.relay.client.HttpRelay", lambda *_, **__: relay)
    client, _ = client_of(local)
    account = local.miner_accounts[0]
    local.until(Phase.PROPOSE)
    vault = account_vault(client, account)
    archive = local.archive.of_party(vault)
    archive.forget()
    for item in local.history.rounds[1].accepted_submissions():
        with pytest.raises(Sealed):
            archive.update(item)
    assert relay.asked == 2  # for the first, and then for all


def test_who_answers_first_that_it_has_no_key_is_not_the_last_who_is_asked(
    local: LocalFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal_wrongly(local, 1, only_for(1, 2, 3))
    answer_wrongly(local, 1, signed_answer(local, 1, bytes(32)))
    for miner in (2, 3):
        answer_wrongly(local, miner, refuse)
    local.until(Phase.PROPOSE)
    assert vote_of(local, 1) is Verdict.UNAVAILABLE
    for miner in (2, 3):
        local.relay.open(local.miner_accounts[miner].address, local.miner_parties[miner])
    reports = watched(local, monkeypatch, OneLiarFirst)
    assert local.play().status == "finalized"
    assert untouched(local)
    assert "found the proposal right" in reports
