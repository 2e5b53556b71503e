"""`outlier`, effort (section 5.6): an update that is too short for the samples that it claims.

A device pays for its claim with steps of training: so many samples, so many steps. A path of steps that each
lose a little of their direction is concave in their number, so a part of the samples goes at least that part
of the way, and more samples go no less far. An update that stays behind was trained on fewer samples than it
says. BlockFL (Kim, Park, Bennis, Kim 2020, arXiv:1808.03949, section II) bounds that lie by the time that it
takes, which can be forged in proportion.
"""

from __future__ import annotations

import numpy as np

from bcfl.roles.checks.scores import FEWEST, Mask, Scores, Values, between, bounded, crowd

SHARE = 0.6  # of the way that the claimed samples go in the middle
TOLERANCE, FAR = 3.0, 2.0  # robust standard deviations below the crowd, and how many times those at the most
CLOSE = 0.03  # least standard deviation of the crowd


def check(lengths: Values, samples: Values, good: Mask) -> Scores:
    """The length of each update, in what its claim comes to: the median, or less if it claims less.

    The bound is `SHARE`, held between one and two tolerances below the crowd of the good ones. Those that go
    further than their claim asks, as most with few samples do, say nothing of how short a way may be.
    """
    if good.sum() < FEWEST:
        return bounded("effort", np.ones(len(lengths)))
    fair = np.median(lengths[good]) * np.minimum(1.0, samples / np.median(samples[good]))
    ways = lengths / np.maximum(fair, 1e-30)
    middle = float(np.median(ways[good]))
    _, spread = crowd(mirrored(ways[good], middle))
    room = TOLERANCE * max(spread, CLOSE)
    return bounded("effort", ways, least=between(SHARE, middle - FAR * room, middle - room))


def mirrored(values: Values, middle: float) -> Values:
    """What is at or below the middle, and the same above it."""
    low = values[values <= middle]
    return np.concatenate([low, 2 * middle - low])
