"""Score a round's updates under one rule, and bound the scores."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]  # (updates,)
Mask = npt.NDArray[np.bool_]  # (updates,)
Square = npt.NDArray[np.float64]  # (updates, updates)
NORMAL = 1.4826  # MAD of a normal distribution to its standard deviation
MIN_CROWD = 8  # updates; fewer say nothing of what is usual
SCARCE = 8.0  # of so few, the MAD falls short: it is raised by this share of one over their number


@dataclass(frozen=True)
class Scores:
    """The scores of a round's updates under one rule; an update passes between its bounds, both included.

    A score that is no number does not pass.
    """

    rule: str
    values: Values
    minimum: Values
    maximum: Values

    @property
    def passed(self) -> Mask:
        """Return whether each update keeps to its bounds, (updates,)."""
        mask: Mask = (self.values >= self.minimum) & (self.values <= self.maximum)
        return mask

    def exempt(self, mask: Mask) -> Scores:
        """Return the same scores without bounds where `mask`, (updates,), is set."""
        minimum, maximum = np.where(mask, -np.inf, self.minimum), np.where(mask, np.inf, self.maximum)
        return Scores(self.rule, self.values, minimum, maximum)


def bounded(
    rule: str, values: Values, *, minimum: Values | float = -np.inf, maximum: Values | float = np.inf
) -> Scores:
    """Return scores, (updates,), whose bounds are one for each update or one for all."""
    least, most = (np.full(values.shape, bound, np.float64) for bound in (minimum, maximum))
    return Scores(rule, values, least, most)


def crowd(values: Values) -> tuple[float, float]:
    """Return the median and the robust standard deviation of values; zeros of none."""
    if not len(values):
        return 0.0, 0.0
    middle = median(values)
    spread = NORMAL * median(np.abs(values - middle))
    return middle, spread * (1 + SCARCE / len(values))


def median(values: Values) -> float:
    """Return the median of at least one value, as `np.median` does, which takes ten times as long for few."""
    ranks = np.sort(values)  # what is no number comes last
    if math.isnan(ranks[-1]):
        return math.nan
    return float((ranks[(len(ranks) - 1) // 2] + ranks[len(ranks) // 2]) / 2)


def clamp(neutral: Values | float, low: float, high: float) -> Values:
    """Return `neutral`, held between `low` and `high`: a fixed bound that gives way to the crowd.

    Where the crowd lies close together the bound is nearer to it than any fixed one could be; where the crowd
    is spread wide the bound is further away.
    """
    return np.asarray(np.clip(neutral, min(low, high), max(low, high)), dtype=np.float64)
