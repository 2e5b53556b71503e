"""Reject as `outlier` an update that points away from the mean of the other good ones.

The norms of all are bounded before; the mean leaves the update itself out, so that nobody is judged by
itself. FLTrust (Cao et al. 2021, arXiv:2012.13995, section IV) takes the cosine with one trusted update; here
the trusted update says which of the others are good, and the cosine is taken with their weighted mean: the
mean of many points its way with less noise.
"""

from __future__ import annotations

import numpy as np

from bcfl.roles.checks.needs import Needs
from bcfl.roles.checks.scores import MIN_CROWD, Mask, Scores, Square, Values, bounded, clamp, crowd

NEEDS = Needs.GRAM | Needs.SUMS  # inner products; which are good, the miner's own training says
FAR = 2.0  # tolerances below the crowd at which the bound ends
NOISE = 4.0  # cosines of noise with anything, in their standard deviations
MIN_SPREAD = 0.01  # least standard deviation of the crowd


def check(gram: Square, weights: Values, good: Mask, parameters: int, tolerance: float) -> Scores:
    """Score the cosine of each update with the weighted mean of the good ones, itself left out.

    In a crowd the bound is what noise may reach, held between one and two tolerances (robust standard
    deviations) below the good ones; without one there is no bound. `gram`: inner products of the updates,
    clipped to the round's bound, (updates, updates). `weights`, `good`: (updates,).
    """
    norms = np.sqrt(np.maximum(np.diag(gram), 0.0))
    parts = np.where(good, weights, 0.0)
    along = gram @ parts - parts * np.diag(gram)  # (updates,): with the mean that leaves itself out
    total = float(parts @ gram @ parts)
    squares = total - 2 * parts * (gram @ parts) + parts**2 * np.diag(gram)  # of the norm of that mean
    cosines = along / np.maximum(norms * np.sqrt(np.maximum(squares, 0.0)), 1e-30)
    if good.sum() < MIN_CROWD:
        return bounded("direction", cosines)
    median, spread = crowd(cosines[good])
    spread = max(spread, MIN_SPREAD)
    low, high = median - FAR * tolerance * spread, median - tolerance * spread
    return bounded("direction", cosines, minimum=clamp(NOISE / np.sqrt(parameters), low, high))
