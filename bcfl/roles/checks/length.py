"""Reject as `outlier` an update whose length is not that of its round: for few updates.

Honest updates of one round have nearly the same length: 0.97 to 1.03 of the median on even data, 0.75 to
1.25 on skewed data. Few updates are no crowd, but a minority cannot move their median beyond the longest or
shortest honest one. "Can You Really Backdoor Federated Learning?", Sun et al. 2019, arXiv:1911.07963,
section 4.1, bounds the norm by a constant; the round's median is nearer to what honest updates need.
"""

from __future__ import annotations

import numpy as np

from bcfl.roles.checks.scores import MIN_CROWD, NORMAL, Mask, Scores, Values, bounded

LONGEST = 1.8  # median lengths that always pass
LIMIT = 2.2  # median lengths that a useful update may have, and others where honest lengths are far apart
TOLERANCE = 5.0  # robust standard deviations above the median between the two
MAJORITY = 3  # updates whose median is one of theirs
SHORTEST = 0.5  # of the median length, of an update that claims as much as the median


def check(norms: Values, samples: Values, useful: Mask, among: Mask) -> Scores:
    """Score the norm of each update in medians of those in `among`; all are (updates,).

    What the best majority is clearly better with, `useful`, may be longer: a device that alone has a class.
    From MIN_CROWD updates `min_norm` judges what is too short, and this nothing. Of fewer than MAJORITY, or
    where most move nothing, all pass.
    """
    median = float(np.median(norms[among])) if among.sum() >= MAJORITY else 0.0
    if median == 0:
        return bounded("length", norms)
    ratios = norms / median
    spread = NORMAL * float(np.median(np.abs(ratios[among] - 1)))
    is_crowd = among.sum() >= MIN_CROWD
    claims = samples / max(float(np.median(samples[among])), 1.0)
    shortest = 0.0 if is_crowd else SHORTEST * np.minimum(claims, 1.0)
    maximum = np.where(useful, LIMIT, np.clip(1 + TOLERANCE * spread, LONGEST, LIMIT))
    return bounded("length", ratios, minimum=shortest, maximum=maximum)
