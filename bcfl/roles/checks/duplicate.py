"""Reject as `duplicate` a copy, exact or disguised by noise or scaling, of an update committed earlier.

An exact copy has the root of another. A disguised one points the same way: the cosine of two updates does not
change with their norms, and noise of a fifth of the update's norm leaves it at 0.98. How alike honest
updates are depends on the data and the round (0.8 in the first of an IID task, 0.1 later on), so the bound
follows the crowd: a fixed cosine, held between 10 and 30 robust standard deviations above what most updates
have with the one nearest to them, on Fisher's scale z = artanh(cosine), on which cosines near 1 lie as far
apart as others.

A sender of the same poison from many devices falls under this rule as well: what makes the poison strong,
that all of it points one way, makes it a copy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bcfl.protocol.rounds import History, Round
from bcfl.roles.checks.needs import Needs
from bcfl.roles.checks.scores import Mask, Scores, Square, bounded, clamp, crowd

NEEDS = Needs.GRAM  # cosines, of sketches where one is earlier; exact copies have a root on chain
COPY_COSINE = 0.975  # of two devices' updates
OWN_COSINE = 0.9995  # of a device's own of two rounds: with little, one-sided data they are alike
NEAR, FAR = 10.0, 30.0  # robust standard deviations above the crowd
MIN_SPREAD, PAIR_SPREAD = 0.04, 1.0  # least standard deviation; this over the number of pairs is added to it
EDGE = 1.0 - 1e-9  # artanh is finite there
Pairs = npt.NDArray[np.bool_]  # (updates, others)


def commit_order(current: Round) -> list[int]:
    """Return the positions of a round's submissions in the order in which they were committed."""
    places = {submitter: place for place, submitter in enumerate(current.commits)}
    last = len(places)
    items = sorted(current.submissions, key=lambda item: (places.get(item.submitter, last), item.position))
    return [item.position for item in items]


def check(history: History, current: Round) -> list[bool]:
    """Return for each submission of a round whether nobody committed the same lanes earlier.

    The root stands for the lanes. Within the round the order of commitment decides: that of
    the batches on chain, then that inside the batch. A device that trains again from the same model, after a
    void round, may come to the same.
    """
    roots: set[bytes] = set()
    fresh = {}
    for position in commit_order(current):
        root = current.submissions[position].update.root
        is_new = history.roots.get(root, current.number) >= current.number
        fresh[position] = root not in roots and (is_new or _is_own(history, current, position))
        roots.add(root)
    return [fresh[item.position] for item in current.submissions]


def _is_own(history: History, current: Round, position: int) -> bool:
    """Whether an update is what its device made of the same model before, in its first round."""
    update = current.submissions[position].update
    first = history.roots[update.root]
    if history.model_before(first) != history.model_before(current.number):
        return False
    others = (item.update for item in history.rounds[first].submissions)
    return any((other.root, other.device) == (update.root, update.device) for other in others)


def within_round(cosines: Square, ranks: Sequence[int], originals: Mask) -> Scores:
    """Score the largest cosine of each update with an original of this round that was committed before it.

    `cosines`: (updates, updates). `ranks`: the place of each in the order of commitment. `originals`,
    (updates,): those that are no copy of an earlier round's. A device's update may be like a copy of its own
    last one, and is not to blame.
    """
    count = len(cosines)
    if count < 2:
        return bounded("copy", np.zeros(count))
    limit = copy_bound(cosines, ~np.eye(count, dtype=bool), COPY_COSINE)
    candidates = np.less.outer(ranks, ranks).T & originals  # [i, j]: j was committed before i
    nearest = np.where(candidates, np.minimum(cosines, EDGE), -1.0).max(axis=1)
    return bounded("copy", nearest, maximum=limit)


def across_rounds(cosines: Square, same_device: Pairs) -> Scores:
    """Score the largest cosine of each update with one of an earlier round, less the bound of that pair.

    `cosines`: (updates, earlier ones). `same_device`, of the same shape: where both are of one device; these
    pairs make a crowd of their own.
    """
    margins = np.full(cosines.shape, -1.0)
    for pairs, cosine in ((~same_device, COPY_COSINE), (same_device, OWN_COSINE)):
        if pairs.any():
            margins[pairs] = np.minimum(cosines[pairs], EDGE) - copy_bound(cosines, pairs, cosine)
    nearest = margins.max(axis=1, initial=-1.0)
    return bounded("old copy", nearest, maximum=0.0)


def copy_bound(cosines: Square, pairs: Pairs, neutral: float) -> float:
    """Return the largest cosine that is no sign of a copy, among `pairs` of which most are none.

    What is usual is the median over the updates of the cosine of each with its nearest: several groups may be
    in a round, each more like itself than like the others. Where some have a near one and others have none,
    as with classes that only a few devices hold, the bound does not come down to the crowd. `cosines` and
    `pairs`: (updates, others).
    """
    scale = np.where(pairs, np.arctanh(np.clip(cosines, -EDGE, EDGE)), np.nan)
    median, nearest_spread = crowd(np.nanmax(scale[pairs.any(axis=1)], axis=1))
    _, spread = crowd(scale[pairs])
    spread = max(spread, MIN_SPREAD) + PAIR_SPREAD / np.count_nonzero(pairs)
    high = median + FAR * max(spread, nearest_spread)
    return float(np.tanh(clamp(float(np.arctanh(neutral)), median + NEAR * spread, high)))
