"""`quality`: on the miner's own held-out data the update harms the model (section 5.5).

The held-out loss is linearised where the round would lead: g is its gradient at the model moved by the mean
of all candidates, each clipped to twice the median norm, and an update's merit is -d.g. Held-out loss of the
model plus one update would be a trap: late in training poison often scores better than honest updates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bcfl.ports import Vector

Matrix = npt.NDArray[np.float32]  # (updates, parameters)
NORMAL = 1.4826  # MAD of a normal distribution to its standard deviation
CLIP = 2.0  # median norms
HARM = 0.1  # nats that one update may cost: near the end of training the spread is that of a few samples


@dataclass(frozen=True)
class Merits:
    """Merit of each update, and the threshold below which it counts as harm."""

    merits: npt.NDArray[np.float64]  # (updates,)
    threshold: float

    @property
    def passed(self) -> list[bool]:
        """Whether each update is harmless."""
        return [bool(merit >= self.threshold) for merit in self.merits]


def clipped(updates: Matrix) -> Matrix:
    """The updates, none longer than twice the median norm."""
    norms = np.linalg.norm(updates, axis=1)
    limit = CLIP * float(np.median(norms))
    factors = np.minimum(1.0, limit / np.maximum(norms, 1e-30))
    moved: Matrix = (updates * factors[:, None]).astype(np.float32)
    return moved


def check(
    model: Vector, updates: Matrix, samples: list[int], gradient: Callable[[Vector], Vector], tolerance: float
) -> Merits:
    """The merits of a round's candidates.

    An update is harmful if it costs more than `HARM` and its merit is more than `tolerance` robust
    standard deviations below the median's. Where the slope is no number, nothing can be said against anybody.
    """
    if not len(updates):
        return Merits(np.empty(0), -HARM)
    weights = np.asarray(samples, dtype=np.float64) / sum(samples)
    moved = clipped(updates)
    slope = gradient((model + weights @ moved).astype(np.float32))
    if not np.isfinite(slope).all():
        return Merits(np.zeros(len(updates)), -HARM)
    merits = -(updates.astype(np.float64) @ slope)
    middle = float(np.median(merits))
    spread = NORMAL * float(np.median(np.abs(merits - middle)))
    return Merits(merits, min(-HARM, middle - tolerance * spread))
