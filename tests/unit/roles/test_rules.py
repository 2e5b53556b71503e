"""The rules over a round's numbers, each against a transcription of its definition on random inputs."""

from __future__ import annotations

import math
from itertools import combinations
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcfl.roles.checks import clusters, direction, duplicate, krum, min_norm, norm, scores

rounds = st.tuples(st.integers(0, 10**6), st.integers(1, 14), st.integers(1, 12))
SIZE = 4000
ALL = np.ones(20, bool)
few_examples = settings(max_examples=60, deadline=None)


def draw_updates(seed: int, count: int, size: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.2, 1, (count, size))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    norms = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return float(sum(x * y for x, y in zip(a, b, strict=True)) / max(norms, 1e-30))


def median_and_mad(values: list[float]) -> tuple[float, float]:
    """Median, and MAD as a standard deviation, raised where there are few."""
    middle = median(values)
    return middle, 1.4826 * median(abs(v - middle) for v in values) * (1 + 8 / len(values))


def clamp(neutral: float, low: float, high: float) -> float:
    return max(low, min(neutral, high))


# scores


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_a_crowd_is_its_median_and_its_mad(values: list[float]) -> None:
    assert scores.crowd(np.array(values)) == pytest.approx(median_and_mad(values))


def test_nobody_is_no_crowd() -> None:
    assert scores.crowd(np.empty(0)) == (0.0, 0.0)


