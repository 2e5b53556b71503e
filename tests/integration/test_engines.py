"""The roles under every engine and mode: the same parties, another way to a leader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bcfl.protocol.hashing import keccak
from bcfl.protocol.types import Engine, Mode, Phase
from tests.local_federation import TERMS, LocalFederation
from tests.unit.protocol.test_rounds import compare

FULL = replace(TERMS, mode=Mode.FULL, pow_target=2**255)


@pytest.mark.parametrize("engine", Engine)
def test_every_engine_where_all_are_devices_and_miners(tmp_path: Path, engine: Engine) -> None:
    local = LocalFederation(tmp_path, terms=replace(FULL, engine=engine), shared=4)
    local.play(2)
    compare(local)
    assert [block.engine for block in local.history.blocks[1:]] == [engine, engine]


def test_a_committee_decides(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, miners=5, terms=replace(TERMS, engine=Engine.COMMITTEE))
    played = local.play(2)
    assert len(played.committee) == 3
    assert {vote.voter.account for vote in played.votes} == set(played.committee)
    assert played.leader in played.committee
    compare(local)


def wish(local: LocalFederation, chosen: Callable[[int], Engine | None]) -> None:
    for context in local.offices:
        context.voting.wishes = chosen


def test_the_miners_choose_the_engine(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=replace(TERMS, mode=Mode.HYBRID, pow_target=2**255))
    wish(local, lambda number: Engine(number % 4))
    local.play(4)
    engines = [block.engine for block in local.history.blocks[1:]]
    assert engines == [Engine.STAKE, Engine.POW, Engine.RESOURCE, Engine.COMMITTEE]
    compare(local)


def test_a_chain_that_is_used_up_is_renewed(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    account = local.miner_accounts[0]
    local.send(account, "renew", keccak(b"of no chain"))
    local.play(2)
    history = local.history
    assert history.chains[account.address] == 3  # the first, the one that leads nowhere, and its own
    assert history.miners[account.address].novice
    assert all(found.status == "finalized" for found in list(history.rounds.values())[:2])


def test_a_dual_account_whose_miner_withholds_it_commits_alone(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=FULL, shared=4)
    while local.bound(0).account == local.device_accounts[0]:  # served by itself, as the seed has it
        local.play()
    device = 0
    withholding = local.bound(device)
    local.gone_in(Phase.COMMIT, withholding)
    played = local.play()
    assert device in {item.update.device for item in played.submissions}
