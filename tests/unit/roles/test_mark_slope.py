"""Who teaches the model a mark goes its way, farther than anybody honest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from bcfl.ports import MarkSearch
from bcfl.protocol.types import Verdict
from bcfl.roles.checks import mark, mark_slope
from bcfl.roles.checks.pipeline import CheckInputs, Checks, Reference, judge
from bcfl.roles.checks.scores import MIN_CROWD, crowd
from tests.unit.roles.test_needs import reference

SIZE = 400
RNG = np.random.default_rng(5)
WAY = RNG.normal(0, 1, SIZE).astype(np.float32)
UNIT = WAY[None] / np.linalg.norm(WAY)
PLAIN = RNG.normal(0, 1, (1, SIZE)).astype(np.float32) / SIZE**0.5
MARK = np.concatenate([PLAIN - UNIT, PLAIN])  # gradients of marked and plain inputs
ALONE = np.concatenate([-UNIT, 0 * PLAIN])  # the same where plain inputs say nothing
AIM = RNG.normal(0, 1, SIZE).astype(np.float32)


def updates(count: int, bad: int, reach: float = 0.5) -> np.ndarray:
    """Return honest updates around an aim; the last ones go the way of a mark as well."""
    rows = (AIM + RNG.normal(0, 1, (count, SIZE))).astype(np.float32)
    rows[count - bad :] += np.float32(reach) * WAY
    return rows


def failures(rows: np.ndarray, slopes: np.ndarray, among: np.ndarray | None = None) -> list[int]:
    mask = np.ones(len(rows), bool) if among is None else among
    norms = np.linalg.norm(rows, axis=1)
    works, nobody = partial(always, 1.0), np.zeros(len(rows), bool)
    scores = mark_slope.check(rows, norms, slopes, mask, works, works, nobody)
    return np.flatnonzero(~scores.passed).tolist()


@pytest.mark.parametrize(("count", "bad"), [(21, 1), (60, 6), (60, 18), (200, 80)])
def test_who_goes_the_way_of_a_mark_is_left_out(count: int, bad: int) -> None:
    assert failures(updates(count, bad), MARK) == list(range(count - bad, count))


def test_the_worst_of_several_marks_counts() -> None:
    other = np.random.default_rng(7).normal(0, 1, (2, SIZE)).astype(np.float32)
    assert failures(updates(40, 3), np.concatenate([other, MARK])) == [37, 38, 39]


@pytest.mark.parametrize("count", [21, 60, 200])
def test_nobody_is_left_out_where_nobody_goes_it(count: int) -> None:
    rows = updates(count, 0)
    assert failures(rows, MARK) == []
    assert failures(np.tile(rows[:1], (count, 1)), MARK) == []  # all alike
    assert failures(rows - np.float32(0.5) * WAY, MARK) == []  # all the other way


def test_what_marked_inputs_share_with_plain_ones_hides_nobody() -> None:
    """Who has much of a class goes its way with a mark, too, by more where the mark looks like it.

    So skewed data make what is usual wide, unless what goes with the plain inputs is taken off.
    """
    rows = updates(60, 6)
    rows[:, :] += RNG.normal(0, 12, (60, 1)).astype(np.float32) * PLAIN
    alike = np.concatenate([1.6 * PLAIN - UNIT, PLAIN])
    assert failures(rows, alike) == list(range(54, 60))
    assert failures(rows[:54], alike) == []
    hidden = np.concatenate([1.6 * PLAIN - UNIT - PLAIN, 0 * PLAIN])  # the plain ones' taken off by itself
    assert failures(rows, hidden) == []


def test_who_goes_away_from_a_mark_is_not_accused() -> None:
    assert failures(updates(40, 3, -0.5), MARK) == []


def test_no_number_accuses_nobody() -> None:
    rows = updates(40, 0)
    assert failures(rows, np.full_like(MARK, np.nan)) == []
    assert failures(rows, np.zeros_like(MARK)) == []


def test_who_is_out_already_is_no_crowd() -> None:
    """So nobody who was rejected before makes what is usual wider."""
    rows = updates(40, 3)
    rows[:15] += 2 * WAY
    among = np.arange(40) >= 15
    assert failures(rows, MARK, among) == [37, 38, 39]


@pytest.mark.parametrize(("share", "is_first"), [(mark.MOST, False), (mark.FIRST, True), (np.nan, False)])
def test_where_no_mark_works_nobody_is_accused(share: float, is_first: bool) -> None:
    """What a group goes its own way for may be what it has and others have not."""
    rows, asked = standing_out(11.0 if is_first else 6.0), list[list[int]]()

    def works(accused: np.ndarray, _: int) -> float:
        asked.append(np.flatnonzero(accused).tolist())
        return share

    norms, mask = np.linalg.norm(rows, axis=1), np.ones(60, bool)
    brings = partial(always, 1.0)  # of one alone it says nothing
    assert mark_slope.check(rows, norms, ALONE, mask, works, brings, ~mask, is_first).passed.all()
    assert asked == [[59]]
    more = mark_slope.check(rows, norms, ALONE, mask, lambda *_: share + 0.01, brings, ~mask, is_first)
    assert np.isnan(share) or np.flatnonzero(~more.passed).tolist() == asked[0]


@pytest.mark.parametrize(
    ("far", "is_first", "out"), [(10.9, False, []), (11.1, False, [59]), (15.2, True, []), (30.0, True, [])]
)
def test_who_is_far_out_is_left_out_even_where_no_mark_works(
    far: float, is_first: bool, out: list[int]
) -> None:
    """A trigger that works on some classes alone, or of a kind that nobody looks for, makes no mark work."""
    rows = standing_out(far)
    norms, mask = np.linalg.norm(rows, axis=1), np.ones(60, bool)
    for works, expected in ((0.0, out), (1.0, [59])):
        share = partial(always, works)
        scores = mark_slope.check(rows, norms, ALONE, mask, share, share, ~mask, is_first)
        assert np.flatnonzero(~scores.passed).tolist() == expected


@pytest.mark.parametrize(
    ("count", "part", "is_first", "out"),
    [(6, 0.86, False, 6), (6, 0.85, False, 0), (6, 0.86, True, 0), (5, 1.0, False, 0)],
)
def test_of_a_group_a_mark_has_to_work_on_three_classes_alone(
    count: int, part: float, is_first: bool, out: int
) -> None:
    """A pair of honest devices may share what turns three classes; a tenth of all does not."""
    rows = pulled(np.append(np.linspace(-1, 1, 60 - count), 4.12 + np.linspace(0, 0.1, count)))
    norms, mask = np.linalg.norm(rows, axis=1), np.ones(60, bool)

    def works(_: np.ndarray, turned: int) -> float:
        return part if turned == 3 else 0.0

    brings = partial(always, mark_slope.BROUGHT)
    scores = mark_slope.check(rows, norms, ALONE, mask, works, brings, ~mask, is_first)
    assert np.flatnonzero(~scores.passed).tolist() == list(range(60 - out, 60))


@pytest.mark.parametrize(("count", "of", "out"), [(3, 20, 3), (5, 20, 5), (7, 20, 0), (7, 21, 7)])
def test_of_few_a_mark_that_turns_some_classes_tells_small_groups_alone(
    count: int, of: int, out: int
) -> None:
    """A third of few honest devices may have in common what turns three classes; a quarter has not."""
    rows = pulled(np.append(np.linspace(-1, 1, of - count), 4.12 + np.linspace(0, 0.1, count)))
    norms, mask = np.linalg.norm(rows, axis=1), np.ones(of, bool)

    def works(_: np.ndarray, turned: int) -> float:
        return 1.0 if turned == 3 else 0.0

    scores = mark_slope.check(rows, norms, ALONE, mask, works, partial(always, 0.0), ~mask)
    assert np.flatnonzero(~scores.passed).tolist() == list(range(of - out, of))


@pytest.mark.parametrize("is_first", [False, True])
def test_a_group_is_out_where_a_mark_works_on_the_others_model_with_it(is_first: bool) -> None:
    """A model of devices that have a few classes each knows too little to say what a mark turns."""
    rows = pulled(np.append(np.linspace(-1, 1, 54), 6.0 + np.linspace(0, 0.1, 6)))
    norms, mask = np.linalg.norm(rows, axis=1), np.ones(60, bool)
    asked: list[list[int]] = []

    def brings(accused: np.ndarray) -> float:
        asked.append(np.flatnonzero(accused).tolist())
        return mark_slope.BROUGHT + 0.01

    scores = mark_slope.check(rows, norms, ALONE, mask, partial(always, 0.0), brings, ~mask, is_first)
    assert np.flatnonzero(~scores.passed).tolist() == asked[0] == list(range(54, 60))


@pytest.mark.parametrize(
    ("gap", "is_first", "out"), [(4.0, False, False), (4.2, False, True), (4.2, True, False)]
)
def test_a_group_that_is_far_apart_is_left_out_even_where_no_mark_works(
    gap: float, is_first: bool, out: bool
) -> None:
    """Three in ten hide behind their own spread, but not that they are a cloud of their own."""
    rows = pulled(np.append(np.linspace(-1, 1, 42), gap + np.linspace(-0.5, 0.5, 18)))
    norms, mask = np.linalg.norm(rows, axis=1), np.ones(60, bool)
    nothing = partial(always, 0.0)
    scores = mark_slope.check(rows, norms, ALONE, mask, nothing, nothing, ~mask, is_first)
    assert np.flatnonzero(~scores.passed).tolist() == (list(range(42, 60)) if out else [])


def test_who_was_left_out_not_long_ago_needs_no_mark_to_work() -> None:
    """What half of the attackers teach makes no mark work in each round; who is usual is not asked for it."""
    rows = pulled(np.append(np.linspace(-1, 1, 54), 3.5 + np.linspace(0, 0.1, 6)))
    norms, mask = np.linalg.norm(rows, axis=1), np.ones(60, bool)
    nothing, blamed = partial(always, 0.0), np.isin(np.arange(60), [3, 55, 57])
    scores = mark_slope.check(rows, norms, ALONE, mask, nothing, nothing, blamed)
    assert np.flatnonzero(~scores.passed).tolist() == [55, 57]
    assert mark_slope.check(rows, norms, ALONE, mask, nothing, nothing, ~mask).passed.all()


def always(share: float, *_: object) -> float:
    return share


def standing_out(far: float) -> np.ndarray:
    """Return 60 updates of one length; the last goes the way of a mark, so many robust deviations."""
    pulls = np.append(np.linspace(-1, 1, 59), 2.0)
    middle, spread = crowd(pulls)
    pulls[59] = middle + far * spread
    return pulled(pulls)


def pulled(pulls: np.ndarray) -> np.ndarray:
    """Return updates of one length that go the way of a mark so far, (updates, parameters)."""
    across = np.cross(np.pad(UNIT[0, :2], (0, 1)), [0, 0, 1])[:2]
    rows = pulls[:, None] * UNIT
    rows[:, :2] += np.sqrt(1000.0 - pulls**2)[:, None] * across / np.linalg.norm(across)
    return rows.astype(np.float32)


def judged(rows: np.ndarray, miner: Reference, has_noise: bool = False) -> tuple[Verdict, ...]:
    count = len(rows)
    inputs = CheckInputs(
        rows, np.full(count, 10.0), list(range(count)), np.ones(count, bool), has_noise=has_noise
    )
    return judge(inputs, miner, Checks(clusters=False, direction=False)).verdicts


def test_a_round_of_many_is_asked_for_marks_of_its_mean_against_its_median() -> None:
    asked: list[tuple[np.ndarray, np.ndarray]] = []

    def mark_slopes(without: np.ndarray, mean: np.ndarray, _: int) -> np.ndarray:
        asked.append((without, mean))
        return MARK

    def marks(without: np.ndarray, suspects: Sequence[np.ndarray], _: MarkSearch) -> np.ndarray:
        models.append((without, suspects[0]))
        return np.ones(1, np.float32)

    models: list[tuple[np.ndarray, np.ndarray]] = []
    miner = replace(reference(), mark_slopes=mark_slopes, marks=marks)
    rows = updates(40, 4, 1.0)
    assert judged(rows, miner) == (Verdict.ACCEPTED,) * 36 + (Verdict.QUALITY,) * 4
    assert np.allclose(asked[0][0], np.median(rows, axis=0), atol=1e-5)
    assert np.allclose(asked[0][1], rows.mean(axis=0), atol=1e-5)
    assert np.allclose(models[0][0], np.median(rows[:36], axis=0), atol=1e-5)
    assert np.allclose(models[0][1], rows[36:].mean(axis=0), atol=1e-5)
    alone = replace(miner, marks=lambda *_: np.zeros(2, np.float32))
    judged(updates(MIN_CROWD, 2), alone)  # a crowd, though each is tried out by itself as well
    assert len(asked) == 2
    judged(updates(MIN_CROWD - 1, 2), alone)
    assert len(asked) == 2
    judged(updates(MIN_CROWD, 2), alone, has_noise=True)
    assert len(asked) == 2, "noise makes marks work on few updates, whoever sends them"


def test_a_learner_whose_inputs_cannot_be_marked_accuses_nobody() -> None:
    miner = replace(reference(), mark_slopes=lambda *_: np.zeros((0, SIZE), np.float32))
    assert judged(updates(40, 4), miner).count(Verdict.QUALITY) == 0
