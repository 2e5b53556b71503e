"""Choose samples to judge by: as many as a question wants, with every class's share of them."""

from __future__ import annotations

import numpy as np

from bcfl.learning.datasets import Samples

ORDER_SEED = 0  # of the mixed order
KEPT_BYTES = 2**18  # of features that a choice keeps; larger ones are made anew each time


class Choice:
    """A party's held-out samples, and those of them that questions have asked for."""

    def __init__(self, samples: Samples | None) -> None:
        self._samples = samples
        self._kept: dict[tuple[int, bool], Samples] = {}  # by their number, and whether they are mixed

    def some(self, count: int) -> Samples | None:
        """Return at most so many samples in mixed order; None where there are none."""
        return self._choose(count, is_mixed=True)

    def spread(self, count: int) -> Samples | None:
        """Return at most so many samples, class by class; None where there are none."""
        return self._choose(count, is_mixed=False)

    def _choose(self, count: int, is_mixed: bool) -> Samples | None:
        if self._samples is None or not len(self._samples):
            return None
        chosen = self._kept.get((count, is_mixed))
        if chosen is None:
            order = np.argsort(self._samples.strata, kind="stable")
            number = min(count, len(order))
            order = order[np.arange(number) * len(order) // number]
            if is_mixed:
                order = order[np.random.default_rng(ORDER_SEED).permutation(number)]
            chosen = self._samples.take(order)
            if type(chosen) is Samples and chosen.features.nbytes <= KEPT_BYTES:  # none that is streamed
                self._kept[count, is_mixed] = chosen
        return chosen
