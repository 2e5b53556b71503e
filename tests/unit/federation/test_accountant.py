"""Epsilon is that of Opacus, and of the formulas where there are some."""

from __future__ import annotations

import math
import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from bcfl.federation import accountant
from bcfl.federation.accountant import ORDERS, Spent, sum_of, total
from bcfl.protocol.noise import Release

DELTA = 1e-5


def rdp() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("opacus.accountants.analysis.rdp")


@pytest.mark.parametrize("noise", ["0.1", "0.5", "1.1", "4"])
@pytest.mark.parametrize("rate", ["1/100", "16/90", "1/2", "63/64", "1"])
def test_epsilon_is_that_of_opacus(noise: str, rate: str) -> None:
    release = Release(Fraction(noise), Fraction(rate), 50)
    divergences = rdp().compute_rdp(
        q=float(release.rate), noise_multiplier=float(release.noise), steps=50, orders=list(ORDERS)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the best order is the first or the last
        expected, _ = rdp().get_privacy_spent(orders=list(ORDERS), rdp=divergences, delta=DELTA)
    assert np.allclose(total([release]).divergences, divergences, rtol=1e-6, atol=1e-9)
    assert total([release]).epsilon(DELTA) == pytest.approx(expected, rel=1e-6)


def test_a_known_value() -> None:
    """Of TensorFlow Privacy's tutorial, 60,000 samples, batches of 256, 15 epochs: 1.19."""
    steps = 15 * 60_000 // 256
    spent = total([Release(Fraction("1.3"), Fraction(256, 60_000), steps)])
    classical = min(
        d + math.log(1 / DELTA) / (order - 1) for d, order in zip(spent.divergences, ORDERS, strict=True)
    )
    assert classical == pytest.approx(1.19, abs=0.005)
    assert 0.9 < spent.epsilon(DELTA) < classical


def test_all_samples_in_a_step_are_the_gaussian_mechanism() -> None:
    spent = total([Release(Fraction(2), Fraction(1), 3)])
    assert np.allclose(spent.divergences, np.array(ORDERS) * 3 / 8)


def test_releases_add_up_whatever_their_parameters() -> None:
    first, second = Release(Fraction(1), Fraction(1, 4), 7), Release(Fraction(3), Fraction(1, 2), 2)
    together = total([first, second])
    apart = np.array(total([first]).divergences) + np.array(total([second]).divergences)
    assert np.allclose(together.divergences, apart)
    assert sum_of(total([first]), [second]) == together
    assert (Spent() + first + second).epsilon(DELTA) == pytest.approx(together.epsilon(DELTA))
    assert together.epsilon(DELTA) > max(total([each]).epsilon(DELTA) for each in (first, second))


def test_nothing_told_is_nothing() -> None:
    assert Spent().epsilon(DELTA) == 0
    assert total([]).epsilon(DELTA) == 0


def test_noise_of_no_use_is_told_without_an_error() -> None:
    for noise in ("0.000001", "0.001", "0.02"):
        value = total([Release(Fraction(noise), Fraction(1, 3), 1)]).epsilon(DELTA)
        assert value > 1000
        assert math.isfinite(value)


def test_little_noise_tells_no_less_than_the_bound_where_the_mean_is_taken() -> None:
    """At the limit, below which all samples count as in every step, epsilon does not fall."""
    limit = accountant.LEAST
    below = total([Release(Fraction(limit) / 2, Fraction(1, 3), 1)]).epsilon(DELTA)
    above = total([Release(Fraction(limit) * 2, Fraction(1, 3), 1)]).epsilon(DELTA)
    assert below > above
