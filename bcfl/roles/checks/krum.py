"""`outlier`, Multi-Krum (section 5.6): Blanchard et al. 2017, arXiv:1703.02757, section 4.

It keeps the n - f updates with the smallest sums of squared distances to their n - f - 2 nearest neighbours.
It has to be told the number f of attackers, and drops f honest updates of a round that has none; so a miner
makes it only where it is told to.
"""

from __future__ import annotations

import numpy as np

from bcfl.roles.checks.scores import Scores, Square, bounded


def check(gram: Square, attackers: int) -> Scores:
    """Krum's scores of a round's updates; the n - f smallest pass.

    `gram`: inner products of the updates, (updates, updates). Where n is below 2f + 3, the paper's
    condition, nothing can be said.
    """
    count = len(gram)
    if count < 2 * attackers + 3:
        return bounded("krum", np.zeros(count))
    squares = np.diag(gram)
    distances = np.maximum(squares[:, None] + squares - 2 * gram, 0.0)
    np.fill_diagonal(distances, np.inf)
    scores = np.sort(distances, axis=1)[:, : count - attackers - 2].sum(axis=1)
    return bounded("krum", scores, most=float(np.sort(scores)[count - attackers - 1]))
