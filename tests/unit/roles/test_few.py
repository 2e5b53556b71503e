"""The rules for few updates: each finds what it is for, and leaves honest updates alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bcfl.ports import MarkSearch, Slopes
from bcfl.protocol.types import Verdict
from bcfl.roles.checks import against, harm, length, mark
from bcfl.roles.checks.few import FEW
from bcfl.roles.checks.pipeline import CheckInputs, Checks, Reference, judge
from bcfl.roles.checks.scores import MIN_CROWD, Scores

OFF = Checks(
    time=False, duplicate=False, quality=False, norm=False, clusters=False, direction=False, min_norm=False
)
SIZE = 400


def everybody(count: int) -> np.ndarray:
    return np.ones(count, bool)


def rejected(scores: Scores) -> list[int]:
    return [int(place) for place in np.flatnonzero(~scores.passed)]


def test_length_is_measured_by_this_round() -> None:
    nobody, all_six = np.zeros(6, bool), everybody(6)
    norms = np.array([1.0, 0.98, 1.03, 1.0, 1.9, 0.2])
    assert rejected(length.check(norms, nobody, all_six)) == [4]
    assert rejected(length.check(norms * 7, nobody, all_six)) == [4], "whatever the unit"
    useful = np.arange(6) == 4
    assert rejected(length.check(norms, useful, all_six)) == []
    assert rejected(length.check(norms * [1, 1, 1, 1, 1.5, 1], useful, all_six)) == [4]
    apart = np.array([1.0, 0.75, 1.25, 0.9, 1.9, 0.7])
    assert rejected(length.check(apart, nobody, all_six)) == [], "honest lengths lie apart"
    assert rejected(length.check(apart * [1, 1, 1, 1, 1.5, 1], nobody, all_six)) == [4]
    assert rejected(length.check(np.array([1.0, 9.0]), nobody[:2], everybody(2))) == [], "no majority"
    assert rejected(length.check(np.zeros(6), nobody, all_six)) == []


def test_of_many_against_the_miners_own_training_is_a_cosine() -> None:
    trust = np.append(np.full(58, 0.02), [-0.059, -0.061])
    assert rejected(against.check_many(trust, 100_000, everybody(60))) == [59]
    assert rejected(against.check_many(trust, 1000, everybody(60))) == [], "noise of a small model"
    assert rejected(against.check_many(-trust - 0.05, 100_000, everybody(60))) == [], "it may be the miner"


def test_against_the_miners_own_training_needs_a_use() -> None:
    trust, alike = np.array([0.3, 0.28, 0.31, -0.05, -0.05, 0.29]), np.ones((6, 6))
    useful = np.arange(6) == 4
    assert rejected(against.check(trust, useful, 100_000, everybody(6), alike)) == [3]
    assert rejected(against.check(trust, useful, 500, everybody(6), alike)) == [], "noise of a small model"
    assert rejected(against.check(trust - 0.15, useful, 100_000, everybody(6), alike)) == [3, 4]
    assert rejected(against.check(-trust, useful, 100_000, everybody(6), alike)) == [], "it may be the miner"
    apart = np.array([0.43, -0.38, -0.27, -0.05, 0.26, 0.1])
    assert rejected(against.check(apart, ~everybody(6), 100_000, everybody(6), alike)) == [], (
        "few samples, all learned"
    )


def test_in_a_crowd_against_the_miner_is_who_is_against_those_who_go_its_way_as_well() -> None:
    trust = np.array([0.3, 0.28, 0.31, 0.2, 0.29, 0.3, -0.2, -0.2, -0.05])
    cosines = np.full((9, 9), 0.1) + 0.9 * np.eye(9)
    cosines[6, :6] = cosines[:6, 6] = -0.1
    nobody, all_nine = np.zeros(9, bool), everybody(9)
    assert rejected(against.check(trust, nobody, 100_000, all_nine, cosines)) == [6]
    group = cosines.copy()
    group[6:8, 6:8] = 1.0
    group[7, :6] = group[:6, 7] = -0.1
    assert rejected(against.check(trust, nobody, 100_000, all_nine, group)) == [6, 7], "like each other alone"


class Bowl:
    """Held-out losses in a bowl round `best`; `noise` sets pieces apart."""

    def __init__(self, updates: np.ndarray, noise: float = 0.02, pieces: int = 100) -> None:
        self.updates, self.best = updates, np.ones(SIZE)
        self.pieces = self.best + np.random.default_rng(1).normal(0, noise, (pieces, SIZE))
        self.calls = 0

    def __call__(self, weights: np.ndarray) -> tuple[np.ndarray, int]:
        self.calls += 1
        return np.square(weights @ self.updates - self.pieces).mean(axis=1), len(self.pieces)


def honest(count: int) -> np.ndarray:
    noise = np.random.default_rng(2).normal(0, 0.3, (count, SIZE))
    return np.asarray(0.4 + noise)


@pytest.mark.parametrize(("count", "bad"), [(3, 1), (6, 2), (7, 3), (12, 4), (20, 6)])
def test_harm_finds_a_minority_that_leads_away(count: int, bad: int) -> None:
    """Also two that each hide the other's harm where one at a time is left out."""
    updates = honest(count)
    updates[:bad] *= -1.5
    bowl = Bowl(updates)
    scores, useful = harm.check(bowl, np.full(count, 10.0), everybody(count))
    assert rejected(scores) == list(range(bad))
    assert not useful[:bad].any()
    assert useful[bad:].any()
    assert bowl.calls <= (72 if count <= harm.ALL else 3 * count + 2)


