"""ALIE: hide within the spread of the honest updates.

Baruch, Baruch, Goldberg 2019, "A Little Is Enough: Circumventing Defenses for Distributed Learning"
(arXiv:1902.06156), algorithm 3. Of n workers m are corrupted; s = floor(n / 2 + 1) - m honest ones have to be
won over, and

    z_max = max z with Phi(z) < (n - m - s) / (n - m),     update_j = mean_j - z_max * deviation_j

over the updates that the adversary knows, coordinate by coordinate. The sign is that of the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar

from bcfl.adversaries.attack import AttackContext, option
from bcfl.adversaries.collusion import Collusion
from bcfl.adversaries.learners import Floats, Matrix


def z_max(devices: int, adversaries: int) -> float:
    """Return how many deviations away a majority still stands behind the attackers; 0 if they need none."""
    honest = devices - adversaries
    supporters = devices // 2 + 1 - adversaries
    share = (honest - supporters) / honest if honest > 0 else 1.0
    return max(0.0, NormalDist().inv_cdf(min(share, 0.9999))) if share > 0 else 0.0


def alie(honest: Matrix, z: float) -> Floats:
    """Return the malicious update, (parameters,), of honest ones, (updates, parameters)."""
    update: Floats = honest.mean(axis=0) - z * honest.std(axis=0)
    return update


@dataclass(frozen=True)
class Alie(Collusion):
    """The mean of the honest updates less z standard deviations."""

    PAPER: ClassVar[str] = "Baruch et al. 2019, arXiv:1902.06156"
    z: float | None = option(None, "standard deviations; none: the paper's z_max", minimum=0, maximum=100)

    def craft(self, honest: Matrix, context: AttackContext) -> Floats:
        """Return the paper's vector, (parameters,)."""
        z = z_max(context.devices, context.adversaries) if self.z is None else self.z
        return alie(honest, z)
