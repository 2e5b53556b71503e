"""Reject as `outlier` an update whose norm is too small for the samples that it claims.

A device pays for its claim with steps of training: so many samples, so many steps. A path of steps that each
lose a little of their direction is concave in their number, so a part of the samples goes at least that part
of the way, and more samples go no less far. An update that stays behind was trained on fewer samples than it
says. BlockFL (Kim, Park, Bennis, Kim 2020, arXiv:1808.03949, section II) bounds that lie by the time that it
takes, which can be forged in proportion.
"""

from __future__ import annotations

import numpy as np

from bcfl.roles.checks.needs import Needs
from bcfl.roles.checks.scores import MIN_CROWD, Mask, Scores, Values, bounded, clamp, crowd

NEEDS = Needs.GRAM  # norms
MIN_SHARE = 0.6  # of the median norm of updates with as many samples
TOLERANCE, FAR = 3.0, 2.0  # robust standard deviations below the crowd, and how many times those at the most
MIN_SPREAD = 0.03  # least standard deviation of the crowd


def check(norms: Values, samples: Values, good: Mask) -> Scores:
    """Score the norm of each update in units of what its claim asks for.

    The unit is the median norm, or less in proportion if the update claims fewer samples than the median. The
    bound is `MIN_SHARE`, held between one and two tolerances below the crowd of the good ones. Updates that
    go further than their claim asks, as most with few samples do, say nothing of how short a norm may be, so
    the spread is that below the median. `norms`, `samples`, `good`: (updates,).
    """
    if good.sum() < MIN_CROWD:
        return bounded("min_norm", np.ones(len(norms)))
    units = np.median(norms[good]) * np.minimum(1.0, samples / np.median(samples[good]))
    ratios = norms / np.maximum(units, 1e-30)
    median = float(np.median(ratios[good]))
    _, spread = crowd(mirror(ratios[good], median))
    room = TOLERANCE * max(spread, MIN_SPREAD)
    return bounded("min_norm", ratios, minimum=clamp(MIN_SHARE, median - FAR * room, median - room))


def mirror(values: Values, middle: float) -> Values:
    """Return the values at or below the middle, and their mirror images above it."""
    low = values[values <= middle]
    return np.concatenate([low, 2 * middle - low])
