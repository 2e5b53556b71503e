"""Random orders of calls against a proposal: the money adds up after each.

`python -m benchmarks.interleavings` plays as many of them as one has time for.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from testkit.interleavings import MINERS, TERMS, Interleaving
from testkit.proposal_fixture import ProposalFixture


@pytest.fixture(scope="module")
def fixture() -> ProposalFixture:
    return ProposalFixture(TERMS, miners=MINERS)


def test_the_money_adds_up_in_any_order(fixture: ProposalFixture) -> None:
    counts: Counter[str] = Counter()
    for seed in range(16):
        Interleaving(fixture, Random(seed), counts).play(40)
    assert {"Refuted", "DisputeEnded", "Voided", "MinerLeft"} <= set(counts)


@pytest.mark.parametrize("name", ["treasury.books", "registry.staked"])
def test_a_wei_too_much_is_noticed(fixture: ProposalFixture, name: str) -> None:
    game = Interleaving(fixture, Random(1))
    fixture.storage.put((name, None, fixture.storage.get(name) + 1))
    with pytest.raises(AssertionError):
        game.play(10)
