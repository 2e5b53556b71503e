"""Reach each end that a contest can have, and check every invariant there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bcfl.protocol.challenges import Trees
from testkit.forged_proposals import ruling
from tests.stateful.contents import RIGHT
from tests.stateful.test_machine import Machine

LANE = 1  # kind of a proposal: one lane is wrong
ALL = {0, 1, 2}
CHALLENGER, OTHER, OUTSIDER = 3, 6, 7  # places among the people


def standing(kind: int, attesters: set[int]) -> Machine:
    """Play to a proposal of this kind, and let these attest it; its leader does anyway."""
    machine = Machine()
    machine.begin(stakes=[2, 2, 2], phases=0)
    machine.play_to_proposal(ALL, kind)
    for place in sorted(attesters):
        machine.attest(place, True)
    check(machine)
    return machine


def check(machine: Machine) -> None:
    for invariant in machine.invariants:
        invariant.function(machine)


def fault_leaf(machine: Machine) -> int:
    evidence = machine.standing
    challenge = None if evidence is None else evidence.find()
    assert challenge is not None
    return challenge.place[0]


def failing_seed(machine: Machine) -> int:
    """Return the first seed of a challenge that opens and shows a right place."""
    evidence = machine.standing
    assert evidence is not None
    return next(s for s in range(50) if ruling(machine.challenge_of(evidence, s), evidence.context) is False)


def refuted_alone() -> Machine:
    machine = standing(LANE, set())
    machine.challenge(CHALLENGER, 1, OTHER)
    return machine


def refuted_with_its_attesters() -> Machine:
    machine = standing(LANE, ALL)
    machine.challenge(OUTSIDER, 1, None)
    return machine


def lost_by_its_challenger() -> Machine:
    machine = standing(RIGHT, ALL)
    machine.challenge(OUTSIDER, failing_seed(machine), None)
    return machine


def settled_unopened() -> Machine:
    machine = standing(RIGHT, ALL)
    machine.announce(CHALLENGER, 1)
    machine.settle(0)  # too early
    machine.end_contests()
    machine.settle(0)
    return machine


def settled_after_another_refuted_it() -> Machine:
    machine = standing(LANE, ALL)
    machine.announce(CHALLENGER, 1)
    machine.dispute(OTHER, Trees.ROWS)
    machine.challenge(OUTSIDER, 1, None)
    machine.settle(1)
    machine.expire_dispute()
    return machine


def unanswered() -> Machine:
    machine = standing(RIGHT, ALL)
    machine.argue(OUTSIDER, Trees.MODEL, 0, 0, 1)
    return machine


def overtaken_by_nobody() -> Machine:
    """Colluders let a dispute of their own run out; who announces meanwhile goes first."""
    machine = standing(LANE, ALL)
    machine.dispute(OTHER, Trees.MODEL)
    number, model = machine.model.dispute_count, machine.model
    machine.f.chain.warp(model.disputes[number].state.deadline)
    machine.end_dispute(number)  # the window is open
    machine.f.chain.warp(model.proposed + machine.f.terms.challenge_seconds - 2)
    machine.announce(CHALLENGER, 1)
    machine.f.chain.warp(model.proposed + machine.f.terms.challenge_seconds)
    machine.end_dispute(number)  # an announcement waits
    machine.f.wait(machine.f.terms.challenge_seconds // 4)
    machine.open(None)
    machine.end_dispute(number)
    return machine


def given_up_at_a_node() -> Machine:
    machine = standing(RIGHT, ALL)
    machine.argue(OUTSIDER, Trees.ROWS, 2, 0, 1)
    return machine


def given_up_at_a_leaf() -> Machine:
    machine = standing(RIGHT, ALL)
    machine.argue(OUTSIDER, Trees.UPDATE, 3, 1, 1)
    return machine


def ruled_wrong() -> Machine:
    machine = standing(LANE, ALL)
    machine.argue(OUTSIDER, Trees.MODEL, 4, fault_leaf(machine), 1)
    return machine


def ruled_right() -> Machine:
    machine = standing(RIGHT, ALL)
    machine.argue(OUTSIDER, Trees.MODEL, 4, 2, 1)
    return machine


ENDS: dict[Callable[[], Machine], set[str]] = {
    refuted_alone: {"challenge: Refuted, 1 slashed, then PROPOSE"},
    refuted_with_its_attesters: {"challenge: Refuted, 3 slashed, then VOID"},
    lost_by_its_challenger: {"challenge: ChallengeFailed, 0 slashed, then ATTEST"},
    settled_unopened: {"settled, bond back: False"},
    settled_after_another_refuted_it: {
        "challenge: Refuted, 3 slashed, then VOID",
        "settled, bond back: True",
        "dispute of ROWS, ROWS ended, bond back: True",
    },
    unanswered: {"silence: Refuted, 3 slashed, then VOID"},
    overtaken_by_nobody: {
        "challenge: Refuted, 3 slashed, then VOID",
        "dispute of MODEL, ANSWER ended, bond back: True",
    },
    given_up_at_a_node: {"dispute of ROWS, PICK ended, bond back: False"},
    given_up_at_a_leaf: {"dispute of UPDATE, RULE ended, bond back: False"},
    ruled_wrong: {"ruling: Refuted, 3 slashed, then VOID"},
    ruled_right: {"ruling: ChallengeFailed, 0 slashed, then ATTEST"},
}


@pytest.mark.parametrize("contest", ENDS, ids=lambda contest: contest.__name__)
def test_a_contest_ends_and_so_does_its_round(contest: Callable[[], Machine]) -> None:
    machine = contest()
    check(machine)
    assert set(machine.ends) == ENDS[contest]
    number = machine.model.round
    machine.play(3, set(), False)
    check(machine)
    assert machine.model.round > number
