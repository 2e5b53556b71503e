"""Reject as `outlier` an update that is too long for its round: for few updates.

Honest updates of one round have nearly the same length: 0.97 to 1.03 of the median on even data, 0.75 to
1.25 on skewed data. Few updates are no crowd, but a minority cannot move their median beyond the longest
honest one. "Can You Really Backdoor Federated Learning?", Sun et al. 2019, arXiv:1911.07963, section 4.1,
bounds the norm by a constant; the round's median is nearer to what honest updates need. What is short is left
to `min_norm`: where training has nearly come to its end honest lengths go down to a thirtieth.
"""

from __future__ import annotations

import numpy as np

from bcfl.roles.checks.needs import Needs
from bcfl.roles.checks.scores import MIN_CROWD, NORMAL, Mask, Scores, Values, bounded

NEEDS = Needs.GRAM  # norms
LONGEST = 1.8  # median lengths that always pass
LIMIT = 2.2  # median lengths that a useful update may have, and others where honest lengths are far apart
TOLERANCE = 5.0  # robust standard deviations above the median between the two
CLIP = 1.5  # reference norms an honest device keeps to: its round has a median of 0.75 to 1 of them
TOLERANCE_OF_FEW = 3.0  # below MIN_CROWD updates, where two attackers widen the deviation
MAJORITY = 3  # updates whose median is one of theirs


def check(norms: Values, useful: Mask, among: Mask) -> Scores:
    """Score the norm of each update in medians of those in `among`; all are (updates,).

    What the best majority is clearly better with, `useful`, may be longer: a device that alone has a class.
    Of fewer than MAJORITY, or where most move nothing, all pass.
    """
    median = float(np.median(norms[among])) if among.sum() >= MAJORITY else 0.0
    if median == 0:
        return bounded("length", norms)
    ratios = norms / median
    spread = NORMAL * float(np.median(np.abs(ratios[among] - 1)))
    tolerance = TOLERANCE if among.sum() >= MIN_CROWD else TOLERANCE_OF_FEW
    maximum = np.where(useful, LIMIT, np.clip(1 + tolerance * spread, LONGEST, LIMIT))
    return bounded("length", ratios, maximum=maximum)
