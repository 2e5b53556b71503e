"""Reject as `quality` an update that harms the model on the miner's own held-out data.

The held-out loss is linearised where the round would lead: g is its gradient at the model moved by the mean
of the updates that the miner trusts, and an update's merit is -d.g, the nats that it takes off the loss.
Held-out loss of the model plus one update would be a trap: late in training poison often scores better than
honest updates.

The gradient is taken over several parts of the held-out data. How far an update's merit differs between them
says what the merit is worth: with little data it says little, and nobody is dropped for it.

A learner without gradients evaluates instead, a part of each update to both sides of that point: half the
difference of the losses is the merit. It has no parts, so a merit of n samples is taken to be uncertain by as
much as merits usually are, over the root of n.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bcfl.ports import Evaluation, Matrix, Vector
from bcfl.roles.checks.scores import MIN_CROWD, Mask, Scores, Values, bounded, clamp, crowd

PARTS = 8  # of the held-out data
FAR = 2.0  # tolerances below the crowd at which being of no use is enough
STEP = 0.25  # of an update, to each side: what the loss is evaluated after
DOUBT = 2.5  # standard errors of a merit, of the held-out data
Parts = npt.NDArray[np.float64]  # (updates, parts)


def check(merits: Parts, trusted: Mask, tolerance: float) -> Scores:
    """Score the merit of each update; the bound is what data as scarce as the miner's can tell from no harm.

    In a crowd that bound is held between one and two tolerances (robust standard deviations) below the
    trusted, (updates,). `merits`: of each update on each part of the held-out data, (updates, parts); where
    one is not finite, all pass.
    """
    if not merits.size or not np.isfinite(merits).all():
        return bounded("merit", np.zeros(len(merits)))
    mean = merits.mean(axis=1)
    median, spread = crowd(mean[trusted])
    beside = merits - np.median(merits[trusted], axis=0) if trusted.any() else merits
    doubt = DOUBT * np.minimum(standard_error(merits), standard_error(beside))
    high = median - tolerance * spread
    low = high - (FAR - 1) * tolerance * spread if trusted.sum() >= MIN_CROWD else -np.inf
    return bounded("merit", mean, minimum=clamp(0.0, low, high) - doubt)


def slopes(
    evaluate: Callable[[Vector], Evaluation], delta: Vector, moves: Matrix, looked_at: Mask
) -> tuple[Values, int]:
    """Return the merit of each update by differences of losses, (updates,), and the samples they are of.

    `moves`: (updates, parameters). An update that is not looked at has none: 0.
    """
    merits, samples = np.zeros(len(moves)), 0
    for place in np.flatnonzero(looked_at):
        before = evaluate(delta - np.float32(STEP) * moves[place])
        after = evaluate(delta + np.float32(STEP) * moves[place])
        merits[place] = (before.loss - after.loss) / (2 * STEP)
        samples = after.samples
    return merits, samples


def check_slopes(merits: Values, samples: int, trusted: Mask, tolerance: float) -> Scores:
    """Score merits, (updates,), of `slopes`; all pass where one is not finite, or there are no samples."""
    if not samples or not np.isfinite(merits).all():
        return bounded("merit", np.zeros(len(merits)))
    median, spread = crowd(merits[trusted])
    usual = float(np.sqrt(np.mean(merits[trusted] ** 2))) if trusted.any() else 0.0
    high = median - tolerance * spread
    low = high - (FAR - 1) * tolerance * spread if trusted.sum() >= MIN_CROWD else -np.inf
    return bounded("merit", merits, minimum=clamp(0.0, low, high) - DOUBT * usual / np.sqrt(samples))


def standard_error(parts: Parts) -> Values:
    """Return the standard error of the mean over the parts, (updates,); infinite where there is but one."""
    count = parts.shape[1]
    if count < 2:
        return np.full(len(parts), np.inf)
    error: Values = parts.std(axis=1, ddof=1) / np.sqrt(count)
    return error
