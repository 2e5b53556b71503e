"""The data of accomplices put together: what they train wrongly on, and what they judge models by.

A part is held out, as a miner's is: the accomplices' copy of the miners' rules knows no other data. Training
and judging of a pool happen in this process, whoever trains for the devices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bcfl.adversaries.learners import CachedLearner, Floats, RoundCache, delta_of
from bcfl.errors import ConfigError
from bcfl.learning.datasets import Samples
from bcfl.learning.tasks import Task
from bcfl.learning.training import TorchLearner, Workbench
from bcfl.ports import Vector

HELD_OUT = 0.2  # of each accomplice's samples
MOST = 2_000  # samples that a model is judged by: about as many as a miner has
STREAM = 5  # of the seed
Edit = Callable[[Samples], Samples]


class Pool:
    """Learners on the data of all accomplices; `judge` is what a miner with their held-out part would be."""

    def __init__(self, task: Task, data: Sequence[Samples], seed: int) -> None:
        self._task, self._seed, self._bench = task, seed, Workbench(task)
        self._rng = np.random.default_rng([seed, STREAM])
        usual = max(1, sum(map(len, data)) // max(1, len(data)))  # samples of one of them
        held, rest = zip(*map(self._divide, data), strict=True)
        self.whole, self.held_out = _join(data), self._take(_join(held), MOST)
        self._train = self._take(_join(rest), usual)
        own = self.held_out.take(np.arange(min(len(self.held_out), usual)))
        self.judge = CachedLearner(self._learner(own, self.held_out))
        self._edited: dict[str, tuple[TorchLearner, RoundCache[Floats]]] = {}
        self._honest: RoundCache[Floats] = RoundCache()

    def scorer(self, samples: Samples) -> Callable[[Vector], float]:
        """Return what tells the share of `samples` that a model, (parameters,), gets right; 0 of none."""
        if not len(samples):
            return lambda _: 0.0
        learner = self._learner(None, self._take(samples, MOST))
        return lambda model: learner.evaluate(model).accuracy or 0.0

    def detour(self, name: str, edit: Edit, model: Vector, round_: int) -> Floats:
        """Return what training on edited samples adds to training on them as they are, (parameters,).

        `name` tells one edit from the others. Each is trained once a round.
        """
        if name not in self._edited:
            self._edited[name] = self._learner(edit(self._train), None), RoundCache()
        learner, cache = self._edited[name]
        wrong = cache.get(model, round_, lambda: delta_of(learner.train(model, round_), model))
        right = self._honest.get(
            model, round_, lambda: delta_of(self._learner(self._train, None).train(model, round_), model)
        )
        difference: Floats = wrong - right
        return difference

    def _learner(self, train: Samples | None, held_out: Samples | None) -> TorchLearner:
        return TorchLearner(self._task, train, held_out, self._seed, self._bench)

    def _divide(self, samples: Samples) -> tuple[Samples, Samples]:
        """Return the part of one device's samples that is held out, and the rest; of one sample both."""
        order = self._rng.permutation(len(samples))
        cut = max(1, round(HELD_OUT * len(samples)))
        return samples.take(order[:cut]), samples.take(order[cut:] if len(samples) > 1 else order)

    def _take(self, samples: Samples, most: int) -> Samples:
        return samples.take(self._rng.permutation(len(samples))[:most])


def _join(parts: Sequence[Samples]) -> Samples:
    """Return the samples of several parties as those of one; raises ConfigError where there are none."""
    if not sum(map(len, parts)):
        raise ConfigError("an adversary that adapts needs data of its own: its devices have none")
    features = np.concatenate([part.features for part in parts])
    return Samples(features, np.concatenate([part.labels for part in parts]))
