"""The roles under every engine and mode: the same parties, another way to a leader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bcfl.protocol.types import Engine, Mode, Phase
from tests.local_federation import TERMS, LocalFederation
from tests.unit.protocol.test_rounds import compare

FULL = replace(TERMS, mode=Mode.FULL, pow_target=2**255)


@pytest.mark.parametrize("engine", Engine)
def test_every_engine_where_all_are_devices_and_miners(tmp_path: Path, engine: Engine) -> None:
    local = LocalFederation(tmp_path, terms=replace(FULL, engine=engine), dual_accounts=4)
    local.play(2)
    compare(local)
    assert [block.engine for block in local.history.blocks[1:]] == [engine, engine]


def test_a_committee_decides(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, miners=5, terms=replace(TERMS, engine=Engine.COMMITTEE))
    first = local.play()
    assert (first.committee, len(first.votes)) == ((), 5)  # everybody votes, and draws three committees
    round_ = local.play(3)
    assert len(round_.committee) == 3
    assert {vote.voter.account for vote in round_.votes} == set(round_.committee)
    assert round_.leader in round_.committee
    compare(local)


def wish(local: LocalFederation, engine_of: Callable[[int], Engine | None]) -> None:
    for miner in local.miner_parties:
        miner.voting.wishes = engine_of


def test_the_miners_choose_the_engine(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=replace(TERMS, mode=Mode.HYBRID, pow_target=2**255))
    wish(local, lambda number: Engine(number % 4))
    local.play(4)
    engines = [block.engine for block in local.history.blocks[1:]]
    assert engines == [Engine.STAKE, Engine.POW, Engine.RESOURCE, Engine.COMMITTEE]
    compare(local)


def test_a_dual_account_whose_miner_withholds_it_commits_alone(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=FULL, dual_accounts=4)
    while local.miner_of(0).account == local.device_accounts[0]:  # served by itself, as the round has it
        local.play()
    device = 0
    withholding = local.miner_of(device)
    local.leave_in(Phase.COMMIT, withholding)
    round_ = local.play()
    assert device in {item.update.device for item in round_.submissions}
