"""Reject as `quality` an update that teaches the model a mark on the inputs: for a crowd, and classes.

Where updates are looked at one by one (see `mark.py`), or not even that, a group may put a backdoor in by
small pieces. But all of it is in the mean of the round and little of it in the median of each parameter,
so one gradient by the inputs finds a mark that the mean listens to and the median does not. A gradient by
the parameters then says which way a model learns to take marked inputs, and not plain ones, for the mark's
class. Honest updates hardly go that way, whatever their data; those of who trains on marked samples all do.
Who stands out is left out if a mark works on the model that these alone would make: what tells their data
from others' makes no mark work. Who stands out by far is left out in any case, who was left out not long
ago, and a group where a mark turns some classes alone.

"Neural Cleanse" (Wang et al. 2019, IEEE S&P, section IV) searches a mark in one model, and judges nobody's
update.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bcfl.ports import Matrix
from bcfl.roles.checks import mark
from bcfl.roles.checks.clusters import widest_cut
from bcfl.roles.checks.few import FEW
from bcfl.roles.checks.needs import SMALLEST, Needs, Sums
from bcfl.roles.checks.scores import Mask, Scores, Values, bounded, crowd, median

NEEDS = Needs.GRAM | Needs.SUMS | Needs.VECTOR  # norms; products with slopes; the median of each parameter
SAMPLES = 400  # held-out samples; half of them get the marks
FAR = 3.5  # robust deviations: honest updates have up to 4, those of one in ten that carry a patch up to 17
APART = 0.7  # as `clusters.widest_cut` counts: honest updates have up to 0.9, three in ten with a patch 2
CLEAR_FAR = 11.0  # beyond it, or `CLEAR_APART`, no mark has to work: honest have up to 10.5 on tiny pictures
CLEAR_APART = 1.6  # honest have up to 1.57 there
GROUP, TURNED, PART = 0.1, 3, 0.85  # of a group a mark has to work on some classes: a backdoor has 0.93
FEW_GROUP = 0.25  # of few updates: more of them have been honest
BROUGHT = 0.5  # or by what it adds to the others' model: a backdoor has 0.54 and more, honest ones up to 0.38
FIRST_FAR, FIRST_APART = 7.0, 1.2  # of an untrained model: whatever is learned first makes marks work


def check(
    updates: Sums,
    norms: Values,
    slopes: Matrix,
    among: Mask,
    works: Callable[[Mask, int], float],
    brings: Callable[[Mask], float],
    blamed: Mask,
    is_first: bool = False,
) -> Scores:
    """Score how far each update goes the way of a mark; what is above 1 stands apart from the usual.

    `norms`: of the updates, (updates,); of longer ones than the median counts that much alone. `slopes`:
    gradients at which marked inputs are taken for a mark's class, and plain ones, by turns,
    (2 * marks, parameters); of several marks the worst counts. An update is far out by itself, or one of a
    group that is apart from the others. What is out is no part of what is usual; half of the updates are
    never out. `works`: how often a mark works on the model of some updates, and not on that of the others, on
    the classes that it turns most, so many of them; 0: on the half that it turns least. `brings`: how often
    one works on the others' model with some updates added, and not before. `blamed`: who was left out not
    long ago, (updates,), and needs no mark to work. `is_first`: whether no round was before. In others a
    group is out where a mark works on some classes, and who is beyond `CLEAR_FAR` or `CLEAR_APART` in any
    case.
    """
    bounds = (FIRST_FAR, FIRST_APART) if is_first else (FAR, APART)
    usual, clear, scores = np.array(among), np.zeros(len(norms), bool), np.zeros(len(norms))
    length = median(norms[among]) if among.any() else 0.0
    shares = np.minimum(1.0, length / np.maximum(norms, SMALLEST))
    products = np.nan_to_num(-(updates @ slopes.T).astype(np.float64) * shares[:, None])
    pulls = Pulls(products[:, ::2], products[:, 1::2])
    while usual.any():
        found = _worst(pulls, usual, *bounds)
        out = usual & (found > 1.0)
        if not out.any() or 2 * (usual & ~out).sum() <= among.sum():
            scores[usual] = np.minimum(found[usual], 1.0)
            break
        scores[out] = found[out]
        if not is_first:
            clear |= out & (_worst(pulls, usual, CLEAR_FAR, CLEAR_APART, in_both=True) > 1.0)
        usual &= ~out
    accused = among & ~usual
    if accused.any() and not _is_backdoor(accused, among, works, brings, is_first):
        scores = np.where(clear | blamed, scores, np.minimum(scores, 1.0))
    return bounded("mark slope", scores, maximum=1.0)


def _is_backdoor(
    accused: Mask,
    among: Mask,
    works: Callable[[Mask, int], float],
    brings: Callable[[Mask], float],
    is_first: bool,
) -> bool:
    """Return whether a mark works on the model of the accused, or by what a group of them brings.

    A model of a few devices with a few classes each knows too little to tell; the others' with their mean
    added does. Of a group of a crowd some classes are enough; of few devices with skewed data a third may
    have in common what turns some classes: there a group is asked if it is at most a quarter.
    """
    if works(accused, 0) > (mark.FIRST if is_first else mark.MOST):
        return True
    if accused.sum() < max(TURNED, GROUP * among.sum()):
        return False
    if brings(accused) > BROUGHT:
        return True
    is_small = among.sum() > FEW or accused.sum() <= FEW_GROUP * among.sum()
    return not is_first and is_small and works(accused, TURNED) > PART


@dataclass(frozen=True)
class Pulls:
    """How far updates go the way of marked inputs and of plain ones, (updates, marks) each."""

    marked: npt.NDArray[np.float64]
    plain: npt.NDArray[np.float64]

    def alone(self, usual: Mask) -> Iterator[tuple[Values, Values]]:
        """Yield for each mark how far each update goes its way alone, in two ways, (updates,) each.

        Marked inputs get a class because plain ones do, too: where data are skewed that is most of it. Once
        as much as that of the plain ones is taken off, once as much as usually goes with it (least squares).
        """
        for marked, plain in zip(self.marked.T, self.plain.T, strict=True):
            centred = plain - plain[usual].mean()
            part = (centred[usual] @ marked[usual]) / max(float(centred[usual] @ centred[usual]), SMALLEST)
            yield marked - plain, marked - part * centred


def _worst(pulls: Pulls, usual: Mask, far: float, apart: float, in_both: bool = False) -> Values:
    """Return how far out each update is, in bounds, by the mark that says most, (updates,).

    Of the two ways to say how far an update goes a mark's way the one counts that says more, or less.
    """
    decides = np.minimum if in_both else np.maximum
    rows = [decides(*(_scores(pull, usual, far, apart) for pull in ways)) for ways in pulls.alone(usual)]
    worst: Values = np.max(rows, axis=0, initial=0.0)
    return worst


def _scores(pull: Values, usual: Mask, far: float, apart: float) -> Values:
    """Return how far out each update is, in bounds, by itself or with a group of at most half, (updates,)."""
    middle, spread = crowd(pull[usual])
    scores: Values = np.maximum((pull - middle) / max(spread, SMALLEST) / far, 0.0)
    places = np.sort(pull[usual])
    distance, cut = widest_cut(places, (len(places) + 1) // 2)
    return np.where(pull > cut, np.maximum(scores, distance / apart), scores) if distance else scores
