"""Say how near a reconstruction comes, and how well scores tell members from others."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from scipy.optimize import linear_sum_assignment

from bcfl.learning import Task
from bcfl.learning.datasets import FASHION_DEVIATION, FASHION_MEAN, _bundled_table, _divide

Reals = npt.NDArray[np.float64]
WINDOW = 7  # pixels of a side, of SSIM
EXACT_DB = 99.0  # of a picture that is right to the last bit


@dataclass(frozen=True, eq=False)
class Pixels:
    """Turns features of a task back into pixels from 0 to 1."""

    mean: Reals
    deviation: Reals

    def __call__(self, features: npt.NDArray[np.floating]) -> Reals:
        """Return pixels (..., height, width) of features (..., 1, height, width)."""
        pixels = features * self.deviation + self.mean
        return np.asarray(np.clip(pixels, 0, 1)[..., 0, :, :], np.float64)


def pixels_of(task: Task) -> Pixels | None:
    """Return how the task's features become pixels; None for a table."""
    if task.name == "fashion-mnist":
        return Pixels(np.array(FASHION_MEAN / 255), np.array(FASHION_DEVIATION / 255))
    if task.name != "digits":
        return None
    table = _bundled_table("digits.csv.gz", columns=65)
    raw = table[:, :-1].astype(np.float32).reshape(-1, 1, 8, 8)
    train = _divide(raw, table[:, -1].astype(np.int64)).train.features
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    deviation[deviation == 0] = 1
    return Pixels(mean / 16.0, deviation / 16.0)


def pair(guesses: Reals, truths: Reals) -> npt.NDArray[np.int64]:
    """Return for each truth, (n, d), the guess that stands for it, (n,): pairs of least squared error."""
    errors = ((truths[:, None] - guesses[None]) ** 2).mean(-1)
    return np.asarray(linear_sum_assignment(errors)[1], np.int64)


def psnr(guess: Reals, truth: Reals) -> float:
    """Return the peak signal-to-noise ratio of a picture of pixels from 0 to 1, in decibels."""
    error = float(((guess - truth) ** 2).mean())
    return EXACT_DB if error == 0 else min(EXACT_DB, -10 * float(np.log10(error)))


def ssim(guess: Reals, truth: Reals) -> float:
    """Return the structural similarity of two pictures, (height, width): 1 for the same.

    Wang et al. 2004, with plain windows of 7x7 pixels.
    """
    first, second = (sliding_window_view(picture, (WINDOW, WINDOW)) for picture in (guess, truth))
    axes = (-2, -1)
    means = first.mean(axes), second.mean(axes)
    variances = first.var(axes), second.var(axes)
    covariance = (first * second).mean(axes) - means[0] * means[1]
    light, contrast = 0.01**2, 0.03**2
    above = (2 * means[0] * means[1] + light) * (2 * covariance + contrast)
    below = (means[0] ** 2 + means[1] ** 2 + light) * (variances[0] + variances[1] + contrast)
    return float((above / below).mean())


def relative_error(guess: Reals, truth: Reals) -> float:
    """Return the length of the error of a row as a share of the row's own length."""
    return float(np.linalg.norm(guess - truth) / np.linalg.norm(truth))


def labels_right(guesses: npt.NDArray[np.int64], truths: npt.NDArray[np.int64]) -> int:
    """Return how many labels of a batch were found, in whatever order."""
    return (Counter(guesses.tolist()) & Counter(truths.tolist())).total()


def auc(members: Reals, others: Reals) -> float:
    """Return the chance that a member's score is above another's, half of it where they are equal."""
    scores = np.sort(others.ravel())
    below = np.searchsorted(scores, members.ravel(), "left") + np.searchsorted(
        scores, members.ravel(), "right"
    )
    return float(below.mean() / 2 / len(scores))


def true_positives(members: Reals, others: Reals, rate: float) -> float:
    """Return the share of members above the score that at most `rate` of the others are above."""
    scores = np.sort(others.ravel())[::-1]
    return float((members.ravel() > scores[int(rate * len(scores))]).mean())
