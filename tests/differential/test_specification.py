"""Whole random rounds on the bytecode and on the specification: each call comes to the same on both.

Compared after every call: the reason of a revert, or the events; the storage; the balances of everybody. At the
end, and now and then, all views. HYPOTHESIS_PROFILE=explore plays for long.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from bcfl.protocol.types import Engine, Mode
from testkit.pair import Pair
from testkit.random_rounds import RandomRounds

IS_LONG = os.environ.get("HYPOTHESIS_PROFILE") == "explore"
SEEDS = range(40) if IS_LONG else range(1)
STEPS = 200 if IS_LONG else 70


@pytest.mark.parametrize("engine", Engine)
@pytest.mark.parametrize("mode", Mode)
def test_random_rounds_come_to_the_same(engine: Engine, mode: Mode) -> None:
    counts: Counter[str] = Counter()
    for seed in SEEDS:
        rounds = RandomRounds(seed, engine, mode, counts=counts)
        rounds.play(STEPS)
        contract = rounds.f.contract
        assert isinstance(contract, Pair)
        contract.compare("at the end")
        contract.compare_views(1)
    assert counts["RoundOpened"]
    assert counts["Voted"]
    assert any(name.startswith("reverted") for name in counts)
