"""Discrete Gaussian noise has the right distribution, by whole numbers, and follows from its seed."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from bcfl.errors import PayloadError
from bcfl.protocol import gaussian
from bcfl.protocol.gaussian import Stream, chosen, discrete_gaussian
from bcfl.protocol.noise import MAX_DEVIATION

COUNT = 100_000


def chi_square(values: gaussian.Whole, probability: Callable[[int], float], reach: int) -> tuple[float, int]:
    """Return Pearson's statistic of values from -reach to reach, the rest together, and its cells."""
    numbers = [k for k in range(-reach, reach + 1) if probability(k) * len(values) >= 5]
    observed = [int((values == k).sum()) for k in numbers]
    expected = [probability(k) * len(values) for k in numbers]
    observed.append(len(values) - sum(observed))
    expected.append(max(len(values) - sum(expected), 1.0))
    return sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True)), len(numbers)


@pytest.mark.parametrize("deviation", [1, 2, 7])
def test_the_distribution_is_the_discrete_gaussian(deviation: int) -> None:
    mass = sum(math.exp(-(k**2) / (2 * deviation**2)) for k in range(-100, 101))
    values = discrete_gaussian(Stream(b"test", bytes([deviation])), deviation, COUNT)
    statistic, cells = chi_square(values, lambda k: math.exp(-(k**2) / (2 * deviation**2)) / mass, 60)
    assert statistic < cells + 5 * math.sqrt(2 * cells)  # five deviations of the chi-square distribution


def test_the_laplace_draws_below_it_are_right() -> None:
    scale = 3
    whole = (1 - math.exp(-1 / scale)) / (1 + math.exp(-1 / scale))
    values = gaussian._laplace(Stream(b"laplace"), scale, COUNT)
    statistic, cells = chi_square(values, lambda k: whole * math.exp(-abs(k) / scale), 60)
    assert statistic < cells + 5 * math.sqrt(2 * cells)


@pytest.mark.parametrize(("part", "unit"), [(0, 5), (1, 5), (3, 7), (1, 1), (2**40, 2**51)])
def test_an_event_of_probability_exp(part: int, unit: int) -> None:
    drawn = gaussian._decays(Stream(b"decay", part.to_bytes(8, "big")), np.full(COUNT, part), unit)
    expected = math.exp(-part / unit)
    assert abs(drawn.mean() - expected) <= 5 * math.sqrt(max(expected * (1 - expected), 1e-9) / COUNT)


@pytest.mark.parametrize("deviation", [1000, 2**14, MAX_DEVIATION])
def test_wide_noise_has_its_mean_and_deviation(deviation: int) -> None:
    values = discrete_gaussian(Stream(b"wide"), deviation, COUNT) / deviation
    assert abs(values.mean()) < 5 / math.sqrt(COUNT)
    assert abs(values.var() - 1) < 5 * math.sqrt(2 / COUNT)
    assert abs((np.abs(values) < 1).mean() - 0.6827) < 0.01
    assert (values > 2).mean() == pytest.approx(0.0228, abs=0.003)


def test_candidates_far_out_are_judged_by_numbers_of_any_size() -> None:
    """Beyond the reach of 64 bits the answer is the same rule: there, never."""
    far = np.array([gaussian.FAR * MAX_DEVIATION * 64, MAX_DEVIATION])
    accepted = gaussian._accepts(Stream(b"far"), far, MAX_DEVIATION)
    assert accepted.tolist() == [False, True]  # exp(-0) is certain where the size is the deviation


def test_a_seed_gives_the_same_noise_and_another_seed_other_noise() -> None:
    first, second = (discrete_gaussian(Stream(b"seed"), 50, 1000) for _ in range(2))
    assert (first == second).all()
    other = discrete_gaussian(Stream(b"seed "), 50, 1000)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.15


def test_parts_of_a_seed_are_kept_apart() -> None:
    assert (Stream(b"ab", b"c").words(4) != Stream(b"a", b"bc").words(4)).all()


@pytest.mark.parametrize("deviation", [0, -1, MAX_DEVIATION + 1])
def test_other_deviations_are_refused(deviation: int) -> None:
    with pytest.raises(PayloadError):
        discrete_gaussian(Stream(b""), deviation, 1)


def test_numbers_below_a_bound_are_equally_likely() -> None:
    values = Stream(b"below").below(5, COUNT)
    counts = np.bincount(values, minlength=5)
    assert len(counts) == 5
    assert (np.abs(counts - COUNT / 5) < 5 * math.sqrt(COUNT / 5)).all()


@pytest.mark.parametrize("bound", [0, 2**62 + 1])
def test_a_bound_that_words_do_not_hold_is_refused(bound: int) -> None:
    with pytest.raises(ValueError, match="bound"):
        Stream(b"").below(bound, 1)


def test_each_sample_is_in_a_step_by_itself() -> None:
    masks = np.stack([chosen(Stream(b"step", bytes([i])), 16, 64) for i in range(256)])
    sizes = masks.sum(axis=1)
    assert abs(masks.mean() - 0.25) < 0.02
    assert abs(sizes.var() - 64 * 0.25 * 0.75) < 6  # of a binomial, so batches are of many sizes
    assert chosen(Stream(b""), 64, 64).all()
    assert chosen(Stream(b""), 65, 64).all()
