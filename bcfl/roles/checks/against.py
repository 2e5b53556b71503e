"""Reject as `outlier` an update that points away from the miner's own training.

FLTrust (Cao et al. 2021, arXiv:2012.13995, section IV) drops every update whose cosine with a trusted one is
below 0. Rare classes lead a little away from it as well, so here an update that the best majority is clearly
better with may go further, and in a crowd one that goes the way of those that go the miner's: there it is the
miner's few samples that are unlike others. Late in training an update that was turned round has no harm that
held-out data could show, because the step of the whole round is about as long as is of use; its cosine shows
it still. Among many, what the mean of a round hides a miner's own training shows: there honest updates hardly
ever point away from it, whatever data they are of.
"""

from __future__ import annotations

import numpy as np

from bcfl.roles.checks.needs import Needs
from bcfl.roles.checks.scores import MIN_CROWD, NORMAL, Mask, Scores, Square, Values, bounded

NEEDS = Needs.GRAM | Needs.SUMS  # norms, and the inner product with the miner's own training
AGAINST = -0.03  # least cosine of an update whose use is not clear
AT_ALL = -0.15  # of a useful one
CROWD = -0.1  # of all from MIN_CROWD updates, where `direction` judges, too
MANY = -0.06  # of more than 20: late in training the median of five miners is -0.04 for honest ones
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


def check(trust: Values, useful: Mask, parameters: int, among: Mask, cosines: Square) -> Scores:
    """Score the cosine of each update with the miner's own training, `trust`, (updates,).

    `useful`, (updates,): those that the best majority is clearly better with. `cosines`: of all with each
    other, (updates, updates). Where a miner's few samples are learned, its training leads anywhere, and the
    cosines lie far apart: the bound gives way. Where more than half of `among` are against the miner, it does
    not say who is right: all pass.
    """
    is_crowd = among.sum() >= MIN_CROWD
    noise = NOISE / np.sqrt(parameters)
    bounds = np.full(len(trust), CROWD) if is_crowd else np.where(useful, AT_ALL, AGAINST)
    minimum: Values = np.minimum(bounds, -noise)
    if among.any() and not is_crowd:
        median = float(np.median(trust[among]))
        spread = NORMAL * float(np.median(np.abs(trust[among] - median)))
        minimum = np.minimum(minimum, median - TOLERANCE * spread)
    if is_crowd:
        goes_along = cosines[:, among & (trust > 0)].sum(axis=1) > 0
        minimum = np.where(goes_along, -np.inf, minimum)
    return _unless_most(trust, minimum, among)


def check_many(trust: Values, parameters: int, among: Mask) -> Scores:
    """Score the cosines, `trust`, of many updates with the miner's own training, (updates,), as `check`."""
    return _unless_most(trust, np.full(len(trust), min(MANY, -NOISE / np.sqrt(parameters))), among)


def _unless_most(trust: Values, minimum: Values, among: Mask) -> Scores:
    is_unclear = ((trust < minimum) & among).sum() * 2 > among.sum()
    return bounded("against", trust) if is_unclear else bounded("against", trust, minimum=minimum)
