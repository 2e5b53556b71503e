"""Reject as `quality` an update that the best majority of a round is worse with: for few updates.

A miner tries out, on its held-out data, the model that the round would make of a majority of the updates. The
majority with the least loss is taken for the honest one; the harm of an update is what that majority's loss
rises by with it, as a share of the loss before the round. Colluders cannot hide each other, as they do where
one update at a time is left out of all.

Reject on negative influence ("RONI", Barreno et al. 2010, "The Security of Machine Learning", section 4.5.2)
looks at one update beside nothing: late in training poison is often better there than honest updates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations

import numpy as np
import numpy.typing as npt

from bcfl.roles.checks.needs import Needs
from bcfl.roles.checks.scores import Mask, Scores, Values, bounded

NEEDS = Needs.SUMS  # of every majority
ALL = 7  # updates of which every majority is tried, 64 at the most; of more, what to leave out
SAMPLES, USUAL, FEWEST = 800, 6, 100  # held-out samples for so many updates; the least number for more
HARM = (
    0.15  # of the loss before the round: what a rare class may cost the others, with USUAL updates or fewer
)
DOUBT = 3.0  # standard errors of the harm that are no sign of it
USE = 2.0  # standard errors that make a use clear
ROOM = 4.0  # times as much harm may come of what goes the way of the miner's own training
GAIN = 1.0  # standard errors by which a model has to be better without an update to leave it out
Losses = npt.NDArray[np.float64]  # (pieces,)
Places = tuple[int, ...]


def sample_count(most: int, updates: int) -> int:
    """Return of how many held-out samples a round is judged: of fewer for more updates, at equal cost."""
    return max(FEWEST, round(most * min(1.0, USUAL / max(updates, 1))))


def check(
    losses: Callable[[Values], tuple[Losses, int]], samples: Values, among: Mask, alike: Mask | None = None
) -> tuple[Scores, Mask]:
    """Score the harm of each update, and say which are of clear use, (updates,).

    `losses` takes weights, (updates,), and returns the losses at the model with that sum of updates,
    (pieces,), and the number of samples in all pieces. Where all are one piece, a harm is taken to be
    uncertain by as much as harms usually are, over the root of the samples. All pass where the losses are not
    finite. `alike`, (updates,), are those that clearly go the way of the miner's own training: while a model
    learns fast, with BatchNorm above all, such an update may overshoot, and may cost as many times more.
    """
    least = HARM * min(1.0, USUAL / max(int(among.sum()), 1))  # one of many moves their mean by less
    trial = _Trial(losses, samples, [int(place) for place in np.flatnonzero(among)])
    values, maximum = np.zeros(len(samples)), np.full(len(samples), np.inf)
    useful = np.zeros(len(samples), dtype=bool)
    best, unit = trial.best(), trial.unit()
    if best is None or unit is None:
        return bounded("harm", values), useful
    pairs = [((*rest, place), rest) for place in trial.places for rest in [_without(best, place)]]
    means, errors = trial.contrasts(pairs)
    values[trial.places] = means / unit
    room = np.where(np.zeros(len(samples), dtype=bool) if alike is None else alike, ROOM, 1.0)
    maximum[trial.places] = np.fmax(least * room[trial.places], DOUBT * errors / unit)
    useful[trial.places] = means < -USE * errors
    return bounded("harm", np.nan_to_num(values, nan=np.inf, posinf=np.inf), maximum=maximum), useful


def _without(places: Places, place: int) -> Places:
    return tuple(other for other in places if other != place)


class _Trial:
    """The losses of the models that sets of updates make, each computed once."""

    def __init__(
        self, losses: Callable[[Values], tuple[Losses, int]], samples: Values, places: list[int]
    ) -> None:
        self._losses, self._samples, self.places = losses, samples, places
        self._known: dict[Places, Losses] = {}
        self._count = 0  # held-out samples

    def losses(self, chosen: Iterable[int]) -> Losses:
        """Return the losses after the weighted mean of the chosen updates, (pieces,)."""
        key = tuple(sorted(chosen))
        if key not in self._known:
            weights, places = np.zeros(len(self._samples)), list(key)
            weights[places] = self._samples[places]
            self._known[key], self._count = self._losses(weights / max(float(weights.sum()), 1.0))
        return self._known[key]

    def unit(self) -> float | None:
        """Return the loss before the round; None where nothing is a share of it.

        A loss that may be below 0 has no mean to be a share of: then it is the root of its mean square.
        """
        before = self.losses(())
        if not len(before):
            return None
        unit = float(before.mean() if (before >= 0).all() else np.sqrt(np.square(before).mean()))
        return unit if np.isfinite(unit) and unit > 0 else None

    def contrasts(self, pairs: list[tuple[Places, Places]]) -> tuple[Values, Values]:
        """Return by how much losses of the first are above those of the second, and errors, (pairs,) each."""
        rows = np.stack([self.losses(first) - self.losses(second) for first, second in pairs])
        means: Values = rows.mean(axis=1)
        if rows.shape[1] > 1:
            return means, rows.std(axis=1, ddof=1) / rows.shape[1] ** 0.5
        usual = float(np.sqrt(np.square(means).mean()))
        return means, np.full(len(means), usual / max(self._count, 1) ** 0.5)

    def best(self) -> Places | None:
        """Return the majority with the least loss; None where none has a finite one."""
        if not self.places or not len(self.losses(())):
            return None
        least = len(self.places) // 2 + 1
        if len(self.places) <= ALL:
            sizes = range(least, len(self.places) + 1)
            choices = [choice for size in sizes for choice in combinations(self.places, size)]
            best = min(choices, key=self._mean_loss)
        else:
            best = self._left(least)
        return best if np.isfinite(self._mean_loss(best)) else None

    def _left(self, least: int) -> Places:
        """Return those that all are not clearly better without, at least so many.

        Where the loss of all is not finite nothing is a contrast to it: then who has a finite one alone is
        looked at.
        """
        chosen = tuple(self.places)
        if not np.isfinite(self._mean_loss(chosen)):
            sound = tuple(place for place in chosen if np.isfinite(self._mean_loss((place,))))
            chosen = sound if len(sound) >= least else chosen
        means, errors = self.contrasts([(chosen, _without(chosen, place)) for place in chosen])
        sure = np.nan_to_num(means / np.maximum(errors, 1e-30), nan=np.inf)
        gains = dict(zip(chosen, sure.tolist(), strict=True))
        order = sorted(chosen, key=lambda place: gains[place])
        return tuple(p for rank, p in enumerate(order) if rank < least or gains[p] < GAIN)

    def _mean_loss(self, chosen: Places) -> float:
        mean = float(self.losses(chosen).mean())
        return mean if np.isfinite(mean) else np.inf
