"""Reject as `outlier` by Multi-Krum: Blanchard et al. 2017, arXiv:1703.02757, section 4.

Multi-Krum keeps the n - f updates with the smallest sums of squared distances to their n - f - 2 nearest
neighbours. It needs the number f of attackers, and drops f honest updates of a round that has none; so a
miner runs it only where its options name f.
"""

from __future__ import annotations

import numpy as np

from bcfl.roles.checks.needs import Needs
from bcfl.roles.checks.scores import Scores, Square, bounded

NEEDS = Needs.GRAM  # distances


def check(gram: Square, attackers: int) -> Scores:
    """Score a round's updates as Krum does; the n - f smallest scores pass.

    `gram`: inner products of the updates, (updates, updates). Where n is below 2f + 3, the paper's
    condition, all pass.
    """
    count = len(gram)
    if count < 2 * attackers + 3:
        return bounded("krum", np.zeros(count))
    squares = np.diag(gram)
    distances = np.maximum(squares[:, None] + squares - 2 * gram, 0.0)
    np.fill_diagonal(distances, np.inf)
    scores = np.sort(distances, axis=1)[:, : count - attackers - 2].sum(axis=1)
    return bounded("krum", scores, maximum=float(np.sort(scores)[count - attackers - 1]))
