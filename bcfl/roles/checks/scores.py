"""What a rule measured (step 4): a score for each update and the bounds that it had to keep to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]  # (updates,)
Mask = npt.NDArray[np.bool_]  # (updates,)
Square = npt.NDArray[np.float64]  # (updates, updates)
NORMAL = 1.4826  # MAD of a normal distribution to its standard deviation
FEWEST = 8  # updates that make a crowd; fewer say nothing of what is usual
SCARCE = 8.0  # of so few, the MAD falls short: it is raised by this share of one over their number


@dataclass(frozen=True)
class Scores:
    """The scores of a round's updates under one rule; an update passes between its bounds, both included.

    A score that is no number passes nothing.
    """

    rule: str
    values: Values
    least: Values
    most: Values

    @property
    def passed(self) -> Mask:
        """Whether each update keeps to its bounds."""
        kept: Mask = (self.values >= self.least) & (self.values <= self.most)
        return kept


def bounded(
    rule: str, values: Values, *, least: Values | float = -np.inf, most: Values | float = np.inf
) -> Scores:
    """Scores whose bounds may be the same for all."""
    full = np.broadcast_to
    return Scores(rule, values, full(np.float64(least), values.shape), full(np.float64(most), values.shape))


def crowd(values: Values) -> tuple[float, float]:
    """Middle and robust standard deviation of what most updates have; zeros of none."""
    if not len(values):
        return 0.0, 0.0
    middle = float(np.median(values))
    spread = NORMAL * float(np.median(np.abs(values - middle)))
    return middle, spread * (1 + SCARCE / len(values))


def between(neutral: Values | float, low: float, high: float) -> Values:
    """`neutral`, held between `low` and `high`: a fixed bound that gives way to the crowd on either side.

    With a crowd that lies close together the bound is nearer to it than any fixed one could be; with one that
    is spread wide it is further away.
    """
    return np.asarray(np.clip(neutral, min(low, high), max(low, high)), dtype=np.float64)
