"""Say what releases with noise tell at most: epsilon for a delta, by Rényi differential privacy.

A step that takes each sample with probability q, clips its gradient and adds Gaussian noise of deviation s
(in clips) has the Rényi divergence log(A) / (order - 1), A the mean over z of the noise of
((1 - q) + q exp((2z - 1) / 2s^2)) ** order ("Rényi Differential Privacy of the Sampled Gaussian Mechanism",
Mironov, Talwar, Zhang 2019, arXiv:1908.10530, section 3). The mean is taken numerically: the integrand is
smooth and vanishes, so equal steps reach the precision of a float. Divergences of releases add up, whatever
their parameters. Epsilon follows by proposition 12 of Canonne, Kamath, Steinke 2020 (arXiv:2004.00010), as in
Opacus. Discrete Gaussian noise on whole numbers has the divergence of the continuous one (same, theorem 4).

There is nothing to install for it: who reads a chain can compute it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from bcfl.protocol.noise import Release

Divergences = npt.NDArray[np.float64]  # (orders,)
ORDERS: Final = tuple(1 + x / 10 for x in range(1, 100)) + tuple(
    float(x) for x in (*range(11, 65), 96, 128, 192, 256)
)
STEP: Final = 1 / 16  # of the numeric mean, in deviations
REACH: Final = 14  # deviations beyond the means of the noise
LEAST: Final = 1 / 32  # of a deviation for which the mean is taken: below, its humps are too narrow
LITTLE: Final = 2.0**-46  # below which a float does not tell A from 1: many such steps are not nothing
NOTHING: Final = np.zeros(len(ORDERS))


@dataclass(frozen=True)
class Spent:
    """The divergences of releases, which add up; `epsilon` says what they come to."""

    divergences: tuple[float, ...] = tuple(NOTHING)

    def __add__(self, release: Release) -> Spent:
        """Return this and one release more."""
        return Spent(tuple(np.array(self.divergences) + _divergences(release)))

    def epsilon(self, delta: float) -> float:
        """Return the least epsilon that holds with a delta above 0; 0 where nothing was released."""
        divergences, orders = np.array(self.divergences), np.array(ORDERS)
        if not divergences.any():
            return 0.0
        bounds = divergences - (np.log(delta) + np.log(orders)) / (orders - 1) + np.log1p(-1 / orders)
        return float(max(0.0, np.nanmin(bounds)))


def total(releases: Iterable[Release]) -> Spent:
    """Return what releases come to together."""
    return sum_of(Spent(), releases)


def sum_of(spent: Spent, releases: Iterable[Release]) -> Spent:
    """Return what was spent and further releases."""
    whole = np.array(spent.divergences)
    for release in releases:
        whole = whole + _divergences(release)
    return Spent(tuple(whole))


def _divergences(release: Release) -> Divergences:
    """Return the divergence of a release by order, (orders,)."""
    return release.steps * _step(release.noise, release.rate)


@lru_cache(maxsize=4096)
def _step(noise: Fraction, rate: Fraction) -> Divergences:
    """Return the divergence of one step by order, (orders,)."""
    orders, deviation, share = np.array(ORDERS), float(noise), float(rate)
    if rate == 1 or deviation < LEAST:  # each sample in every step tells no less
        return orders / (2 * deviation**2)
    return np.array([_log_mean(order, deviation, share) / (order - 1) for order in ORDERS])


def _log_mean(order: float, deviation: float, share: float) -> float:
    """Return the logarithm of A: a sum over the noise, in equal steps, with the largest term taken out.

    The integrand has its humps at 0 and at the order.
    """
    spans = [(-REACH * deviation, REACH * deviation), (order - REACH * deviation, order + REACH * deviation)]
    low, high = min(span[0] for span in spans), max(span[1] for span in spans)
    count = int((high - low) / (STEP * deviation)) + 2
    points, width = np.linspace(low, high, count, retstep=True)
    density = -(points**2) / (2 * deviation**2) - np.log(deviation * np.sqrt(2 * np.pi))
    ratio = np.logaddexp(np.log1p(-share), np.log(share) + (2 * points - 1) / (2 * deviation**2))
    logs = density + order * ratio
    most = logs.max()
    return max(LITTLE, float(most + np.log(np.exp(logs - most).sum() * width)))
