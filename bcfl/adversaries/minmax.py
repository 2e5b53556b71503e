"""Min-Max and Min-Sum: as far off as distances allow.

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

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bcfl.adversaries.attack import AttackContext, option
from bcfl.adversaries.collusion import Collusion
from bcfl.adversaries.learners import Floats, Matrix

PERTURBATIONS = ("unit", "std", "sign")


def perturbation(honest: Matrix, kind: str) -> Floats:
    """Return the direction p, (parameters,), of honest updates, (updates, parameters)."""
    mean: Floats = honest.mean(axis=0)
    if kind == "std":
        deviation: Floats = -honest.std(axis=0)
        return deviation
    if kind == "sign":
        return -np.sign(mean)
    return -mean / max(float(np.linalg.norm(mean)), 1e-30)


def squared_distances(honest: Matrix) -> Matrix:
    """Return |g_i - g_j|**2, (updates, updates)."""
    residuals = honest - honest.mean(axis=0)
    squares = np.einsum("ij,ij->i", residuals, residuals)
    distances: Matrix = np.maximum(0.0, squares[:, None] + squares - 2 * residuals @ residuals.T)
    return distances


def minmax(honest: Matrix, kind: str) -> Floats:
    """Return the malicious update of Min-Max, (parameters,), of honest ones, (updates, parameters)."""
    mean, direction = honest.mean(axis=0), perturbation(honest, kind)
    limit = float(squared_distances(honest).max())
    residuals = mean - honest  # (updates, parameters)
    squares = np.einsum("ij,ij->i", residuals, residuals)
    update: Floats = mean + _largest(direction, residuals @ direction, squares, limit) * direction
    return update


def minsum(honest: Matrix, kind: str) -> Floats:
    """Return the malicious update of Min-Sum, (parameters,), of honest ones, (updates, parameters)."""
    mean, direction = honest.mean(axis=0), perturbation(honest, kind)
    limit = float(squared_distances(honest).sum(axis=1).max()) / len(honest)
    residuals = mean - honest  # (updates, parameters)
    average = np.array([float(np.einsum("ij,ij->", residuals, residuals)) / len(honest)])
    update: Floats = mean + _largest(direction, np.zeros(1), average, limit) * direction
    return update


def _largest(direction: Floats, products: Floats, squares: Floats, limit: float) -> float:
    """Return the largest gamma with |p|**2 gamma**2 + 2 products gamma + squares <= limit in all rows."""
    square = float(direction @ direction)
    if square == 0:
        return 0.0
    roots = (np.sqrt(np.maximum(0.0, products**2 - square * (squares - limit))) - products) / square
    return float(roots.min())


@dataclass(frozen=True)
class Perturbation(Collusion, ABC):
    """An attack as far from the mean of the honest updates, in one direction, as their distances allow."""

    perturbation: str = option("unit", "direction of the perturbation", choices=PERTURBATIONS)


@dataclass(frozen=True)
class MinMax(Perturbation):
    """As far from the mean as the two honest updates that are farthest apart."""

    PAPER: ClassVar[str] = "Shejwalkar and Houmansadr 2021, NDSS, Min-Max"

    def craft(self, honest: Matrix, context: AttackContext) -> Floats:  # noqa: ARG002
        """Return the paper's vector, (parameters,)."""
        return minmax(honest, self.perturbation)


@dataclass(frozen=True)
class MinSum(Perturbation):
    """As far from the mean as the sum of squared distances of one honest update allows."""

    PAPER: ClassVar[str] = "Shejwalkar and Houmansadr 2021, NDSS, Min-Sum"

    def craft(self, honest: Matrix, context: AttackContext) -> Floats:  # noqa: ARG002
        """Return the paper's vector, (parameters,)."""
        return minsum(honest, self.perturbation)
