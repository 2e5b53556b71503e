"""Reject as `outlier` an update that points away from the miner's own training: for few updates.

FLTrust (Cao et al. 2021, arXiv:2012.13995, section IV) drops every update whose cosine with a trusted one is
below 0. Rare classes lead a little away from it as well, so here an update that the best majority is clearly
better with may go further. Late in training an update that was turned round has no harm that held-out data
could show, because the step of the whole round is about as long as is of use; its cosine shows it still.
"""

from __future__ import annotations

import numpy as np

from bcfl.roles.checks.needs import Needs
from bcfl.roles.checks.scores import MIN_CROWD, NORMAL, Mask, Scores, Values, bounded

NEEDS = Needs.GRAM | Needs.SUMS  # norms, and the inner product with the miner's own training
AGAINST = -0.03  # least cosine of an update whose use is not clear
AT_ALL = -0.15  # of a useful one, and of all from MIN_CROWD updates, where `direction` judges, too
TOLERANCE = 5.0  # robust deviations below the median, of fewer updates: how unlike honest data may be
ALIKE = 0.15  # least cosine of an update that clearly goes the same way
NOISE = 4.0  # cosines of noise with anything, in their standard deviations


def is_alike(trust: Values, parameters: int, among: Mask) -> Mask:
    """Return which updates clearly go the way of the miner's own training, (updates,).

    From MIN_CROWD updates on nobody is: among so many on skewed data some poison goes that way, too.
    """
    is_few = among.sum() < MIN_CROWD
    mask: Mask = (trust >= max(ALIKE, NOISE / np.sqrt(parameters))) & is_few
    return mask


def check(trust: Values, useful: Mask, parameters: int, among: Mask) -> Scores:
    """Score the cosine of each update with the miner's own training, `trust`, (updates,).

    `useful`, (updates,): those that the best majority is clearly better with. Where a miner's few samples are
    learned, its training leads anywhere, and the cosines lie far apart: the bound gives way. Where more than
    half of `among` are against the miner, it does not say who is right: all pass.
    """
    is_crowd = among.sum() >= MIN_CROWD
    noise = NOISE / np.sqrt(parameters)
    minimum = np.minimum(np.where(useful | is_crowd, AT_ALL, AGAINST), -noise)
    if among.any() and not is_crowd:
        median = float(np.median(trust[among]))
        spread = NORMAL * float(np.median(np.abs(trust[among] - median)))
        minimum = np.minimum(minimum, median - TOLERANCE * spread)
    if ((trust < minimum) & among).sum() * 2 > among.sum():
        return bounded("against", trust)
    return bounded("against", trust, minimum=minimum)