@given(st.floats(-9, 9), st.floats(-9, 9), st.floats(-9, 9))
def test_a_bound_gives_way_to_the_crowd(neutral: float, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert float(scores.clamp(neutral, low, high)) == clamp(neutral, low, high)


def test_no_number_passes_nothing() -> None:
    result = scores.bounded("x", np.array([1.0, np.nan, np.inf, 2.0]), minimum=1.0, maximum=1.5)
    assert result.passed.tolist() == [True, False, False, False]


# norm: from a twentieth of the reference to 2.2 of it; without one, to 3 medians of the round.


@given(rounds, st.none() | st.floats(0.1, 9), st.floats(0, 0.5))
@few_examples
def test_norm(drawing: tuple[int, int, int], reference: float | None, rounding: float) -> None:
    norms = np.abs(draw_updates(*drawing)[:, 0]) + 1e-3
    reference_norm = median(norms.tolist()) if reference is None else reference
    factor = 3 if reference is None else 2 * 1.1
    least = 0.0 if median(norms.tolist()) < 0.2 * (reference or 0) else 0.05 * reference_norm
    expected = [least <= v <= factor * reference_norm + rounding for v in norms]
    assert norm.check(norms, reference, rounding).passed.tolist() == expected


def test_nothing_is_no_update() -> None:
    assert norm.check(np.array([1.0, 1.0, 0.0]), None).passed.tolist() == [True, True, False]
    assert norm.check(np.zeros(3), None).passed.all(), "where nobody moves, nobody is to blame"


def test_where_most_are_short_training_is_over() -> None:
    norms = np.array([0.0, 0.01, 0.02, 0.5, 3.0])
    assert norm.short(norms, 1.0).tolist() == [True, True, True, False, False]
    assert norm.check(norms, 1.0).passed.tolist() == [True, True, True, True, False]
    assert not norm.short(np.array([0.0, 0.01, 0.9, 1.0, 1.1]), 1.0).any(), "as long as most go far"
    assert not norm.short(norms, None).any()


# krum


@given(rounds, st.integers(0, 4))
@few_examples
def test_krum_is_that_of_the_paper(drawing: tuple[int, int, int], attackers: int) -> None:
    updates = draw_updates(*drawing)
    count = len(updates)
    result = krum.check(updates @ updates.T, attackers)
    if count < 2 * attackers + 3:
        assert result.passed.all()
        return
    expected = []
    for i in range(count):
        squares = sorted(sum((updates[i] - updates[j]) ** 2) for j in range(count) if j != i)
        expected.append(sum(squares[: count - attackers - 2]))
    assert result.values == pytest.approx(expected, abs=1e-9)
    assert result.passed.sum() == count - attackers
    assert set(np.flatnonzero(result.passed)) == set(np.argsort(expected, kind="stable")[: count - attackers])


# direction


@given(rounds, st.integers(0, 2**14 - 1))
@few_examples
def test_direction(drawing: tuple[int, int, int], mask: int) -> None:
    updates = draw_updates(*drawing)
    weights = np.arange(1.0, len(updates) + 1)
    good = np.array([mask >> i & 1 == 1 for i in range(len(updates))])
    result = direction.check(updates @ updates.T, weights, good, 10**4, 3.0)
    cosines = []
    for i, update in enumerate(updates):
        rows = [weights[j] * updates[j] for j in range(len(updates)) if good[j] and j != i]
        cosines.append(cosine(update, np.sum(rows, axis=0)) if rows else 0.0)
    assert result.values == pytest.approx(cosines, abs=1e-6)
    if good.sum() < 8:
        assert result.passed.all()
        return
    middle, spread = median_and_mad([c for c, g in zip(cosines, good, strict=True) if g])
    spread = max(spread, 0.01)
    minimum = clamp(4 / 100, middle - 6 * spread, middle - 3 * spread)
    assert result.minimum == pytest.approx(np.full(len(updates), minimum), abs=1e-6)


# min_norm


@given(st.lists(st.tuples(st.floats(0.0, 9.0), st.integers(1, 500), st.booleans()), min_size=1, max_size=14))
@few_examples
def test_min_norm(updates: list[tuple[float, int, bool]]) -> None:
    norms, samples = np.array([u[0] for u in updates]), np.array([float(u[1]) for u in updates])
    good = np.array([u[2] for u in updates])
    result = min_norm.check(norms, samples, good)
    if good.sum() < 8:
        assert result.passed.all()
        return
    median_norm, median_claim = np.median(norms[good]), np.median(samples[good])
    ratios = [
        norm_ / max(median_norm * min(1.0, claim / median_claim), 1e-30)
        for norm_, claim in zip(norms, samples, strict=True)
    ]
    middle = float(np.median([ratio for ratio, g in zip(ratios, good, strict=True) if g]))
    ratios_below = [ratio for ratio, g in zip(ratios, good, strict=True) if g and ratio <= middle]
    spread = max(median_and_mad([*ratios_below, *(2 * middle - ratio for ratio in ratios_below)])[1], 0.03)
    assert result.values == pytest.approx(ratios)
    assert result.minimum[0] == pytest.approx(clamp(0.6, middle - 6 * spread, middle - 3 * spread))


def test_a_claim_of_ten_times_the_samples_has_too_small_a_norm() -> None:
    """Norms grow with the root of the samples; six of sixty have a tenth of what they claim."""
    claims = np.random.default_rng(3).uniform(50, 500, 60)
    samples = np.where(np.arange(60) < 6, claims / 10, claims)
    for noise in np.random.default_rng(4).normal(1, 0.05, (20, 60)):
        result = min_norm.check(np.sqrt(samples) * noise, claims, np.ones(60, bool))
        assert result.passed[6:].all()
        assert not result.passed[:6][claims[:6] > 200].any()


# copies


def copy_limit(values: list[float], nearest: list[float], neutral: float) -> float:
    scale = [math.atanh(max(-1 + 1e-9, min(1 - 1e-9, v))) for v in values]
    middle = median(math.atanh(max(-1 + 1e-9, min(1 - 1e-9, v))) for v in nearest)
    spread = max(median_and_mad(scale)[1], 0.04) + 1 / len(values)
    value = clamp(math.atanh(neutral), middle + 10 * spread, middle + 25 * spread)
    return math.tanh(value)


@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(2, 12))
@few_examples
def test_a_copy_is_nearer_to_an_earlier_one_than_others_are(seed: int, count: int, size: int) -> None:
    updates = draw_updates(seed, count, size)
    ranks = np.random.default_rng(seed).permutation(count).tolist()
    cosines = np.array([[cosine(a, b) for b in updates] for a in updates])
    result = duplicate.within_round(cosines, ranks, np.ones(count, bool))
    pairs = [cosines[i, j] for i in range(count) for j in range(count) if i != j]
    nearest = [max(cosines[i, j] for j in range(count) if j != i) for i in range(count)]
    limit = copy_limit(pairs, nearest, 0.975)
    expected = [
        not any(min(cosines[i, j], 1 - 1e-9) > limit for j in range(count) if ranks[j] < ranks[i])
        for i in range(count)
    ]
    assert result.passed.tolist() == expected


