"""What the simulation blames parties for, and what it does not."""

from __future__ import annotations

import pytest

from tests.simulation.episode import play
from tests.simulation.process import Process
from tests.simulation.specification import SpecificationChain

SEED, FAULTS = 30_558, frozenset({"power:device 0:1:COMMIT:3", "tx-delayed:miner 2:1:REVEAL:1"})


def test_a_miner_that_is_held_up_by_the_wait_of_another_is_not_to_blame() -> None:
    outcome = play(SEED, only=FAULTS, kind=SpecificationChain, rounds=1)
    assert set(outcome.faults) == FAULTS
    assert outcome.violations == ()


def test_that_it_was_held_up_is_all_that_excuses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Process, "held_seconds", lambda *_: 0.0)
    outcome = play(SEED, only=FAULTS, kind=SpecificationChain, rounds=1)
    assert [item.rule for item in outcome.violations] == ["left out"]
