"""The rules over a round's numbers, each against a transcription of its definition on random inputs."""

from __future__ import annotations

import math
from itertools import combinations
from statistics import median, stdev

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcfl.roles.checks import clusters, direction, duplicate, krum, min_norm, norm, quality, scores

rounds = st.tuples(st.integers(0, 10**6), st.integers(1, 14), st.integers(1, 12))
SIZE = 4000
ALL = np.ones(20, bool)
few = settings(max_examples=60, deadline=None)


def drawn(seed: int, count: int, size: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.2, 1, (count, size))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return float(sum(x * y for x, y in zip(a, b, strict=True)) / max(lengths, 1e-30))


def usual(values: list[float]) -> tuple[float, float]:
    """Median, and MAD as a standard deviation, raised where there are few."""
    middle = median(values)
    return middle, 1.4826 * median(abs(v - middle) for v in values) * (1 + 8 / len(values))


def held(neutral: float, low: float, high: float) -> float:
    return max(low, min(neutral, high))


# scores


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_a_crowd_is_its_median_and_its_mad(values: list[float]) -> None:
    assert scores.crowd(np.array(values)) == pytest.approx(usual(values))


def test_nobody_is_no_crowd() -> None:
    assert scores.crowd(np.empty(0)) == (0.0, 0.0)


@given(st.floats(-9, 9), st.floats(-9, 9), st.floats(-9, 9))
def test_a_bound_gives_way_to_the_crowd(neutral: float, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert float(scores.clamp(neutral, low, high)) == held(neutral, low, high)


def test_no_number_passes_nothing() -> None:
    result = scores.bounded("x", np.array([1.0, np.nan, np.inf, 2.0]), minimum=1.0, maximum=1.5)
    assert result.passed.tolist() == [True, False, False, False]


# norm: from a twentieth of the reference to 2.2 of it; without one, to 3 medians of the round.


@given(rounds, st.none() | st.floats(0.1, 9), st.floats(0, 0.5))
@few
def test_norm(drawing: tuple[int, int, int], reference: float | None, rounding: float) -> None:
    lengths = np.abs(drawn(*drawing)[:, 0]) + 1e-3
    unit = median(lengths.tolist()) if reference is None else reference
    limit = 3 if reference is None else 2 * 1.1
    expected = [unit * 0.05 <= v <= limit * unit + rounding for v in lengths]
    assert norm.check(lengths, reference, rounding).passed.tolist() == expected


def test_nothing_is_no_update() -> None:
    assert norm.check(np.array([1.0, 1.0, 0.0]), None).passed.tolist() == [True, True, False]
    assert norm.check(np.zeros(3), None).passed.all(), "where nobody moves, nobody is to blame"


# krum


@given(rounds, st.integers(0, 4))
@few
def test_krum_is_that_of_the_paper(drawing: tuple[int, int, int], attackers: int) -> None:
    updates = drawn(*drawing)
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
@few
def test_direction(drawing: tuple[int, int, int], mask: int) -> None:
    updates = drawn(*drawing)
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
    middle, spread = usual([c for c, g in zip(cosines, good, strict=True) if g])
    spread = max(spread, 0.01)
    minimum = held(4 / 100, middle - 6 * spread, middle - 3 * spread)
    assert result.minimum == pytest.approx(np.full(len(updates), minimum), abs=1e-6)


# min_norm


@given(st.lists(st.tuples(st.floats(0.0, 9.0), st.integers(1, 500), st.booleans()), min_size=1, max_size=14))
@few
def test_min_norm(updates: list[tuple[float, int, bool]]) -> None:
    lengths, samples = np.array([u[0] for u in updates]), np.array([float(u[1]) for u in updates])
    good = np.array([u[2] for u in updates])
    result = min_norm.check(lengths, samples, good)
    if good.sum() < 8:
        assert result.passed.all()
        return
    usual_length, usual_claim = np.median(lengths[good]), np.median(samples[good])
    ratios = [
        length / max(usual_length * min(1.0, claim / usual_claim), 1e-30)
        for length, claim in zip(lengths, samples, strict=True)
    ]
    middle = float(np.median([way for way, g in zip(ratios, good, strict=True) if g]))
    below = [way for way, g in zip(ratios, good, strict=True) if g and way <= middle]
    spread = max(usual([*below, *(2 * middle - way for way in below)])[1], 0.03)
    assert result.values == pytest.approx(ratios)
    assert result.minimum[0] == pytest.approx(held(0.6, middle - 6 * spread, middle - 3 * spread))


def test_a_claim_of_ten_times_the_samples_goes_too_short_a_way() -> None:
    """Lengths grow with the root of the samples; six of sixty have a tenth of what they claim."""
    claims = np.random.default_rng(3).uniform(50, 500, 60)
    samples = np.where(np.arange(60) < 6, claims / 10, claims)
    for noise in np.random.default_rng(4).normal(1, 0.05, (20, 60)):
        result = min_norm.check(np.sqrt(samples) * noise, claims, np.ones(60, bool))
        assert result.passed[6:].all()
        assert not result.passed[:6][claims[:6] > 200].any()


# quality


@given(rounds, st.integers(0, 2**14 - 1))
@few
def test_quality(drawing: tuple[int, int, int], mask: int) -> None:
    seed, count, _ = drawing
    merits = drawn(seed, count, 8)
    trusted = np.array([mask >> i & 1 == 1 for i in range(count)])
    result = quality.check(merits, trusted, 3.0)
    mean = merits.mean(axis=1).tolist()
    usual_parts = [median(merits[trusted, part].tolist()) if trusted.any() else 0.0 for part in range(8)]
    middle, spread = usual([m for m, t in zip(mean, trusted, strict=True) if t]) if trusted.any() else (0, 0)
    for i in range(count):
        doubt = min(stdev(merits[i]), stdev(merits[i] - usual_parts)) / math.sqrt(8) * 2.5
        low = middle - 6 * spread if trusted.sum() >= 8 else -math.inf
        assert result.minimum[i] == pytest.approx(held(0.0, low, middle - 3 * spread) - doubt, abs=1e-6)


@pytest.mark.parametrize("slope", [np.nan, np.inf])
def test_a_slope_that_is_no_number_is_nobodys_fault(slope: float) -> None:
    merits = np.ones((9, 8))
    merits[0, 0] = slope
    assert quality.check(merits, np.ones(9, bool), 3.0).passed.all()


def test_one_sample_can_say_nothing() -> None:
    merits = np.array([[-9.0]] + [[1.0]] * 8)
    assert quality.check(merits, np.ones(9, bool), 3.0).passed.all()


def test_no_update_is_no_trouble() -> None:
    nothing = np.empty((0, 0))
    assert not len(quality.check(np.empty((0, 8)), np.empty(0, bool), 3.0).passed)
    assert not len(norm.check(np.empty(0), None).passed)
    assert not len(krum.check(nothing, 0).passed)
    assert not len(duplicate.within_round(nothing, [], np.empty(0, bool)).passed)
    assert not len(direction.check(nothing, np.empty(0), np.empty(0, bool), 9, 3.0).passed)
    assert not len(clusters.check(nothing, np.empty(0), np.empty(0, bool)).passed)
    assert not len(min_norm.check(np.empty(0), np.empty(0), np.empty(0, bool)).passed)


# copies


def like(values: list[float], nearest: list[float], neutral: float) -> float:
    scale = [math.atanh(max(-1 + 1e-9, min(1 - 1e-9, v))) for v in values]
    middle = median(math.atanh(max(-1 + 1e-9, min(1 - 1e-9, v))) for v in nearest)
    spread = max(usual(scale)[1], 0.04) + 1 / len(values)
    value = held(math.atanh(neutral), middle + 10 * spread, middle + 25 * spread)
    return math.tanh(value)


@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(2, 12))
@few
def test_a_copy_is_nearer_to_an_earlier_one_than_others_are(seed: int, count: int, size: int) -> None:
    updates = drawn(seed, count, size)
    ranks = np.random.default_rng(seed).permutation(count).tolist()
    every = np.array([[cosine(a, b) for b in updates] for a in updates])
    result = duplicate.within_round(every, ranks, np.ones(count, bool))
    pairs = [every[i, j] for i in range(count) for j in range(count) if i != j]
    nearest = [max(every[i, j] for j in range(count) if j != i) for i in range(count)]
    limit = like(pairs, nearest, 0.975)
    expected = [
        not any(min(every[i, j], 1 - 1e-9) > limit for j in range(count) if ranks[j] < ranks[i])
        for i in range(count)
    ]
    assert result.passed.tolist() == expected


