"""Find how much each update is to count: the level of what no check rejects.

A miner goes down the slope of its held-out loss *of the model that the round would make*, in the weights of
the updates. Whatever the members of a group look like, together they get no more weight than that loss is
lower with: nobody has to find the group. "Exponentiated gradient versus gradient descent for linear
predictors", Kivinen and Warmuth 1997, section 4: the weights move by factors, so that they stay above 0. Zeno
(Xie et al. 2019, arXiv:1805.10032) ranks by the loss after one update alone; late in training poison is often
better there.

The loss is taken over parts of the held-out data. How far they differ says what a merit is worth: what lies
within a few standard errors moves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bcfl.ports import Evaluation, Slopes, Vector
from bcfl.protocol.limits import TOP_LEVEL, USUAL_LEVEL
from bcfl.roles.checks.needs import Needs, Sums
from bcfl.roles.checks.scores import Mask, Values

NEEDS = Needs.GRAM | Needs.SUMS  # norms; sums, and inner products with the slopes of the miner's loss
PARTS, SAMPLES = 8, 480  # of the held-out data that are looked at
STEPS = 5  # models that are looked at
RATE, QUANTILE = 0.9, 0.9  # of a step, in this quantile of the merits' sizes
LATE, LATE_RATE = 3, 0.6  # from this step on, steps are so much shorter
DOUBT = 2.5  # standard errors of a merit that say nothing
LEAST = float(np.exp(-3.0))  # weight, in that of the usual level
MOST = TOP_LEVEL**2 / USUAL_LEVEL**2
BOUNDS = (0.3, 0.7, 1.33)  # weights from which on levels are 2, 3 and 4
GAIN, LARGE = 0.01, 0.1  # of the loss: what says something, and what calls for the best weights
HOPE = GAIN / 4  # of it after the first step: less does not come to GAIN in all
MILD = 0.5  # of a gain between the two that milder weights have to reach
STEP = 0.25  # of an update, to each side: what a learner without gradients evaluates
Parts = npt.NDArray[np.float64]  # (updates, parts)


@dataclass(frozen=True)
class Slope:
    """The loss at one model, and what a full step along each update takes off it."""

    loss: float
    merits: Parts
    samples: int  # that all parts have


@dataclass(frozen=True)
class Weights:
    """What each update is to weigh, beside its claim, and the merit that says so, (updates,) each.

    A merit is what an update takes off the held-out loss beyond the mean of all, at the model that the round
    would make; a gain is what it takes off at the model before. Both are in the task's units. Merits decide,
    since there all that updates have in common is used up. Gains say what an update was worth; without
    gradients there are none.
    """

    values: Values
    merits: Values
    errors: Values  # standard errors of the merits
    gains: Values
    gain_errors: Values

    @property
    def levels(self) -> npt.NDArray[np.int64]:
        """Return the level of each update, (updates,)."""
        return 1 + np.searchsorted(BOUNDS, self.values)


def usual(count: int) -> Weights:
    """Return equal weights: nothing is known."""
    unknown = np.full(count, np.nan)
    return Weights(np.ones(count), np.zeros(count), np.full(count, np.inf), unknown, unknown)


@dataclass(frozen=True)
class HeldOut:
    """What held-out data says of the models that sums of updates make.

    `updates`: (updates, parameters), each shortened by its factor; those not in `among` have no share.
    """

    updates: Sums
    factors: Values
    among: Mask
    slopes: Callable[[Vector, int], Slopes]  # after a delta, on so many parts of the data
    losses: Callable[[Vector, int], tuple[npt.NDArray[np.float64], int]] | None
    evaluate: Callable[[Vector], Evaluation] | None

    def slope(self, shares: Values, parts: int) -> Slope:
        """Return loss and merits where shares of the updates, (updates,), lead, on parts of the data.

        Without gradients a merit is the difference of the losses a part of the update to both sides.
        """
        delta = self._delta(shares)
        found = self.slopes(delta, parts)
        if len(found.gradients) or self.evaluate is None:
            merits = -(self.updates @ found.gradients.T) * self.factors[:, None]
            return Slope(found.loss, merits.astype(np.float64), found.samples)
        merits = np.zeros((len(self.updates), 1))
        for place in np.flatnonzero(self.among).tolist():
            move = np.float32(STEP * self.factors[place]) * self.updates[place]
            merits[place] = (self.evaluate(delta - move).loss - self.evaluate(delta + move).loss) / (2 * STEP)
        middle = self.evaluate(delta)
        return Slope(middle.loss, merits, middle.samples)

    def loss(self, shares: Values) -> float:
        """Return the loss alone."""
        if self.losses is None:
            return self.slopes(self._delta(shares), 1).loss
        return float(self.losses(self._delta(shares), SAMPLES)[0].mean())

    def _delta(self, shares: Values) -> Vector:
        delta: Vector = (shares * self.factors).astype(np.float32) @ self.updates
        return delta


def find(held_out: HeldOut, claims: Values) -> Weights:
    """Return the weights of updates by mirror descent from equal ones.

    Weights are those with the least loss where it falls by `LARGE`, equal ones where it falls by less than
    `GAIN`; between them the first that come to `MILD` of the fall. The path is short-sighted: updates of rare
    classes harm the loss of every single round, and are needed over many. Where merits are in one part, as
    those without gradients, which cost two losses each, one step is made.
    """
    among = held_out.among
    base = np.where(among, claims, 0.0)
    if not base.sum():
        return usual(len(base))
    scores = np.zeros(len(base))  # logarithms of the weights
    slope = held_out.slope(_shares(base, scores), PARTS)
    if not slope.samples or not np.isfinite(slope.merits).all():
        return usual(len(base))
    first, errors = _beside_mean(slope, _shares(base, scores))
    merits, path = first, [(slope.loss, scores)]
    looks = STEPS if slope.merits.shape[1] > 1 else 2
    for step in range(1, looks):
        rate = RATE * (LATE_RATE if step > LATE else 1.0)
        moves = rate * _moves(merits, errors, among)
        if not moves.any():
            break
        scores = np.clip(scores + moves, np.log(LEAST), np.log(MOST))
        shares = _shares(base, scores)
        if step in (1, looks - 1):  # the loss alone costs a third, and mostly says that it is not worth while
            loss = held_out.loss(shares)
            is_over = step == looks - 1 or path[0][0] - loss < HOPE * abs(path[0][0])
            if is_over:
                path.append((loss, scores))
                break
        slope = held_out.slope(shares, 1)
        merits, _ = _beside_mean(slope, shares)
        path.append((slope.loss, scores))
        if not np.isfinite(merits).all():
            return usual(len(base))
    return Weights(np.exp(_chosen(path)), first, errors, *_gains(held_out, looks))


def _gains(held_out: HeldOut, looks: int) -> tuple[Values, Values]:
    """Return what updates take off the loss at the model before, and standard errors, (updates,) each."""
    count = len(held_out.among)
    if looks < STEPS:
        return np.full(count, np.nan), np.full(count, np.nan)
    rows = held_out.slope(np.zeros(count), PARTS).merits
    return rows.mean(axis=1), rows.std(axis=1, ddof=1) / np.sqrt(rows.shape[1])


def _shares(base: Values, scores: Values) -> Values:
    """Return the shares of the mean, (updates,), that claims and logarithms of weights come to."""
    weights = base * np.exp(scores)
    shares: Values = weights / weights.sum()
    return shares


def _beside_mean(slope: Slope, shares: Values) -> tuple[Values, Values]:
    """Return merits beyond that of the mean of all, and their standard errors, (updates,) each.

    In one part a merit is taken to be uncertain by as much as merits usually are, over the root of the
    samples.
    """
    rows = slope.merits - shares @ slope.merits
    means, count = rows.mean(axis=1), rows.shape[1]
    if count > 1:
        return means, rows.std(axis=1, ddof=1) / np.sqrt(count)
    return means, np.full(len(means), np.sqrt(np.square(means).mean() / slope.samples))


def _moves(merits: Values, errors: Values, among: Mask) -> Values:
    """Return by how much logarithms of weights move, (updates,): by what is beyond doubt of the merits."""
    sure = np.sign(merits) * np.maximum(0.0, np.abs(merits) - DOUBT * errors)
    unit = float(np.quantile(np.abs(merits[among]), QUANTILE))
    moves: Values = np.where(among, sure, 0.0) / max(unit, 1e-30)
    return moves


def _chosen(path: list[tuple[float, Values]]) -> Values:
    """Return of losses and logarithms of weights those that are no stronger than the gain calls for."""
    losses = np.array([loss for loss, _ in path])
    gains = losses[0] - losses
    unit, best = abs(losses[0]), int(np.argmax(gains))
    if not np.isfinite(losses).all() or gains[best] < GAIN * unit:
        return path[0][1]
    if gains[best] >= LARGE * unit:
        return path[best][1]
    return path[int(np.argmax(gains >= MILD * gains[best]))][1]
