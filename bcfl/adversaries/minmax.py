"""Min-Max and Min-Sum: as far off as distances allow (step 2).

Shejwalkar, Houmansadr 2021, "Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses for
Federated Learning" (NDSS), equations 7 to 9: of the honest updates g_1 ... g_n with mean a, and a
perturbation p,

    update = a + gamma * p     with the largest gamma for which
    Min-Max     max_i |update - g_i|      <=  max_ij |g_i - g_j|
    Min-Sum     sum_i |update - g_i|**2   <=  max_i sum_j |g_i - g_j|**2

and p = -a / |a| (`unit`), -deviation (`std`) or -sign(a) (`sign`). The paper searches for gamma by halving
steps; both conditions are quadratic in gamma, so here it is the root itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bcfl.adversaries.attack import AttackContext, option
from bcfl.adversaries.colluder import Collusion
from bcfl.adversaries.collusion import Floats, Matrix

PERTURBATIONS = ("unit", "std", "sign")


def perturbation(honest: Matrix, kind: str) -> Floats:
    """The direction p, (parameters,)."""
    mean: Floats = honest.mean(axis=0)
    if kind == "std":
        deviation: Floats = -honest.std(axis=0)
        return deviation
    if kind == "sign":
        return -np.sign(mean)
    return -mean / max(float(np.linalg.norm(mean)), 1e-30)


def squared_distances(honest: Matrix) -> Matrix:
    """|g_i - g_j|**2: (updates, updates)."""
    centred = honest - honest.mean(axis=0)
    squares = np.einsum("ij,ij->i", centred, centred)
    distances: Matrix = np.maximum(0.0, squares[:, None] + squares - 2 * centred @ centred.T)
    return distances


def minmax(honest: Matrix, kind: str) -> Floats:
    """(updates, parameters) to the malicious update of Min-Max, (parameters,)."""
    mean, step = honest.mean(axis=0), perturbation(honest, kind)
    limit = float(squared_distances(honest).max())
    apart = mean - honest  # (updates, parameters)
    gamma = _largest(step, apart @ step, np.einsum("ij,ij->i", apart, apart), limit)
    crafted: Floats = mean + gamma * step
    return crafted


def minsum(honest: Matrix, kind: str) -> Floats:
    """(updates, parameters) to the malicious update of Min-Sum, (parameters,)."""
    mean, step = honest.mean(axis=0), perturbation(honest, kind)
    limit = float(squared_distances(honest).sum(axis=1).max()) / len(honest)
    apart = mean - honest
    average = np.array([float(np.einsum("ij,ij->", apart, apart)) / len(honest)])
    crafted: Floats = mean + _largest(step, np.zeros(1), average, limit) * step
    return crafted


def _largest(step: Floats, products: Floats, squares: Floats, limit: float) -> float:
    """The largest gamma with |p|**2 gamma**2 + 2 products gamma + squares <= limit in all rows."""
    length = float(step @ step)
    if length == 0:
        return 0.0
    roots = (np.sqrt(np.maximum(0.0, products**2 - length * (squares - limit))) - products) / length
    return float(roots.min())


@dataclass(frozen=True)
class MinMax(Collusion):
    """As far from the mean as the two honest updates that are farthest apart."""

    PAPER: ClassVar[str] = "Shejwalkar and Houmansadr 2021, NDSS, Min-Max"
    perturbation: str = option("unit", "direction of the perturbation", choices=PERTURBATIONS)

    def craft(self, honest: Matrix, context: AttackContext) -> Floats:  # noqa: ARG002
        """The paper's vector."""
        return minmax(honest, self.perturbation)


@dataclass(frozen=True)
class MinSum(Collusion):
    """As far from the mean as the sum of squared distances of one honest update allows."""

    PAPER: ClassVar[str] = "Shejwalkar and Houmansadr 2021, NDSS, Min-Sum"
    perturbation: str = option("unit", "direction of the perturbation", choices=PERTURBATIONS)

    def craft(self, honest: Matrix, context: AttackContext) -> Floats:  # noqa: ARG002
        """The paper's vector."""
        return minsum(honest, self.perturbation)
