"""`outlier`, direction (section 5.6): an update that points away from the mean of the other good ones.

The lengths of all are bounded before; the mean leaves the update itself out, so that nobody is judged by
itself. FLTrust (Cao et al. 2021, arXiv:2012.13995, section IV) takes the cosine with one trusted update; here
the trusted update says which of the others are good, and the cosine is taken with what those come to: the
mean of many points its way with less noise.
"""

from __future__ import annotations

import numpy as np

from bcfl.roles.checks.scores import FEWEST, Mask, Scores, Square, Values, between, bounded, crowd

FAR = 2.0  # tolerances: a crowd that lies further from nothing leaves no room for nothing
NOISE = 4.0  # cosines of noise with anything, in their standard deviations
CLOSE = 0.01  # least standard deviation of the crowd


def check(gram: Square, weights: Values, good: Mask, parameters: int, tolerance: float) -> Scores:
    """The cosine of each update with the weighted mean of the good ones, itself left out; bounded in a crowd.

    The bound is what noise may reach, held between one and two tolerances (robust standard deviations) below
    the crowd of the good ones. `gram`: inner products of the updates, shortened to the round's bound.
    """
    lengths = np.sqrt(np.maximum(np.diag(gram), 0.0))
    parts = np.where(good, weights, 0.0)
    along = gram @ parts - parts * np.diag(gram)  # (updates,): with the mean that leaves itself out
    total = float(parts @ gram @ parts)
    others = total - 2 * parts * (gram @ parts) + parts**2 * np.diag(gram)
    cosines = along / np.maximum(lengths * np.sqrt(np.maximum(others, 0.0)), 1e-30)
    if good.sum() < FEWEST:
        return bounded("direction", cosines)
    middle, spread = crowd(cosines[good])
    spread = max(spread, CLOSE)
    low, high = middle - FAR * tolerance * spread, middle - tolerance * spread
    return bounded("direction", cosines, least=between(NOISE / np.sqrt(parameters), low, high))