@given(st.integers(0, 10**6), st.integers(1, 7), st.integers(1, 7))
@few
def test_an_old_copy_is_nearer_to_an_earlier_round_than_others_are(
    seed: int, count: int, earlier: int
) -> None:
    rng = np.random.default_rng(seed)
    every = rng.uniform(-1, 1, (count, earlier))
    same_device = np.equal.outer(rng.permutation(9)[:count], rng.permutation(9)[:earlier])
    expected = []
    for i in range(count):
        is_fresh = True
        for j in range(earlier):
            same = [(a, b) for a, b in np.ndindex(every.shape) if same_device[a, b] == same_device[i, j]]
            nearest = {a: max(float(every[x, y]) for x, y in same if x == a) for a, _ in same}
            neutral = 0.9995 if same_device[i, j] else 0.975
            is_fresh &= min(every[i, j], 1 - 1e-9) <= like(
                [float(every[p]) for p in same], list(nearest.values()), neutral
            )
        expected.append(is_fresh)
    assert duplicate.across_rounds(every, same_device).passed.tolist() == expected


def honest(rng: np.random.Generator, count: int, alike: float, size: int = SIZE) -> np.ndarray:
    """Updates whose cosines lie about `alike`."""
    common, noise = rng.normal(size=size), rng.normal(size=(count, size))
    return math.sqrt(alike) * common + math.sqrt(1 - alike) * noise


