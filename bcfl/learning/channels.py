"""Give the channels of a norm layer exponents of their own, where one for all of them is too coarse.

A table's columns come in units of their own, so their means and variances may lie many powers of ten apart.
Two trials on different samples say what a channel has. A variance on which they agree is that of a channel
that is always in use, and takes a place in the vector that every lane resolves. One that comes and goes, as
that of a pixel that is rarely not 0, may be far larger elsewhere, and gets `RARE_BITS` more room. A channel
that neither trial has seen in use keeps the tensor's exponent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from bcfl.learning.variances import BEGIN, STEP
from bcfl.protocol.limits import MAX_EXPONENT
from bcfl.protocol.types import Exponent

Mask = npt.NDArray[np.bool_]
Whole = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating]

FEW_STEPS: Final = 4  # of a lane: a variance, or the root of one beside a mean, that is less is coarse
AGREE: Final = 4.0  # times at most that the variance of one trial is the other's
RARE_BITS: Final = 4  # of more room where they do not agree
UNCLIPPED: Final = 2  # an exponent from which on a variance of 1 is no more than BEGIN


@dataclass(frozen=True)
class Statistics:
    """What two trials leave of a layer's statistics, each (2, channels).

    `begun` are the variances that a model is to begin with, (channels,), 0 where any will do; `epsilon` is
    what the layer adds to variances.
    """

    variances: Floats
    means: Floats
    begun: Floats
    epsilon: float

    @property
    def variance(self) -> Floats:
        """Return the larger variance, with what the layer adds, (channels,)."""
        largest: Floats = self.variances.max(axis=0)
        return largest + self.epsilon

    @property
    def is_known(self) -> Mask:
        """Return in which channels the trials agree on a variance above 0, (channels,)."""
        least, most = self.variances.min(axis=0), self.variances.max(axis=0)
        is_known: Mask = (least > 0) & (most <= AGREE * least)
        return is_known

    @property
    def is_seen(self) -> Mask:
        """Return which channels are not constant in both trials, (channels,)."""
        is_seen: Mask = self.variances.max(axis=0) > 0
        return is_seen


def of_variances(statistics: Statistics, exponent: int, step: float, place: float) -> Exponent:
    """Return the exponent of a layer's variances, or one a channel where `exponent` is too coarse for one.

    `step` is a lane's in the vector's units, `place` where a variance that is known is to lie. Too coarse are
    lanes that hold a variance to few steps, or that may lose it where what is taken instead is more.
    """
    wish = _wish(statistics, np.maximum(statistics.variance, statistics.begun), place)
    chosen = np.where(statistics.is_seen, np.minimum(wish, exponent), exponent)
    chosen = np.where(statistics.is_known, chosen, np.maximum(chosen, UNCLIPPED))
    few, instead = FEW_STEPS * step * 2.0**exponent, STEP * 2.0**exponent
    is_lost = (few > statistics.variance - statistics.epsilon) & (instead > statistics.variance)
    is_coarse = statistics.is_known & ((few > statistics.variance) | is_lost)
    return _exponents(chosen) if (is_coarse & (chosen < exponent)).any() else exponent


def of_means(statistics: Statistics, exponent: int, step: float, place: float) -> Exponent:
    """Return the exponent of a layer's means, or one a channel where `exponent` is too coarse for one."""
    spread, size = np.sqrt(statistics.variance), np.abs(statistics.means).max(axis=0)
    places = np.clip(FEW_STEPS * step * size / spread, place, max(place, BEGIN))
    wish = _wish(statistics, np.maximum(size, spread), places)
    chosen = np.where(statistics.is_seen, np.minimum(wish, exponent), exponent)
    is_coarse = statistics.is_known & (FEW_STEPS * step * 2.0**exponent > spread)
    return _exponents(chosen) if (is_coarse & (chosen < exponent)).any() else exponent


def lost(statistics: Statistics, variance: Exponent, mean: Exponent | None, step: float) -> tuple[int, int]:
    """Return how many known variances, and means, are no more than rounding in lanes of that step."""
    spread, known = np.sqrt(statistics.variance), statistics.is_known
    variances = known & (step * np.exp2(variance) > 2 * statistics.variance)
    means = known & (mean is not None) & (step * np.exp2(mean or 0) > 2 * spread)
    return int(variances.sum()), int(means.sum())


def _wish(statistics: Statistics, sizes: Floats, place: float | Floats) -> Whole:
    bits = np.ceil(np.log2(np.maximum(sizes / place, 2.0**-MAX_EXPONENT))).astype(np.int64)
    wish: Whole = np.minimum(bits + np.where(statistics.is_known, 0, RARE_BITS), MAX_EXPONENT)
    return wish


def _exponents(chosen: Whole) -> Exponent:
    first, *others = map(int, chosen)
    return (first, *others) if others else first
