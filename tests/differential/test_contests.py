"""Contests on the bytecode and on its specification: each call comes to the same on both.

Compared after every call: the reason of a revert, or the events; the storage; the balances of everybody; and,
at the end of each contest, all views. HYPOTHESIS_PROFILE=explore plays for long.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from bcfl.protocol.types import Rule
from testkit.contests import Contest, rulings
from testkit.interleavings import MINERS, TERMS
from testkit.ledgers import BOTH
from testkit.pair import Pair
from testkit.proposal_fixture import ProposalFixture

IS_LONG = os.environ.get("HYPOTHESIS_PROFILE") == "explore"
CALLS = 18  # of one contest
CONTESTS = 1_000 if IS_LONG else 10
PROPOSALS = 100 if IS_LONG else 4
SETTINGS: dict[str, dict[str, Any]] = {
    "mean": {},
    "median": {"rule": Rule.MEDIAN},
    "trimmed mean, few blocks": {"rule": Rule.TRIMMED_MEAN, "trim": 2500, "min_blocks": 3},
}
ENDS = {"Refuted", "DisputeEnded", "AnnouncementEnded", "ChallengeFailed", "Finalized", "Voided", "MinerLeft"}


@pytest.mark.parametrize("name", SETTINGS)
def test_contests_come_to_the_same(name: str) -> None:
    fixture = ProposalFixture(replace(TERMS, **SETTINGS[name]), MINERS, BOTH)
    counts: Counter[str] = Counter()
    for seed in range(CONTESTS):
        contest = Contest(fixture, Random(f"{name} {seed}"), counts)
        contest.play(CALLS)
        pair = fixture.federation.contract
        assert isinstance(pair, Pair)
        pair.compare_views(len(contest.disputes))
    assert set(counts) >= ENDS


@pytest.mark.parametrize("seed", range(40 if IS_LONG else 3))
def test_what_is_shown_is_ruled_on_alike(seed: int) -> None:
    """Forged and right proposals of any rule and width, challenged rightly and by what does not open."""
    counts = rulings(Random(seed), PROPOSALS, 6)
    assert counts["refuted"]
    assert counts["lost"]
    assert len(counts) > 2  # and some that do not open