@given(st.integers(0, 10**6), st.integers(1, 7), st.integers(1, 7))
@few_examples
def test_an_old_copy_is_nearer_to_an_earlier_round_than_others_are(
    seed: int, count: int, earlier: int
) -> None:
    rng = np.random.default_rng(seed)
    cosines = rng.uniform(-1, 1, (count, earlier))
    same_device = np.equal.outer(rng.permutation(9)[:count], rng.permutation(9)[:earlier])
    expected = []
    for i in range(count):
        is_fresh = True
        for j in range(earlier):
            places = [(a, b) for a, b in np.ndindex(cosines.shape) if same_device[a, b] == same_device[i, j]]
            nearest = {a: max(float(cosines[x, y]) for x, y in places if x == a) for a, _ in places}
            neutral = 0.9995 if same_device[i, j] else 0.975
            is_fresh &= min(cosines[i, j], 1 - 1e-9) <= copy_limit(
                [float(cosines[p]) for p in places], list(nearest.values()), neutral
            )
        expected.append(is_fresh)
    assert duplicate.across_rounds(cosines, same_device).passed.tolist() == expected


def honest(rng: np.random.Generator, count: int, similarity: float, size: int = SIZE) -> np.ndarray:
    """Updates of shape (count, size) whose cosines lie about `similarity`."""
    common, noise = rng.normal(size=size), rng.normal(size=(count, size))
    return math.sqrt(similarity) * common + math.sqrt(1 - similarity) * noise


@pytest.mark.parametrize("similarity", [0.02, 0.3, 0.8, 0.98])
def test_honest_devices_with_like_data_are_no_copies(similarity: float) -> None:
    for seed in range(20):
        updates = honest(np.random.default_rng(seed), 20, similarity)
        norms = np.linalg.norm(updates, axis=1)
        cosines = updates @ updates.T / np.outer(norms, norms)
        assert duplicate.within_round(cosines, list(range(20)), ALL).passed.all()


@pytest.mark.parametrize("count", [2, 3, 9, 20])
def test_where_all_are_the_same_nobody_is_a_copy(count: int) -> None:
    """Devices with the very same data: exact copies have the same root, and that is another check."""
    assert duplicate.within_round(
        np.ones((count, count)), list(range(count)), np.ones(count, bool)
    ).passed.all()


@pytest.mark.parametrize("seed", range(10))
def test_devices_with_the_same_two_classes_are_no_copies(seed: int) -> None:
    """Each class pulls its own way; a few devices have both classes in common, most have one or none."""
    rng = np.random.default_rng(seed)
    classes = rng.normal(size=(10, SIZE))
    pairs = [rng.choice(10, 2, replace=False) for _ in range(20)]
    pairs[1], pairs[3] = pairs[0], pairs[2]
    updates = np.stack([classes[pair].sum(axis=0) + 0.4 * rng.normal(size=SIZE) for pair in pairs])
    cosines = cosines_of(updates)
    assert cosines[0, 1] > 0.9
    assert duplicate.within_round(cosines, list(range(20)), ALL).passed.all()


@pytest.mark.parametrize(("similarity", "noise"), [(0.02, 0.4), (0.3, 0.3), (0.8, 0.2)])
@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_noise_and_scaling_do_not_hide_a_copy(similarity: float, noise: float, factor: float) -> None:
    rng = np.random.default_rng(1)
    updates = honest(rng, 20, similarity)
    updates[7] = factor * (updates[3] + noise * rng.normal(size=SIZE))
    norms = np.linalg.norm(updates, axis=1)
    cosines = updates @ updates.T / np.outer(norms, norms)
    ranks = list(range(20))
    assert np.flatnonzero(~duplicate.within_round(cosines, ranks, ALL).passed).tolist() == [7]
    reversed_ranks = [20 - rank for rank in ranks]
    assert np.flatnonzero(~duplicate.within_round(cosines, reversed_ranks, ALL).passed).tolist() == [3], (
        "who commits first has it"
    )


def test_a_copy_of_an_old_update_does_not_make_its_owner_a_copy() -> None:
    rng = np.random.default_rng(1)
    updates = honest(rng, 20, 0.1)
    updates[7] = updates[3] + 0.02 * rng.normal(size=SIZE)
    cosines, ranks = cosines_of(updates), [20 - rank for rank in range(20)]
    assert not duplicate.within_round(cosines, ranks, ALL).passed[3]
    assert duplicate.within_round(cosines, ranks, np.arange(20) != 7).passed.all()


# clusters


