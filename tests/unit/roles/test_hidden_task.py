"""A group that teaches something together is found by what no classes explain, whatever that is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bcfl.ports import Slopes
from bcfl.roles.checks import hidden_task
from bcfl.roles.checks.medians import median_of
from bcfl.roles.checks.needs import Updates
from bcfl.roles.checks.pipeline import CheckInputs, Reference, judge
from bcfl.roles.checks.scores import Scores
from tests.unit.roles.test_pipeline import OFF

SIZE, CLASSES, COUNT = 4_000, 10, 60
NOISE = 1.5  # of a device's own, in lengths of a class's direction


def unit(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Random directions of length 1, (rows, SIZE)."""
    ways: np.ndarray = rng.normal(0, 1, (rows, SIZE))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    return ways


def round_of(
    seed: int, members: int = 0, part: float = 0.6, alpha: float = 0.5, count: int = COUNT, alike: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Updates of devices with skewed classes, the first so many with something in common; and slopes.

    `alike`: the share of their classes that is the same for all of these.
    """
    rng = np.random.default_rng(seed)
    ways, hidden = unit(rng, CLASSES), unit(rng, 1)[0]
    shares = rng.dirichlet(np.full(CLASSES, alpha), count)
    shares[:members] += alike * (shares[0] - shares[:members])
    updates = shares @ ways + NOISE * unit(rng, count) * rng.uniform(0.7, 1.3, (count, 1))
    updates[:members] += part * hidden
    slopes = -ways + 0.3 * unit(rng, CLASSES)  # of the miner's own few samples
    return (rng.uniform(0.5, 2.0, (count, 1)) * updates).astype(np.float32), slopes.astype(np.float32)


def hidden_of(seed: int) -> np.ndarray:
    """What the members of `round_of` have in common, (SIZE,)."""
    rng = np.random.default_rng(seed)
    unit(rng, CLASSES)
    way: np.ndarray = unit(rng, 1)[0]
    return way


def check(
    updates: np.ndarray, slopes: np.ndarray, blamed: tuple[int, ...] = (), is_harmless: bool = True
) -> Scores:
    everybody = np.ones(len(updates), bool)
    view, usual = Updates(updates).view(hidden_task.NEEDS), median_of(updates, everybody)
    known = np.isin(np.arange(len(updates)), blamed)
    return hidden_task.check(view, slopes, usual, everybody, known, lambda *_: is_harmless)


@pytest.mark.parametrize(("members", "alpha"), [(8, 0.5), (18, 0.1), (18, 0.5), (18, 100.0), (24, 0.5)])
def test_a_group_with_something_in_common_is_out_and_nobody_else(members: int, alpha: float) -> None:
    for seed in range(3):
        passed = check(*round_of(seed, members, 0.8, alpha)).passed
        assert passed[members:].all()
        assert passed[:members].sum() <= members // 8


@pytest.mark.parametrize("alpha", [0.1, 0.5, 100.0])
def test_honest_devices_share_nothing(alpha: float) -> None:
    for seed in range(10):
        assert check(*round_of(seed, alpha=alpha)).passed.all()


def test_what_classes_explain_hides_nobody_and_accuses_nobody() -> None:
    """Without the ways of the classes the same group is not told from the others."""
    updates, slopes = round_of(0, 18, alpha=0.1)
    assert not check(updates, slopes).passed[:18].any()
    other = unit(np.random.default_rng(90), CLASSES).astype(np.float32)
    assert check(updates, other).passed[18:].sum() < 42 or check(updates, other).passed[:18].any()


def test_two_groups_are_found_one_after_the_other() -> None:
    updates, slopes = round_of(1, 12)
    second = unit(np.random.default_rng(50), 1)[0] * 0.6 * np.linalg.norm(updates[48:], axis=1, keepdims=True)
    updates[48:] += second.astype(np.float32)
    passed = check(updates, slopes).passed
    assert not passed[:12].any()
    assert not passed[48:].any()
    assert passed[12:48].all()


def test_a_group_with_the_same_data_is_let_be() -> None:
    """What those have in common who have the same two classes is of these classes."""
    rng = np.random.default_rng(20)
    updates, slopes = round_of(2)
    pair, both = slopes[0] + slopes[1], unit(rng, 1)[0]
    same = 0.6 * both - 0.7 * pair + NOISE * unit(rng, 8)
    updates[:8] = same.astype(np.float32)
    assert check(updates, slopes).passed.all()
    apart = 0.6 * both - (rng.dirichlet(np.full(CLASSES, 0.5), 8) @ slopes) + NOISE * unit(rng, 8)
    updates[:8] = apart.astype(np.float32)
    assert not check(updates, slopes).passed[:8].any()


def test_what_those_share_whose_data_are_alike_says_less() -> None:
    """Unless they were found before."""
    assert not check(*round_of(3, 18)).passed[:18].any()
    alike = round_of(3, 18, alike=0.5)
    assert check(*alike).passed.all()
    assert np.flatnonzero(~check(*alike, tuple(range(18))).passed).tolist() == list(range(18))


def test_who_shares_with_others_alone_is_not_accused_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others may carry what is left of some honest updates: these have nothing from each other."""
    updates, slopes = round_of(0)
    rng, lengths = np.random.default_rng(500), np.linalg.norm(updates, axis=1, keepdims=True)
    ways, _ = np.linalg.qr(slopes.T.astype(np.float64))
    units = updates / lengths
    inside = (units @ ways) @ ways.T
    carried = (units - inside)[18:26].sum(axis=0)
    noise = unit(rng, 18)
    noise -= noise.mean(axis=0)  # they cancel it between them
    own = 0.4 * inside[:18] / np.linalg.norm(inside[:18], axis=1, keepdims=True)
    rest = 0.3 * carried / np.linalg.norm(carried)
    cover = np.sqrt(1 - 0.3**2) * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    updates[:18] = lengths[:18] * (own + 0.9 * (rest + cover))
    assert check(updates, slopes).passed.all()
    monkeypatch.setattr(hidden_task, "_mutual", lambda *_: np.inf)
    assert np.flatnonzero(~check(updates, slopes).passed).tolist() == list(range(18, 26))


def test_who_was_found_not_long_ago_is_found_by_less() -> None:
    """Two thirds of a group have to be known; it need not be clear of the others, and those alone go."""
    updates, slopes = round_of(8, 18, part=0.7)
    lengths = np.linalg.norm(updates, axis=1, keepdims=True)
    some = np.zeros(COUNT)
    some[18:34] = np.linspace(0.3, 0.05, 16)
    updates += (lengths * some[:, None] * hidden_of(8)).astype(np.float32)
    assert check(updates, slopes).passed.all(), "the others' parts make it unclear"
    members = tuple(range(18))
    assert np.flatnonzero(~check(updates, slopes, members).passed).tolist() == list(members)
    assert check(updates, slopes, members[:10]).passed.all()
    assert check(*round_of(9), members).passed.all()


def test_few_updates_and_what_is_no_number_accuse_nobody() -> None:
    updates, slopes = round_of(4, 12, part=0.9, count=hidden_task.MIN_UPDATES)
    assert not check(updates, slopes).passed[:12].any()
    assert check(updates[1:], slopes).passed.all()
    assert check(updates, np.full_like(slopes, np.nan)).passed.all()
    assert check(updates, 0 * slopes).values.shape == (len(updates),)
    still = np.concatenate([updates, np.zeros_like(updates[:3])])
    scores = check(still, slopes)
    assert not scores.passed[:12].any()
    assert scores.passed[12:].all()


def test_one_update_that_is_no_number_hides_nobody() -> None:
    updates, slopes = round_of(5, 18)
    updates[59] = np.inf
    with np.errstate(all="ignore"):  # as a round is judged
        passed = check(updates, slopes).passed
    assert not passed[:18].any()
    assert passed[18:].all()


def test_more_classes_than_updates_explain_a_third_at_most() -> None:
    rng = np.random.default_rng(60)
    updates, slopes = round_of(6, 10, part=0.8)
    many = np.concatenate([slopes, 0.1 * unit(rng, 90)]).astype(np.float32)
    assert not check(updates, many).passed[:10].any()


def test_a_miner_looks_where_it_has_slopes_and_enough_updates() -> None:
    updates, slopes = round_of(7, 18, alpha=0.1)
    inputs = CheckInputs(updates, np.full(COUNT, 10.0), list(range(COUNT)), np.ones(COUNT, bool))
    asked = list[int]()

    def class_slopes(samples: int) -> np.ndarray:
        asked.append(samples)
        return slopes

    still = Slopes(0.0, np.zeros((8, SIZE), np.float32), 16)
    miner = Reference(lambda: -slopes.mean(axis=0), lambda *_: still, class_slopes=class_slopes)
    checks = replace(OFF, clusters=True)
    result = judge(inputs, miner, checks)
    assert asked == [hidden_task.SAMPLES]
    assert [bool(verdict) for verdict in result.verdicts] == [True] * 18 + [False] * 42
    assert [scores.rule for _, scores in result.scores] == ["clusters", "hidden task"]
    none = replace(miner, class_slopes=lambda _: slopes[:1])
    assert not any(judge(inputs, none, checks).verdicts)
    assert not any(judge(inputs, miner, OFF).verdicts)
    assert len(asked) == 1
    few = replace(inputs, eligible=np.arange(COUNT) < 20)
    judge(few, miner, checks)
    assert len(asked) == 1


def test_two_clouds_split_where_they_are_apart() -> None:
    share, upper = hidden_task.two_clouds(np.array([0.0, 0.1, 5.0, 0.2, 5.1, 5.2, 0.05]))
    assert share > 0.99
    assert upper.tolist() == [False, False, True, False, True, True, False]
    uniform, _ = hidden_task.two_clouds(np.linspace(0, 1, 101))
    assert uniform == pytest.approx(0.75, abs=0.01)
    assert hidden_task.two_clouds(np.zeros(6))[0] == 0.0


def test_the_model_may_need_whom_it_is_not_sure_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group of alike data is kept where the model is worse without it, unless it is plain, or known."""
    assert not check(*round_of(3, 18), is_harmless=False).passed[:18].any()
    alike = round_of(3, 18, alike=0.35, part=0.8)
    assert not check(*alike, is_harmless=False).passed[:18].any()
    monkeypatch.setattr(hidden_task, "SURE", 1.0)
    assert not check(*round_of(3, 18), is_harmless=False).passed[:18].any(), "these differ"
    assert check(*alike, is_harmless=False).passed.all()
    assert not check(*alike).passed[:18].any()
    assert not check(*alike, tuple(range(18)), False).passed[:18].any()


def test_who_is_remembered_for_something_else_is_no_group_again() -> None:
    """Two thirds of a group may be known by chance, where many are; then it is not the same group."""
    alike = round_of(3, 18, alike=0.5)
    others = tuple(range(20, 50))
    assert not check(*alike, tuple(range(18))).passed[:18].any()
    assert check(*alike, (*range(18), *others)).passed.all()
