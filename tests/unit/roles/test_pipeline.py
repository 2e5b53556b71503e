"""The checks together: attackers of a round are rejected, and nobody honest is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from bcfl.ports import Evaluation, Slopes
from bcfl.protocol.types import Verdict
from bcfl.roles.checks.pipeline import CheckInputs, Checks, PipelineResult, Reference, judge

COUNT, SIZE = 30, 3000
rng = np.random.default_rng(3)
BEST = rng.normal(0, 1, SIZE).astype(np.float32)
HONEST = (0.3 * BEST + 0.5 * rng.normal(0, 1, (COUNT, SIZE))).astype(np.float32)
ACCEPTED = (Verdict.ACCEPTED,) * COUNT
OFF = Checks(
    time=False, duplicate=False, quality=False, norm=False, clusters=False, direction=False, min_norm=False
)


def reference(seed: int = 0, parts: int = 8, noise: float = 0.3) -> Reference:
    """A miner whose loss is half the squared distance to the optimum, each part of its data a little off."""
    rng = np.random.default_rng(seed)

    pieces = BEST + rng.normal(0, noise, (16, SIZE))  # each has an optimum of its own

    def slopes(delta: np.ndarray, count: int) -> Slopes:
        optima = np.stack(
            [pieces[part :: min(parts, count)].mean(axis=0) for part in range(min(parts, count))]
        )
        loss = float(losses(delta, 16)[0].mean())
        return Slopes(loss, (delta - optima).astype(np.float32), 16)

    def losses(delta: np.ndarray, samples: int) -> tuple[np.ndarray, int]:
        return 0.5 * np.square(delta - pieces).sum(axis=1), samples

    own_delta = (0.3 * BEST + rng.normal(0, 0.5, SIZE)).astype(np.float32)
    return Reference(lambda: own_delta, slopes, losses=losses)


def without_gradients(samples: int = 200, loss: float | None = None) -> Reference:
    """A miner that has the same loss and can do nothing but evaluate it."""

    def evaluate(delta: np.ndarray) -> Evaluation:
        value = 0.5 * float(((delta.astype(np.float64) - BEST) ** 2).sum())
        return Evaluation(value if loss is None else loss, samples)

    def losses(delta: np.ndarray, _: int) -> tuple[np.ndarray, int]:
        evaluation = evaluate(delta)
        return np.full(min(1, evaluation.samples), evaluation.loss), evaluation.samples

    blind = Slopes(np.nan, np.zeros((0, SIZE), np.float32), 0)
    return Reference(reference().delta, lambda *_: blind, evaluate, losses)


def inputs_of(updates: np.ndarray, **fields: Any) -> CheckInputs:
    count = len(updates)
    defaults: dict[str, Any] = {
        "samples": np.full(count, 10.0),
        "ranks": list(range(count)),
        "eligible": np.ones(count, bool),
    }
    return CheckInputs(updates.astype(np.float32), **(defaults | fields))


def verdicts(updates: np.ndarray, checks: Checks | None = None, **fields: Any) -> list[Verdict]:
    return list(judge(inputs_of(updates, **fields), reference(), checks or Checks()).verdicts)


def replace_first(bad: np.ndarray) -> np.ndarray:
    """The honest updates, the first of them replaced."""
    return np.concatenate([bad, HONEST[len(bad) :]]).astype(np.float32)


def test_default_behavior() -> None:
    result = judge(inputs_of(HONEST), reference(), Checks())
    assert result.verdicts == ACCEPTED
    assert [scores.rule for _, scores in result.scores] == [
        "copy", "clusters", "direction", "min_norm", "norm",
    ]  # fmt: skip
    assert result.levels == (3,) * COUNT


def add_noise(update: np.ndarray, count: int, share: float) -> np.ndarray:
    noise = np.random.default_rng(9).normal(size=(count, SIZE))
    return np.asarray(update + share * np.linalg.norm(update) / np.sqrt(SIZE) * noise)


MEAN, SPREAD = HONEST.mean(axis=0), HONEST.std(axis=0)
POISON: dict[str, Callable[[int], np.ndarray]] = {
    "sign flip": lambda m: -HONEST[:m],
    "sign flip, longer": lambda m: -2 * HONEST[:m],
    "inner product manipulation": lambda m: add_noise(-0.5 * MEAN, m, 0.1),
    "inner product manipulation, in noise": lambda m: add_noise(-0.5 * MEAN, m, 1.0),
    "inner product manipulation, long": lambda m: add_noise(-100 * MEAN, m, 0.1),
    "a little is enough": lambda m: add_noise(MEAN - 1.5 * SPREAD, m, 0.5),
    "noise": lambda m: add_noise(0 * MEAN, m, 0) + np.random.default_rng(8).normal(0, 0.6, (m, SIZE)),
    "nothing": lambda m: np.zeros((m, SIZE)),
}


@pytest.mark.parametrize("poison", POISON)
@pytest.mark.parametrize("bad", [4, 9, 13])
def test_poison_is_dropped_and_nobody_honest(poison: str, bad: int) -> None:
    codes = verdicts(replace_first(POISON[poison](bad)))
    assert Verdict.ACCEPTED not in codes[1:bad], "of a group that sends one vector the first is no copy"
    assert codes[bad:] == [Verdict.ACCEPTED] * (COUNT - bad)


def test_one_of_many_that_points_away_from_the_miners_training_is_left_out() -> None:
    """However wide the crowd is apart."""
    wide = Checks(quality=False, clusters=False, direction_tolerance=1e9)
    result = judge(inputs_of(replace_first(-HONEST[:9])), reference(), wide)
    assert result.verdicts == (Verdict.OUTLIER,) * 9 + ACCEPTED[9:]
    backwards = replace(reference(), delta=lambda: -reference().delta())
    assert judge(inputs_of(replace_first(-HONEST[:9])), backwards, wide).verdicts == ACCEPTED, (
        "it may be the miner"
    )


def test_the_first_of_many_copies_is_judged_by_its_direction() -> None:
    assert verdicts(replace_first(add_noise(-0.5 * MEAN, 9, 0.1)))[0] is not Verdict.ACCEPTED


def test_an_aim_that_held_out_data_cannot_see_is_a_cluster() -> None:
    aim = np.random.default_rng(1).normal(0, 0.6, SIZE)
    codes = verdicts(np.concatenate([HONEST[:6] + aim, HONEST[6:]]))
    assert codes == [Verdict.OUTLIER] * 6 + [Verdict.ACCEPTED] * (COUNT - 6)


def test_the_first_reason_counts() -> None:
    """A long copy that harms: `duplicate` comes before `quality`, that before `outlier`."""
    bad = np.stack([-9 * HONEST[0], -9 * HONEST[0], -9 * HONEST[0]])
    codes = verdicts(replace_first(bad), reference_norm=float(np.linalg.norm(HONEST[3])))
    assert codes[1:3] == [Verdict.DUPLICATE] * 2
    assert codes[0] in (Verdict.QUALITY, Verdict.OUTLIER)


def test_a_rejected_update_is_in_no_statistic_and_gets_no_second_reason() -> None:
    eligible = np.arange(COUNT) >= 13
    codes = verdicts(replace_first(-HONEST[:13]), eligible=eligible)
    assert codes[13:] == [Verdict.ACCEPTED] * (COUNT - 13)


@pytest.mark.parametrize("parts", [1, 2, 8])
def test_little_held_out_data_drops_nobody_honest(parts: int) -> None:
    for seed in range(5):
        assert judge(inputs_of(HONEST), reference(seed, parts, noise=3.0), Checks()).verdicts == ACCEPTED


def test_a_miner_that_cannot_train_is_no_harm() -> None:
    blind_reference = Reference(lambda: np.zeros(SIZE, np.float32), reference().slopes)
    assert judge(inputs_of(HONEST), blind_reference, Checks()).verdicts == ACCEPTED


@pytest.mark.parametrize("value", [np.float32(2), np.float32(2**31)])  # lanes hold no more
def test_hostile_numbers_neither_crash_nor_win(value: np.float32) -> None:
    bad = np.full((3, SIZE), value, np.float32)
    bad[1] *= -1
    codes = verdicts(replace_first(bad), reference_norm=float(np.linalg.norm(HONEST[0])))
    assert Verdict.ACCEPTED not in codes[:3]
    assert codes[3:] == [Verdict.ACCEPTED] * (COUNT - 3)


def test_a_slope_that_explodes_accuses_nobody() -> None:
    broken = Slopes(np.nan, np.full((8, SIZE), np.nan, np.float32), 16)
    broken_reference = Reference(reference().delta, lambda *_: broken)
    assert judge(inputs_of(HONEST), broken_reference, Checks()).verdicts == ACCEPTED


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7])
def test_few_honest_devices_are_let_be(count: int) -> None:
    assert verdicts(HONEST[:count]) == [Verdict.ACCEPTED] * count


@pytest.mark.parametrize("count", [3, 5, 7])
def test_among_few_what_plainly_harms_is_dropped(count: int) -> None:
    codes = verdicts(np.concatenate([-HONEST[:1], HONEST[1:count]]))
    assert codes[0] in (Verdict.QUALITY, Verdict.OUTLIER)
    assert codes[1:] == [Verdict.ACCEPTED] * (count - 1)


@pytest.mark.parametrize("name", [f.name for f in fields(Checks) if f.type == "bool" and f.name != "time"])
def test_each_check_can_be_off(name: str) -> None:
    result = judge(inputs_of(HONEST), reference(), Checks(**{name: False}))
    rules = [scores.rule for _, scores in result.scores]
    assert {"duplicate": "copy"}.get(name, name) not in rules
    assert len(rules) == (6 if name == "quality" else 4)
    assert (result.weights is None) == (name == "quality")


def test_all_off_takes_everything() -> None:
    result: PipelineResult = judge(inputs_of(replace_first(-9 * HONEST[:9])), reference(), OFF)
    assert result == PipelineResult(ACCEPTED, (), (3,) * COUNT)
    assert not OFF.numbers


def test_multi_krum_drops_as_many_as_it_has_to() -> None:
    codes = verdicts(HONEST, Checks(krum=5))
    assert codes.count(Verdict.OUTLIER) == 5
    assert codes.count(Verdict.ACCEPTED) == COUNT - 5


USUAL = float(np.median(np.linalg.norm(HONEST, axis=1)))  # of the round before


def test_at_the_end_of_training_nobody_is_a_copy_nor_too_short() -> None:
    updates = 0.01 * HONEST
    updates[:3], updates[4] = 0.0, updates[3]
    alone = Checks(quality=False, clusters=False, direction=False)
    assert verdicts(updates, alone, reference_norm=USUAL) == list(ACCEPTED)
    assert set(verdicts(updates, alone)[:3]) == {Verdict.OUTLIER}, "while there is more to learn they are"


@pytest.mark.parametrize("poison", ["sign flip", "inner product manipulation", "noise"])
def test_poison_at_the_end_of_training_is_dropped_as_before(poison: str) -> None:
    """A tenth, third and half of the usual length, where all honest updates are short."""
    for length in (0.1, 0.3, 0.5):
        bad = length * POISON[poison](9)
        updates = np.concatenate([bad, 0.01 * HONEST[9:]])
        result = verdicts(updates, reference_norm=USUAL)
        assert Verdict.ACCEPTED not in result[:9], length
        assert set(result[9:]) == {Verdict.ACCEPTED}, length


def test_harm_without_gradients_is_judged_by_mean_losses() -> None:
    checks = replace(OFF, quality=True)
    assert judge(inputs_of(HONEST[:5]), without_gradients(), checks).verdicts == ACCEPTED[:5]
    flipped = replace_first(-2 * HONEST[:1])[:5]
    assert judge(inputs_of(flipped), without_gradients(), checks).verdicts == (
        Verdict.QUALITY,
        *ACCEPTED[1:5],
    )