def separation(places: list[float]) -> float:
    """The clearest two clouds of a line: the lesser of distance and gap, in units of their thresholds."""
    places, count, best = sorted(places), len(places), 0.0
    factor = 1 + (16 / count) ** 2
    for cut in range(2, count - 1):
        low, high = places[:cut], places[cut:]
        middles = sum(low) / len(low), sum(high) / len(high)
        within = sum((x - middles[0]) ** 2 for x in low) + sum((x - middles[1]) ** 2 for x in high)
        deviation = max(math.sqrt(within / (count - 2)), 1e-12)
        distance, gap = (middles[1] - middles[0]) / deviation, (high[0] - low[-1]) / deviation
        best = max(best, min(distance / (4.5 * factor), gap / (1.2 * factor)))
    return best


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=30))
@few_examples
def test_the_widest_cut_of_a_line(places: list[float]) -> None:
    assert clusters.widest_cut(np.sort(places))[0] == pytest.approx(separation(places), rel=1e-4, abs=1e-6)


def cosines_of(updates: np.ndarray) -> np.ndarray:
    unit = updates / np.linalg.norm(updates, axis=1, keepdims=True)
    return np.asarray(unit @ unit.T)


def cluster_scores(
    cosines: np.ndarray,
    trust: np.ndarray | None = None,
    eligible: np.ndarray | None = None,
    needed: frozenset[int] = frozenset(),
) -> scores.Scores:
    """Clusters of forty updates; the model cannot do without those that are `needed`."""
    ones = np.ones(40)
    return clusters.check(
        cosines,
        lambda: ones if trust is None else trust,
        lambda dropped, _: not needed & set(np.flatnonzero(dropped).tolist()),
        ones > 0 if eligible is None else eligible,
    )


@pytest.mark.parametrize("similarity", [0.02, 0.5])
def test_honest_updates_are_one_cluster(similarity: float) -> None:
    for seed in range(20):
        cosines = cosines_of(honest(np.random.default_rng(seed), 40, similarity))
        assert cluster_scores(cosines).passed.all()


@pytest.mark.parametrize("bad", [4, 10, 18])
def test_a_common_aim_shows_through_noise(bad: int) -> None:
    rng = np.random.default_rng(0)
    updates = honest(rng, 40, 0.2)
    updates[:bad] += 0.7 * rng.normal(size=SIZE)
    result = cluster_scores(cosines_of(updates))
    assert np.flatnonzero(~result.passed).tolist() == list(range(bad))


def test_the_many_are_dropped_only_if_they_point_away() -> None:
    rng = np.random.default_rng(0)
    updates = honest(rng, 40, 0.2)
    updates[:24] += 0.9 * rng.normal(size=SIZE)
    mask = np.arange(40) < 24
    slopes = np.where(mask, -0.5, 0.3) + rng.normal(0, 0.01, 40)
    cosines = cosines_of(updates)
    assert (~cluster_scores(cosines, slopes).passed == mask).all()
    assert (~cluster_scores(cosines, -slopes).passed == ~mask).all()


def test_a_cluster_that_the_model_needs_stays() -> None:
    """Rare data makes a cluster of its own, or attackers make one round it."""
    rng = np.random.default_rng(0)
    updates = honest(rng, 40, 0.2)
    updates[:10] += 0.7 * rng.normal(size=SIZE)
    cosines = cosines_of(updates)
    assert (~cluster_scores(cosines).passed).sum() == 10
    assert cluster_scores(cosines, needed=frozenset({0})).passed.all()


def test_rejected_updates_are_in_no_cluster() -> None:
    rng = np.random.default_rng(0)
    updates = honest(rng, 40, 0.2)
    updates[:10] += 0.7 * rng.normal(size=SIZE)
    eligible = np.arange(40) >= 10
    assert cluster_scores(cosines_of(updates), eligible=eligible).passed.all()


def test_every_pair_of_a_triple_counts() -> None:
    """Three that are alike: the second and the third are copies, the first is not."""
    rng = np.random.default_rng(2)
    updates = honest(rng, 20, 0.1)
    for i in (8, 12):
        updates[i] = updates[5] + 0.05 * rng.normal(size=SIZE)
    assert all(cosine(updates[a], updates[b]) > 0.99 for a, b in combinations((5, 8, 12), 2))
    assert np.flatnonzero(
        ~duplicate.within_round(cosines_of(updates), list(range(20)), ALL).passed
    ).tolist() == [
        8,
        12,
    ]
