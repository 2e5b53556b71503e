"""Thirty devices, three miners, digits: what groups cost and earn, with these rules and without."""

from __future__ import annotations

import pytest

from bcfl.config import Config
from bcfl.roles.checks import levels, novelty
from testkit.chainless import Chainless, RoundOutcome
from testkit.group_attacks import Group

ROUNDS = 6


def play(attack: str, partition: str = "dirichlet") -> tuple[list[RoundOutcome], Chainless]:
    """Play a federation; a third are drawn for the attack, if there is one."""
    drawn = ("noise:0.3:std=0",) if attack else ()
    options = {"devices": 30, "miners": 3, "rounds": ROUNDS, "task": "digits", "min_updates": 1}
    config = Config(**options, seed=0, partition=partition, alpha=0.1, adversary=drawn)  # type: ignore[arg-type]
    federation = Chainless.create(config)
    if attack:
        Group(federation, attack, frozenset(federation.assignment.device_specs)).join()
    return [federation.play_round() for _ in range(ROUNDS)], federation


def pay(federation: Chainless) -> float:
    """Return what an attacker earned, in what an honest device did."""
    attackers = set(federation.assignment.device_specs)
    wages = [
        sum(federation.earned.get(i, 0) for i in group) / len(group)
        for group in (attackers, set(range(30)) - attackers)
    ]
    return wages[0] / wages[1]


def test_a_group_that_pulls_the_majoritys_way_weighs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody finds it: all of it is accepted, and neither are honest devices rejected for it."""
    clean, _ = play("")
    attacked, federation = play("majority")
    attackers = set(federation.assignment.device_specs)
    assert not any(outcome.rejected for outcome in clean), "rare data is no reason"
    assert all(set(outcome.rejected) <= attackers for outcome in attacked)
    monkeypatch.setattr(levels, "find", lambda _, claims: levels.usual(len(claims)))
    without, equal = play("majority")
    assert (attacked[-1].accuracy or 0.0) > (without[-1].accuracy or 0.0) + 0.05
    assert (attacked[-1].accuracy or 0.0) > (clean[-1].accuracy or 0.0) - 0.06
    assert pay(federation) < pay(equal) - 0.1


def test_riders_on_what_is_public_earn_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes, federation = play("rider", partition="iid")
    attackers = set(federation.assignment.device_specs)
    assert all(set(outcome.rejected) <= attackers for outcome in outcomes), "nobody honest is rejected"
    assert pay(federation) <= 0.1
    check = novelty.check
    monkeypatch.setattr(novelty, "check", lambda rows, earlier, among: check(rows, earlier[:0], among))
    _, without = play("rider", partition="iid")
    assert pay(without) > 0.5, "the other rules do not find them"


def test_even_data_leave_all_at_the_usual_level() -> None:
    _, federation = play("", partition="iid")
    in_force = [level for round_ in federation.history.rounds.values() for level in round_.levels or ()]
    assert in_force.count(3) > 0.98 * len(in_force)
    assert 0 not in in_force
