"""`outlier`, length (section 5.6): no update may be much longer than those that the last model is made of.

Aggregation is exact, so nobody can shorten an update afterwards; an honest device does it before it encodes
(`bcfl/roles/lengths.py`), and a miner drops what is longer. "Can You Really Backdoor Federated Learning?",
Sun et al. 2019, arXiv:1911.07963, section 4.1: a bound on the norm blunts model replacement.
"""

from __future__ import annotations

import numpy as np

from bcfl.roles.checks.scores import Scores, Values, bounded

CLIP = 2.0  # what an honest device keeps to, in reference lengths
SLACK = 1.1  # miner and device may have found a few of the reference's updates gone from the store
FIRST = 3.0  # before there is a reference, in median lengths of the round
LEAST = 0.05  # below this an update is nothing: a device that did not train


def check(lengths: Values, reference: float | None, rounding: float = 0.0) -> Scores:
    """Lengths of a round's updates, in reference lengths; of the first round, in its own median.

    `rounding`: what rounding to lanes may add to a length.
    """
    if not len(lengths):
        return bounded("norm", lengths)
    middle = float(np.median(lengths)) if reference is None else reference
    limit = FIRST if reference is None else CLIP * SLACK
    unit = middle if middle > 0 else 1.0
    return bounded("norm", lengths / unit, least=LEAST if middle > 0 else 0.0, most=limit + rounding / unit)
