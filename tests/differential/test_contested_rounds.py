"""Contests in rounds that are played, with devices, votes and races, on bytecode and specification."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bcfl.protocol.challenges import Trees
from testkit.ledgers import BOTH
from testkit.pair import Pair
from tests.stateful.test_contests import (
    ALL,
    ENDS,
    LANE,
    OUTSIDER,
    check,
    given_up_at_a_leaf,
    refuted_alone,
    settled_after_another_refuted_it,
)
from tests.stateful.test_machine import (
    CAMPAIGN,
    CommitteeMachine,
    FullMachine,
    HybridMachine,
    Machine,
    PowMachine,
)

SOME = (refuted_alone, settled_after_another_refuted_it, given_up_at_a_leaf)


@pytest.fixture(autouse=True)
def both(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a machine play on both."""
    monkeypatch.setattr(Machine, "ledger", BOTH)


def compare(machine: Machine) -> None:
    pair = machine.f.contract
    assert isinstance(pair, Pair)
    pair.compare_views(machine.model.dispute_count)


@pytest.mark.parametrize("contest", ENDS if CAMPAIGN else SOME, ids=lambda contest: contest.__name__)
def test_each_end_comes_to_the_same(contest: Callable[[], Machine]) -> None:
    machine = contest()
    compare(machine)
    machine.play(3, set(), False)
    compare(machine)


@pytest.mark.parametrize("kind", [PowMachine, CommitteeMachine, FullMachine, HybridMachine])
def test_a_wrong_proposal_is_refuted_under_each_engine(kind: type[Machine]) -> None:
    """By a challenge in one round, by silence in another; blocks come all the same."""
    machine = kind()
    machine.begin(stakes=[2, 2, 2], phases=0)
    machine.play_to_proposal(ALL, LANE)
    machine.challenge(OUTSIDER, 1, None)
    machine.play(8, set(), False)
    machine.play_to_proposal(ALL, LANE)
    machine.argue(OUTSIDER, Trees.ROWS, 0, 0, 1)
    machine.corrupt(set(), LANE)
    machine.play(24, set(), False)
    check(machine)
    compare(machine)
    names = [event.name for event in machine.f.contract.events()]
    assert names.count("Refuted") >= 2
    assert "Finalized" in names
