"""Reject as `outlier` an update that points away from the miner's own training: for few updates.

FLTrust (Cao et al. 2021, arXiv:2012.13995, section IV) drops every update whose cosine with a trusted one is
below 0. Rare classes lead a little away from it as well, so here an update that the best majority is clearly
better with may go further. Late in training an update that was turned round has no harm that held-out data
could show, because the step of the whole round is about as long as is of use; its cosine shows it still.
"""

from __future__ import annotations

import numpy as np

from bcfl.roles.checks.scores import MIN_CROWD, Mask, Scores, Values, bounded

AGAINST = -0.03  # least cosine of an update whose use is not clear
AT_ALL = -0.15  # of a useful one, and of all from MIN_CROWD updates, where `direction` judges, too
NOISE = 4.0  # cosines of noise with anything, in their standard deviations


def check(trust: Values, useful: Mask, parameters: int, among: Mask) -> Scores:
    """Score the cosine of each update with the miner's own training, `trust`, (updates,).

    `useful`, (updates,): those that the best majority is clearly better with. Where more than half of `among`
    are against the miner, it does not say who is right: all pass.
    """
    is_lenient = useful | (among.sum() >= MIN_CROWD)
    noise = NOISE / np.sqrt(parameters)
    minimum = np.minimum(np.where(is_lenient, AT_ALL, AGAINST), -noise)
    if ((trust < minimum) & among).sum() * 2 > among.sum():
        return bounded("against", trust)
    return bounded("against", trust, minimum=minimum)
