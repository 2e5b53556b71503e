"""IPM: turn the inner product between aggregate and truth negative.

Xie, Koyejo, Gupta 2019, "Fall of Empires: Breaking Byzantine-tolerant SGD by Inner Product Manipulation"
(arXiv:1903.03936), section 4:   update = -epsilon * mean of the honest updates.

A small epsilon (0.5) hides among the honest updates from rules that look at distances; a large one (100)
breaks the mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bcfl.adversaries.attack import AttackContext, option
from bcfl.adversaries.collusion import Collusion
from bcfl.adversaries.learners import Floats, Matrix


def ipm(honest: Matrix, epsilon: float) -> Floats:
    """Return the malicious update, (parameters,), of honest ones, (updates, parameters)."""
    update: Floats = -epsilon * honest.mean(axis=0)
    return update


@dataclass(frozen=True)
class Ipm(Collusion):
    """The mean of the honest updates, reversed: little (epsilon=0.5) or much (epsilon=100)."""

    PAPER: ClassVar[str] = "Xie et al. 2019, arXiv:1903.03936"
    epsilon: float = option(0.5, "times the mean, reversed", minimum=0, maximum=1e6)

    def craft(self, honest: Matrix, context: AttackContext) -> Floats:  # noqa: ARG002
        """Return the paper's vector, (parameters,)."""
        return ipm(honest, self.epsilon)