def test_harm_accuses_nobody_honest_and_nobody_where_data_say_nothing() -> None:
    for count in (1, 2, 3, 6, 7, 8, 20):
        scores, _ = harm.check(Bowl(honest(count)), np.full(count, 10.0), everybody(count))
        assert rejected(scores) == []
    updates = honest(6)
    updates[0] *= -1.5
    samples = np.full(6, 10.0)
    for losses in (np.zeros(0), np.full(5, np.nan), np.zeros(5)):
        scores, useful = harm.check(lambda _, x=losses: (x, 5), samples, everybody(6))  # type: ignore[misc]
        assert rejected(scores) == []
        assert not useful.any()
    noisy, _ = harm.check(Bowl(updates, noise=30.0, pieces=4), samples, everybody(6))
    assert rejected(noisy) == [], "too few samples to tell"


def test_a_mark_that_works_by_one_device_alone_is_found() -> None:
    shares = np.array([[0.9, 0.0], [0.05, 0.0], [0.0, 0.0], [0.08, 0.0], [0.02, 0.0], [0.0, 0.4]])
    now, before = mark.check(shares, everybody(6), is_first=False)
    assert rejected(now) == [0]
    assert rejected(before) == [5]
    skewed = np.array([[0.4, 0.0], [0.2, 0.0], [0.1, 0.0], [0.2, 0.0], [0.1, 0.0], [0.0, 0.0]])
    assert rejected(mark.check(skewed, everybody(6), is_first=False)[0]) == [], "data differ that much"
    assert rejected(mark.check(shares * 0.8, everybody(6), is_first=True)[0]) == [], "nothing is learned yet"
    noisy = np.array([[0.83, 0.0], [0.58, 0.4], [0.94, 0.4], [0.75, 0.3], [0.9, 0.4], [0.81, 0.0]])
    now, before = mark.check(noisy, everybody(6), is_first=False, has_noise=True)
    assert rejected(now) + rejected(before) == [], "with noise marks work on every update"
    assert rejected(mark.check(noisy, everybody(6), is_first=False)[0]) != []
    now, before = mark.check(shares, everybody(6), is_first=False, has_noise=True)
    assert (rejected(now), rejected(before)) == ([0], [5]), "little noise hides no backdoor"
    two = np.array([[0.9, 0.0], [0.9, 0.0], [0.0, 0.0], [0.08, 0.0], [0.02, 0.0], [0.0, 0.0]])
    assert rejected(mark.check(two, everybody(6), is_first=False)[0]) == [0, 1]


