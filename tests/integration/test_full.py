"""Mode `full`: every device is a miner too, and leads as often as its resources are worth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bcfl.errors import Reverted
from bcfl.protocol import turns
from bcfl.protocol.types import Engine, Mode, Phase
from bcfl.roles.checks.pipeline import Checks
from tests.absences import Manner, away
from tests.local_federation import TERMS, LocalFederation, Quadratic

DEVICES, RICH = 20, 3
FASTER = 40  # times as many samples a second
TURNS = 3000
FULL = replace(TERMS, mode=Mode.FULL, engine=Engine.RESOURCE)
UNEQUAL = replace(
    FULL, time_factor=1_000_000, rate_factor=1_000_000
)  # devices of which one may be 100 times as fast as another


def learners() -> list[Quadratic]:
    """All alike but for one that trains on more samples in the same time."""
    optima = np.random.default_rng(5).normal(0.2, 0.02, (DEVICES, 38)).astype(np.float32)
    return [Quadratic(optimum, 10 * (FASTER if i == RICH else 1), 10_000) for i, optimum in enumerate(optima)]


def scores_of(local: LocalFederation) -> dict[str, int]:
    """What the contract shares out leads by, account by account."""
    accounts = [account.address for account in local.device_accounts]
    return {account: local.ledger.contract.call("resources", account)[4] for account in accounts}


def lead_share(scores: dict[str, int], account: str) -> float:
    """Return which part of many turns by these scores an account leads."""
    seats, credits, leads = list(scores), dict[int, int](), 0
    for _ in range(TURNS):
        leader, credits = turns.take_turn(credits, dict(enumerate(scores.values())))
        leads += seats[leader] == account
    return leads / TURNS


def test_who_has_resources_leads_and_loses_the_lead_when_it_is_away(tmp_path: Path) -> None:
    local = LocalFederation(
        tmp_path, devices=DEVICES, miners=DEVICES, dual_accounts=DEVICES, learners=learners(), terms=UNEQUAL
    )
    for miner in local.miner_parties:  # its many samples pull the toy model its way: not what is tested here
        miner.voting.verifier.checks = Checks(quality=False, clusters=False, direction=False)
    rich = local.device_accounts[RICH].address
    assert lead_share(scores_of(local), rich) == pytest.approx(1 / DEVICES, abs=0.001)  # nothing is known yet
    local.play(4)
    scores = scores_of(local)
    assert local.history.current is not None
    assert scores == local.history.current.scores  # the twin's reading of the same rounds
    share = scores[rich] / sum(scores.values())
    assert share > 0.6
    assert lead_share(scores, rich) == pytest.approx(share, abs=0.001)

    with away(local, Phase.COMMIT, Manner.ABSENT, local.device_parties[RICH], local.miner_parties[RICH]):
        local.play()
    for _ in range(2):
        with away(local, Phase.COMMIT, Manner.ABSENT, local.device_parties[RICH], local.miner_parties[RICH]):
            assert local.play().leader != rich
    fallen_scores = scores_of(local)
    assert fallen_scores[rich] < scores[rich] * 0.75**9 * 1.1  # a quarter less of three shares, three times
    assert fallen_scores[rich] / sum(fallen_scores.values()) < share / 3
    assert lead_share(fallen_scores, rich) == pytest.approx(
        fallen_scores[rich] / sum(fallen_scores.values()), abs=0.03
    )
    round_ = local.play()
    assert RICH in [item.update.device for item in round_.accepted_submissions()], round_.verdicts(RICH)
    assert scores_of(local)[rich] > 2 * fallen_scores[rich]  # and it comes back when it does


def test_nobody_mines_without_being_a_device(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, dual_accounts=4, terms=FULL)
    with pytest.raises(Reverted, match="registry: not a device"):
        local.ledger.contract.send(local.owner, "register_miner", value=local.terms.min_stake)
