"""Six devices, three miners, digits: what attackers cost, with the rules for few updates and without them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import pytest
from torch import nn

from bcfl.config import Config
from bcfl.federation import genesis
from bcfl.learning import split
from bcfl.learning.tasks import BUILT_IN
from bcfl.roles.checks import few, levels, mark, norm
from testkit.chainless import Chainless, RoundOutcome
from testkit.honest import keep_to, with_a_large_party

FLIP, BACKDOOR = "sign-flip:0.34", "backdoor:0.17:share=0.5,boost=1,size=2"


def play(adversary: str, partition: str, rounds: int = 6) -> tuple[list[RoundOutcome], set[int]]:
    """Play a federation; return its rounds and the attackers."""
    options = {"devices": 6, "miners": 3, "rounds": rounds, "task": "digits", "partition": partition}
    attacks = (adversary,) if adversary else ()
    config = Config(**options, min_updates=1, adversary=attacks)  # type: ignore[arg-type]
    federation = Chainless.create(config)
    return [federation.play_round() for _ in range(rounds)], set(federation.assignment.device_specs)


@lru_cache
def clean_accuracy(partition: str) -> float:
    outcomes, _ = play("", partition)
    assert not any(outcome.rejected for outcome in outcomes), "nobody honest is rejected"
    return outcomes[-1].accuracy or 0.0


@pytest.mark.parametrize("partition", ["iid", "dirichlet"])
def test_two_of_six_that_turn_their_updates_round_do_no_harm(
    partition: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes, attackers = play(FLIP, partition)
    assert all(set(outcome.rejected) <= attackers for outcome in outcomes), "nobody honest is rejected"
    assert sum(len(outcome.accepted & attackers) for outcome in outcomes) <= 2, "of twelve"
    accuracy = outcomes[-1].accuracy or 0.0
    assert accuracy > clean_accuracy(partition) - 0.03
    monkeypatch.setattr(few, "FEW", 0)
    monkeypatch.setattr(levels, "find", lambda _, claims: levels.usual(len(claims)))
    without, _ = play(FLIP, partition)
    assert (without[-1].accuracy or 0.0) < accuracy - 0.05, "the rules of a crowd do not find them"


@pytest.mark.parametrize("partition", ["iid", "dirichlet"])
def test_one_backdoor_of_six_does_not_stay(partition: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may pass in the first round, when any mark works on a model that knows nothing."""
    outcomes, attackers = play(BACKDOOR, partition)
    assert all(set(outcome.rejected) <= attackers for outcome in outcomes), "nobody honest is rejected"
    assert sum(bool(outcome.accepted & attackers) for outcome in outcomes) <= 2, "of six"
    assert (outcomes[-1].attack_success or 0.0) <= 0.05
    monkeypatch.setattr(few, "FEW", 0)
    without, _ = play(BACKDOOR, partition)
    assert all(attackers <= outcome.accepted for outcome in without)
    assert (without[-1].attack_success or 0.0) > 0.05


def normed() -> nn.Module:
    """Build a model that divides each pixel by its deviation, of which many have next to none."""
    layers = nn.BatchNorm1d(64), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)
    return nn.Sequential(nn.Flatten(), *layers)


@pytest.mark.parametrize("partition", ["iid", "dirichlet"])
def test_nobody_is_rejected_for_marks_where_any_mark_works(
    partition: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = replace(BUILT_IN["digits"], build=normed)
    config = Config(devices=5, miners=3, rounds=5, partition=partition)  # type: ignore[arg-type]
    shares = split(task.dataset(), 5, 3, partition, 0)
    whole = genesis.set_exponents(config, task, max(shares.devices, key=len))

    def rejected() -> int:
        federation = Chainless.create(config, (whole, shares))
        return sum(len(federation.play_round().rejected) for _ in range(5))

    assert rejected() == 0
    monkeypatch.setattr(mark, "FRAGILE", 1.0)
    assert rejected() > 2, "of 25"


def test_a_party_with_ten_times_the_samples_is_taken_after_the_first_rounds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rounds = 8
    caplog.set_level("INFO")

    def taken(references: float | None) -> int:
        federation = with_a_large_party(BUILT_IN["digits"], 0, rounds)
        if references is not None:
            keep_to(federation, references)
        outcomes = [federation.play_round() for _ in range(rounds)]
        assert all(set(outcome.rejected) <= {0} for outcome in outcomes), "the five others are taken"
        return sum(0 in outcome.accepted for outcome in outcomes[1:])

    assert taken(None) >= 5, "of seven"
    told = [text for text in caplog.messages if "longer than is usual" in text]
    assert len(told) >= rounds - 2
    assert told[-1].startswith(f"round {rounds}: ")
    assert told[-1].endswith("% of its length is sent")
    assert taken(norm.CLIP) == 0, "shortened to that, it is too long for a round of short updates"
