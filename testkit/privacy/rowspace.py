"""Read samples off the first layer's change by linear algebra: exactly for one, by sparsity for a few.

The change is a product: for each sample a column that says how much each hidden unit got of it, times the
sample. A rectified unit that is off gets nothing, so the columns are sparse, and that tells them from all
other vectors of the space they span. Dimitrov, Baader, Müller and Vechev 2024, "SPEAR", arXiv:2403.03945.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from testkit.privacy.perceptron import Layers

Reals = npt.NDArray[np.float64]
SPARSE_SAMPLES = 10  # at most: a subset of units that are all off for one of n samples is 2**(1-n) of all
SUBSETS, CHUNK = 20_000, 2_000
SAME = 0.999  # cosine of two directions that are one
NEW = 0.05  # share of a direction that others do not span
ABOVE_NOISE = 1.5  # times the largest singular value of noise alone


@dataclass(frozen=True, eq=False)
class Factors:
    """The first layer's change as a product of orthonormal rows."""

    columns: Reals  # (hidden, rank)
    basis: Reals  # (rank, features + 1), orthonormal
    is_clear: bool  # whether every sample's direction stands above the noise


def factors(first: Reals, samples: int, noise: float) -> Factors:
    """Return the change, (hidden, features + 1), as a product of at most as many rows as samples."""
    left, sizes, right = np.linalg.svd(first, full_matrices=False)
    rank = min(samples, len(sizes))
    floor = ABOVE_NOISE * noise * (np.sqrt(first.shape[0]) + np.sqrt(first.shape[1]))
    return Factors(left[:, :rank] * sizes[:rank], right[:rank], bool(sizes[rank - 1] > floor))


def separate(parts: Factors, noise: float, rng: np.random.Generator) -> tuple[Reals, Reals] | None:
    """Return samples, (n, features), and their columns, (n, hidden), in any order; None without any."""
    count = parts.columns.shape[1]
    if count == 1:
        return _rows(parts, np.ones((1, 1)))
    if count > SPARSE_SAMPLES:
        return None
    threshold = 4 * noise
    directions, zeros = _candidates(parts.columns, threshold, rng)
    chosen: list[Reals] = []
    for index in np.argsort(-zeros, kind="stable"):
        direction = directions[index]
        if chosen and not _is_new(direction, np.array(chosen)):
            continue
        near = np.abs(parts.columns @ direction) < threshold
        chosen.append(np.linalg.svd(parts.columns[near])[2][-1])
        if len(chosen) == count:
            return _rows(parts, np.array(chosen))
    return None


def _candidates(
    columns: Reals, threshold: float, rng: np.random.Generator
) -> tuple[Reals, npt.NDArray[np.int64]]:
    """Return directions, (subsets, rank), that some units all get nothing of, and how many get nothing."""
    hidden, rank = columns.shape
    directions, zeros = [], []
    for _ in range(0, SUBSETS, CHUNK):
        subset = np.argsort(rng.random((CHUNK, hidden)), axis=1)[:, : rank - 1]
        direction = np.linalg.svd(columns[subset])[2][:, -1]
        directions.append(direction)
        zeros.append((np.abs(direction @ columns.T) < threshold).sum(axis=1))
    return np.concatenate(directions), np.concatenate(zeros)


def _is_new(direction: Reals, others: Reals) -> bool:
    if np.abs(others @ direction).max() > SAME:
        return False
    rest = direction - others.T @ np.linalg.lstsq(others.T, direction, rcond=None)[0]
    return bool(np.linalg.norm(rest) > NEW)


def _rows(parts: Factors, directions: Reals) -> tuple[Reals, Reals] | None:
    """Return samples scaled so that what belongs to the bias is 1, and their columns."""
    try:
        rows = np.linalg.solve(directions.T, parts.basis)
    except np.linalg.LinAlgError:
        return None
    ones = np.where(np.abs(rows[:, -1]) < 1e-9, 1e-9, rows[:, -1])
    return rows[:, :-1] / ones[:, None], (parts.columns @ directions.T).T * ones[:, None]


def dealt(columns: Reals, labels: npt.NDArray[np.int64], before: Layers) -> npt.NDArray[np.int64]:
    """Return which sample gets which of `labels`, (n,): a column looks like what its label sends back."""
    classes = len(before.bias)
    pulls = before.second - before.second.mean(
        axis=0
    )  # what a label of each class sends back, (classes, hidden)
    scores = np.zeros((len(columns), classes))
    for row, column in enumerate(columns):
        is_on = np.abs(column) > 0.05 * np.abs(column).max()
        for label in range(classes):
            pull = pulls[label] * is_on
            scores[row, label] = pull @ column / (np.linalg.norm(pull) * np.linalg.norm(column) + 1e-12)
    return np.asarray(labels[linear_sum_assignment(-scores[:, labels])[1]], np.int64)