@pytest.mark.parametrize(
    ("shares", "out"),
    [
        ([0.1, 0.15, 0.2, 0.1, 0.85, 0.9], [4, 5]),  # even data, two of six
        ([0.2, 0.3, 0.6, 0.4, 0.85, 0.97], [5]),  # skewed data
        ([0.2, 0.3, 0.6, 0.4, 0.85, 0.92], []),
        ([0.1, 0.1, 0.1, 0.1, 0.1, 0.59], []),  # all alike
        ([0.1, 0.1, 0.1, 0.1, 0.1, 0.61], [5]),
        ([0.1, 0.1, 0.1, 0.95, 0.95, 0.95], []),  # no majority
        ([1.0] * 6, []),
    ],
)
def test_large_marks_are_held_against_the_lower_half(shares: list[float], out: list[int]) -> None:
    values, nobody = np.array(shares), np.zeros(6, bool)
    assert rejected(mark.check_wide(values, everybody(6), nobody, is_first=False)) == out
    first = mark.check_wide(values, everybody(6), nobody, is_first=True)
    assert rejected(first) == (np.flatnonzero(values > mark.WIDE_FIRST).tolist() if values[0] < 1 else [])
    high, all_ = np.minimum(values + 0.8, 1.0), everybody(6)
    noisy = mark.check_wide(high, all_, all_, is_first=False, has_noise=True)
    assert rejected(noisy) == [], "noise makes marks work on all"
    assert rejected(mark.check_wide(values, nobody, nobody, is_first=False, has_noise=True)) == []


def test_who_was_left_out_not_long_ago_may_have_less_of_large_marks() -> None:
    values, blamed = np.array([0.3, 0.2, 0.6, 0.4, 0.75, 0.85]), np.arange(6) == 4
    for mask, out in ((blamed & False, []), (blamed, [4])):
        assert rejected(mark.check_wide(values, everybody(6), mask, is_first=False)) == out
    assert rejected(mark.check_wide(values * 0.9, everybody(6), blamed, is_first=False)) == []
    assert rejected(mark.check_wide(values, everybody(6), everybody(6), is_first=False)) == [4, 5]
    everywhere = np.full(6, 0.8)
    assert rejected(mark.check_wide(everywhere, everybody(6), everybody(6), is_first=False)) == []


@pytest.mark.parametrize(("count", "out"), [(MIN_CROWD - 1, [2]), (MIN_CROWD, [])])
def test_large_marks_are_tried_on_each_of_fewer_than_a_crowd(count: int, out: list[int]) -> None:
    """A crowd has its slopes searched for them instead."""
    updates = honest(count)
    trigger = np.zeros(SIZE)
    trigger[0] = 4
    updates[2] += trigger

    def marks(_: np.ndarray, suspects: Sequence[np.ndarray], search: MarkSearch) -> np.ndarray:
        works = search.needs_wide and search.wide and not search.known and suspects[0][0] > 3
        return np.array([float(works)] * len(suspects), np.float32)

    miner = replace(reference(), marks=marks)
    result = judge(inputs(updates), miner, replace(OFF, quality=True))
    assert np.flatnonzero(result.verdicts).tolist() == out


def inputs(updates: np.ndarray, **fields: Any) -> CheckInputs:
    count = len(updates)
    return CheckInputs(
        updates.astype(np.float32), np.full(count, 10.0), list(range(count)), everybody(count), 10.0, **fields
    )