@pytest.mark.parametrize("alike", [0.02, 0.3, 0.8, 0.98])
def test_honest_devices_with_like_data_are_no_copies(alike: float) -> None:
    for seed in range(20):
        updates = honest(np.random.default_rng(seed), 20, alike)
        lengths = np.linalg.norm(updates, axis=1)
        every = updates @ updates.T / np.outer(lengths, lengths)
        assert duplicate.within_round(every, list(range(20)), ALL).passed.all()


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
    every = cosines_of(updates)
    assert every[0, 1] > 0.9
    assert duplicate.within_round(every, list(range(20)), ALL).passed.all()


@pytest.mark.parametrize(("alike", "noise"), [(0.02, 0.4), (0.3, 0.3), (0.8, 0.2)])
@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_noise_and_scaling_do_not_hide_a_copy(alike: float, noise: float, factor: float) -> None:
    rng = np.random.default_rng(1)
    updates = honest(rng, 20, alike)
    updates[7] = factor * (updates[3] + noise * rng.normal(size=SIZE))
    lengths = np.linalg.norm(updates, axis=1)
    every = updates @ updates.T / np.outer(lengths, lengths)
    first = list(range(20))
    assert np.flatnonzero(~duplicate.within_round(every, first, ALL).passed).tolist() == [7]
    later = [20 - rank for rank in first]
    assert np.flatnonzero(~duplicate.within_round(every, later, ALL).passed).tolist() == [3], (
        "who commits first has it"
    )


def test_a_copy_of_an_old_update_does_not_make_its_owner_a_copy() -> None:
    rng = np.random.default_rng(1)
    updates = honest(rng, 20, 0.1)
    updates[7] = updates[3] + 0.02 * rng.normal(size=SIZE)
    every, order = cosines_of(updates), [20 - rank for rank in range(20)]
    assert not duplicate.within_round(every, order, ALL).passed[3]
    assert duplicate.within_round(every, order, np.arange(20) != 7).passed.all()


# clusters


def transcribed(places: list[float]) -> float:
    """The clearest two clouds of a line: the lesser of distance and gap in units of what counts."""
    places, count, best = sorted(places), len(places), 0.0
    factor = 1 + (16 / count) ** 2
    for cut in range(2, count - 1):
        low, high = places[:cut], places[cut:]
        middles = sum(low) / len(low), sum(high) / len(high)
        within = sum((x - middles[0]) ** 2 for x in low) + sum((x - middles[1]) ** 2 for x in high)
        deviation = max(math.sqrt(within / (count - 2)), 1e-12)
        apart, gap = (middles[1] - middles[0]) / deviation, (high[0] - low[-1]) / deviation
        best = max(best, min(apart / (4.5 * factor), gap / (1.2 * factor)))
    return best


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=30))
@few
def test_the_widest_cut_of_a_line(places: list[float]) -> None:
    assert clusters.widest_cut(np.sort(places))[0] == pytest.approx(transcribed(places), rel=1e-4, abs=1e-6)


def cosines_of(updates: np.ndarray) -> np.ndarray:
    unit = updates / np.linalg.norm(updates, axis=1, keepdims=True)
    return np.asarray(unit @ unit.T)


@pytest.mark.parametrize("alike", [0.02, 0.5])
def test_honest_updates_are_one_cluster(alike: float) -> None:
    for seed in range(20):
        every = cosines_of(honest(np.random.default_rng(seed), 40, alike))
        assert clusters.check(every, np.ones(40), np.ones(40, bool)).passed.all()


@pytest.mark.parametrize("bad", [4, 10, 18])
def test_a_common_aim_shows_through_noise(bad: int) -> None:
    rng = np.random.default_rng(0)
    updates = honest(rng, 40, 0.2)
    updates[:bad] += 0.7 * rng.normal(size=SIZE)
    result = clusters.check(cosines_of(updates), np.ones(40), np.ones(40, bool))
    assert np.flatnonzero(~result.passed).tolist() == list(range(bad))


def test_the_many_are_dropped_only_if_they_point_away() -> None:
    rng = np.random.default_rng(0)
    updates = honest(rng, 40, 0.2)
    updates[:24] += 0.9 * rng.normal(size=SIZE)
    cluster = np.arange(40) < 24
    against = np.where(cluster, -0.5, 0.3) + rng.normal(0, 0.01, 40)
    every = cosines_of(updates)
    assert (~clusters.check(every, against, np.ones(40, bool)).passed == cluster).all()
    assert (~clusters.check(every, -against, np.ones(40, bool)).passed == ~cluster).all()


def test_those_who_are_out_are_not_looked_at() -> None:
    rng = np.random.default_rng(0)
    updates = honest(rng, 40, 0.2)
    updates[:10] += 0.7 * rng.normal(size=SIZE)
    eligible = np.arange(40) >= 10
    assert clusters.check(cosines_of(updates), np.ones(40), eligible).passed.all()


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
