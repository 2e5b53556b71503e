"""Reject as `outlier` a cluster that stands apart from the honest one: its members share an aim.

Along the strongest direction in which a round's updates differ, honest ones make one cloud, even when each
device has classes of its own. A group that follows one aim (a label flip, a backdoor, poison made from common
statistics) makes a second cloud: noise that its members add is spread over all other directions and does not
blur it. "Spectral Signatures in Backdoor Attacks", Tran et al. 2018, arXiv:1811.00636, section 3, and DnC,
Shejwalkar and Houmansadr 2021, section VI, drop a fixed number of those that lie furthest out along this
direction. Here nothing is dropped unless two clouds are apart, and the model can do without one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from bcfl.roles.checks.needs import Needs
from bcfl.roles.checks.scores import Mask, Scores, Square, Values, bounded
from bcfl.roles.checks.shared import once

NEEDS = Needs.GRAM | Needs.SUMS  # cosines; the miner's own training, and means without a cluster
DIRECTIONS = 3
APART = 4.5  # distance of the clouds' means in standard deviations within them (a uniform cloud: 3.46)
GAP = 1.2  # the empty space between them, in the same
SCARCE = 16.0  # updates of which both are doubled
MIN_CLUSTER, MIN_UPDATES = 2, 16  # fewer updates make two clouds by chance
CONFIDENCE = 3.0  # standard errors


def check(
    cosines: Square,
    trust: Callable[[], Values],
    is_harmless: Callable[[Mask, Mask], bool],
    eligible: Mask,
) -> Scores:
    """Score how far apart the clusters of a round's updates are; only members of a wrong one are over 1.

    `cosines`: of the updates, (updates, updates). `trust`: the cosine of each with the miner's own training,
    (updates,). `is_harmless`: whether a cluster can be done without, among those that remain: rare data makes
    a cluster, too, and attackers may gather round it. `eligible`: those that are looked at; the others are
    at 0.
    """
    distances = np.zeros(len(cosines))
    remaining = np.array(eligible)
    for _ in range(len(cosines)):
        places = np.flatnonzero(remaining)
        clusters = once("split", places.tobytes(), [cosines], partial(split, cosines, places))
        if clusters is None:
            break
        distance, side = clusters
        dropped = places[side if is_wrong(trust()[places], side) else ~side]
        if not is_harmless(np.isin(np.arange(len(cosines)), dropped), remaining):
            break
        distances[dropped] = distance
        remaining[dropped] = False
    return bounded("clusters", distances, maximum=1.0)


def split(cosines: Square, places: npt.NDArray[np.int64]) -> tuple[float, Mask] | None:
    """Return how far apart two clusters are, 1 being apart, and the members of one; None for one cluster.

    `cosines`: (updates, updates). `places`: of those that are looked at.
    """
    if len(places) < MIN_UPDATES:
        return None
    cosines = np.ascontiguousarray(cosines[np.ix_(places, places)], np.float64)
    matrix = cosines - cosines.mean(axis=0)
    matrix -= matrix.mean(axis=1, keepdims=True)
    _, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    best: tuple[float, Mask] | None = None
    for direction in range(1, DIRECTIONS + 1):
        places = vectors[:, -direction]
        distance, cut = widest_cut(np.sort(places))
        if distance > 1.0 and (best is None or distance > best[0]):
            best = distance, places < cut
    return best


def widest_cut(places: Values, lowest: int = MIN_CLUSTER) -> tuple[float, float]:
    """Return how far apart the clearest two clouds of sorted places are, and the place between them.

    At least so many places are in the lower cloud, and `MIN_CLUSTER` in the other.
    """
    count = len(places)
    cuts = np.arange(lowest, count - MIN_CLUSTER + 1)
    if not len(cuts):
        return 0.0, 0.0
    is_low = np.arange(count) < cuts[:, None]  # (cuts, places)
    low, high = is_low @ places / cuts, ~is_low @ places / (count - cuts)
    within = np.square(places - np.where(is_low, low[:, None], high[:, None])).sum(axis=1)
    deviations = np.maximum(np.sqrt(within / (count - 2)), 1e-12)
    scarce = 1 + (SCARCE / count) ** 2
    gaps = (places[cuts] - places[cuts - 1]) / (GAP * scarce)
    distances = np.minimum((high - low) / (APART * scarce), gaps) / deviations
    best = int(np.argmax(distances))
    if not distances[best] > 0.0:
        return 0.0, 0.0
    return float(distances[best]), float(places[cuts[best]] + places[cuts[best] - 1]) / 2


def is_wrong(trust: Values, side: Mask) -> bool:
    """Return whether `side` is to be dropped: the fewer are, unless the miner's training is against the many.

    It is against them if the many point away from it, beyond doubt, and the few do not. That the few point
    its way more than the many is not enough: poison made from the mean of honest updates has less of their
    noise.
    """
    few = side if side.sum() * 2 <= len(side) else ~side
    many = trust[~few]
    error = float(many.std()) / np.sqrt(len(many))
    against = float(many.mean()) < -CONFIDENCE * error and float(trust[few].mean()) > 0
    return bool(np.array_equal(few, side)) != against