def reference(marks: Any = None) -> Reference:
    """A miner in the bowl; it marks `marks(without, suspects)`."""
    bowl = Bowl(np.eye(SIZE))
    return Reference(
        lambda: (
            np.full(SIZE, 0.4, np.float32) + np.random.default_rng(3).normal(0, 0.3, SIZE).astype(np.float32)
        ),
        lambda *_: Slopes(np.nan, np.zeros((0, SIZE), np.float32), 0),
        losses=lambda delta, _: bowl(delta),
        marks=lambda without, suspects, search: (
            np.zeros(0, np.float32) if marks is None else marks(without, suspects, search)
        ),
    )


@pytest.mark.parametrize(
    ("checks", "rule", "reason"),
    [
        (replace(OFF, quality=True), "harm", Verdict.QUALITY),
        (replace(OFF, direction=True), "against", Verdict.OUTLIER),
        (replace(OFF, norm=True), "length", Verdict.OUTLIER),
    ],
)
def test_each_rule_has_the_switch_of_its_kind(checks: Checks, rule: str, reason: Verdict) -> None:
    updates = honest(6)
    updates[0] *= -2
    result = judge(inputs(updates), reference(), checks)
    assert result.verdicts == (reason, *[Verdict.ACCEPTED] * 5)
    assert [scores.rule for _, scores in result.scores if not scores.passed.all()] == [rule]
    assert judge(inputs(updates), reference(), OFF).verdicts == (Verdict.ACCEPTED,) * 6


def test_a_mark_sees_what_a_device_gave_in_earlier_rounds() -> None:
    """Here the trigger is the first number: it works on a model in which that is 3 or more."""
    updates, earlier = honest(6), np.zeros((6, SIZE))
    trigger = np.zeros(SIZE)
    trigger[0] = 4

    def marks(without: np.ndarray, suspects: Sequence[np.ndarray], _: MarkSearch) -> np.ndarray:
        settled = 4 if earlier.any() else 0  # what the model of the round has of it
        return np.array([float(row[0] + settled > 3 >= without[0] + settled) for row in suspects], np.float32)

    checks = replace(OFF, quality=True)
    poisoned = updates.copy()
    poisoned[2] += trigger
    result = judge(inputs(poisoned), reference(marks), checks)
    assert result.verdicts[2] is Verdict.QUALITY
    assert sum(result.verdicts) == Verdict.QUALITY
    earlier[2] = trigger
    assert not any(judge(inputs(updates), reference(marks), checks).verdicts), "it seems to be theirs"
    result = judge(inputs(updates, contributions=tuple(earlier)), reference(marks), checks)
    assert result.verdicts[2] is Verdict.QUALITY
    assert sum(result.verdicts) == Verdict.QUALITY
    assert "past mark" in [scores.rule for _, scores in result.scores if not scores.passed.all()]


def test_a_crowd_is_judged_by_the_rules_of_a_crowd() -> None:
    checks = Checks(duplicate=False)
    flat = Slopes(1.0, np.zeros((8, SIZE), np.float32), 8)
    miner = replace(reference(), slopes=lambda *_: flat)
    for count in (FEW, FEW + 1):
        result = judge(inputs(honest(count)), miner, checks)
        rules = {scores.rule for _, scores in result.scores}
        assert len({"harm", "length", "against"} & rules) == (3 if count == FEW else 0)
        assert result.weights is not None, "levels are found at every size"


@pytest.mark.parametrize("count", [3, 7, 8, 12, 20])
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_who_makes_the_loss_infinite_is_rejected_wherever_it_stands(count: int, value: float) -> None:
    """From 8 updates on one that stood first silenced the rule: 0 of 1, and 0 of 2, were rejected."""
    minority = (count - 1) // 2
    for bad in ([0], [count - 1], list(range(minority)), list(range(count - minority, count))):

        def losses(weights: np.ndarray, bad: list[int] = bad) -> tuple[np.ndarray, int]:
            pieces = 1.0 - 0.3 * weights.sum() + 0.01 * np.cos(np.arange(50))
            return (np.full(50, value) if weights[bad].any() else pieces), 50

        with np.errstate(all="ignore"):
            scores, _ = harm.check(losses, np.ones(count), everybody(count))
        assert rejected(scores) == bad
