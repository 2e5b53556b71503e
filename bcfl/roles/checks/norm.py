"""Reject as `outlier` an update whose norm is far above that of the updates the last model is made of.

Aggregation is exact, so nobody can clip an update afterwards: an honest device clips it before it encodes
(`roles/device/trainer.py`), and a miner drops what is longer. "Can You Really Backdoor Federated Learning?",
Sun et al. 2019, arXiv:1911.07963, section 4.1: a bound on the norm blunts model replacement.
"""

from __future__ import annotations

import numpy as np

from bcfl.roles.checks.needs import Needs
from bcfl.roles.checks.scores import Mask, Scores, Values, bounded

NEEDS = Needs.GRAM  # norms
CLIP = 2.0  # reference norms: the bound that an honest device keeps to; among few `length.CLIP`
SLACK = 1.1  # miner and device may have found a few of the reference's updates gone from the store
FIRST_CLIP = 3.0  # before there is a reference, in median norms of the round
MIN_RATIO = 0.05  # below this an update is nothing: a device that did not train
END_RATIO = 0.2  # where most are below this, there is little left to learn


def check(norms: Values, reference: float | None, rounding: float = 0.0) -> Scores:
    """Score the norms of a round's updates, (updates,), in reference norms; of the first round, in medians.

    Where most are short, nobody is too short.
    `rounding`: what rounding to lanes may add to a norm.
    """
    if not len(norms):
        return bounded("norm", norms)
    middle = float(np.median(norms)) if reference is None else reference
    limit = FIRST_CLIP if reference is None else CLIP * SLACK
    unit = middle if middle > 0 else 1.0
    minimum = 0.0 if middle == 0 or short(norms, reference).any() else MIN_RATIO
    return bounded("norm", norms / unit, minimum=minimum, maximum=limit + rounding / unit)


def short(norms: Values, reference: float | None) -> Mask:
    """Return which updates are short, (updates,), where most are; none where there is more to learn.

    Training has come to its end then, or what went far at first (BatchNorm's statistics) is settled: what is
    left is rounding and the last few samples, of which a device may have none, or the same as another.
    """
    if reference is None or not len(norms) or np.median(norms) >= END_RATIO * reference:
        return np.zeros(len(norms), dtype=bool)
    mask: Mask = norms < END_RATIO * reference
    return mask
