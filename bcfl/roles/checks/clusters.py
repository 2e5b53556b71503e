"""`outlier`, two camps (section 5.6): honest updates scatter, those with a common aim stand apart.

Along the strongest direction in which a round's updates differ, honest ones make one cloud, even when each
device has classes of its own. A group that follows one aim (a label flip, a backdoor, poison made from common
statistics) makes a second cloud: noise that its members add is spread over all other directions and does not
blur it. "Spectral Signatures in Backdoor Attacks", Tran et al. 2018, arXiv:1811.00636, section 3, and DnC,
Shejwalkar and Houmansadr 2021, section VI, drop a fixed number of those that lie furthest out along this
direction. Here nothing is dropped unless two clouds are apart.
"""

from __future__ import annotations

import numpy as np

from bcfl.roles.checks.scores import Mask, Scores, Square, Values, bounded

DIRECTIONS = 3
APART = 4.5  # distance of the clouds' middles in standard deviations within them (a uniform cloud: 3.46)
GAP = 1.2  # the empty space between them, in the same
SCARCE = 16.0  # updates of which both are doubled
SMALLEST, FEWEST = 2, 16  # updates in a cloud, and in all: fewer make two clouds by chance
SURE = 3.0  # standard errors


def check(cosines: Square, trust: Values, among: Mask) -> Scores:
    """How far apart the clouds are that a round's updates make; only those of the wrong camp are over 1.

    `cosines`: of the updates, (updates, updates). `trust`: the cosine of each with the miner's own training.
    `among`: the updates that are looked at; the others are at 0.
    """
    far = np.zeros(len(cosines))
    left = np.array(among)
    for _ in range(len(cosines)):
        found = camps(cosines[np.ix_(left, left)])
        if found is None:
            break
        distance, side = found
        places = np.flatnonzero(left)
        worse = places[side if wrong(trust[places], side) else ~side]
        far[worse] = distance
        left[worse] = False
    return bounded("split", far, most=1.0)


def camps(cosines: Square) -> tuple[float, Mask] | None:
    """How far apart two clouds are, in what counts as apart, and who is in one; None for one cloud."""
    count = len(cosines)
    if count < FEWEST:
        return None
    centred = cosines - cosines.mean(axis=0)
    centred -= centred.mean(axis=1, keepdims=True)
    _, vectors = np.linalg.eigh((centred + centred.T) / 2)
    best: tuple[float, Mask] | None = None
    for direction in range(1, DIRECTIONS + 1):
        places = vectors[:, -direction]
        distance, cut = widest(np.sort(places))
        if distance > 1.0 and (best is None or distance > best[0]):
            best = distance, places < cut
    return best


def widest(places: Values) -> tuple[float, float]:
    """The cut of sorted places that makes the clearest two clouds: how far apart, and where it is."""
    best, where = 0.0, 0.0
    scarce = 1 + (SCARCE / len(places)) ** 2
    for cut in range(SMALLEST, len(places) - SMALLEST + 1):
        low, high = places[:cut], places[cut:]
        within = len(low) * low.var() + len(high) * high.var()
        deviation = max(float(np.sqrt(within / (len(places) - 2))), 1e-12)
        apart = float(high.mean() - low.mean()) / deviation / (APART * scarce)
        gap = float(high[0] - low[-1]) / deviation / (GAP * scarce)
        if min(apart, gap) > best:
            best, where = min(apart, gap), float(high[0] + low[-1]) / 2
    return best, where


def wrong(trust: Values, side: Mask) -> bool:
    """Whether `side` is the camp to drop: the fewer, unless the miner's own training speaks against the many.

    It does if the many point away from it, beyond doubt, and the few do not. That the few point its way more
    than the many is not enough: poison made from the mean of honest updates has less of their noise.
    """
    few = side if side.sum() * 2 <= len(side) else ~side
    many = trust[~few]
    error = float(many.std()) / np.sqrt(len(many))
    against = float(many.mean()) < -SURE * error and float(trust[few].mean()) > 0
    return bool(np.array_equal(few, side)) != against
