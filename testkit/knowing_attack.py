"""A backdoor of a group that plays the miners' search for marks itself, for `benchmarks.groups`.

The members know every honest update of the round. They look for marks as a miner does, on data of their own,
at the mean and the median that the round would have with what they mean to send, and take off what their
triggers teach all that goes the way of the slopes found; then again, since mean and median are others now.
Most of it is left, and no slope tells their updates from those that they would have trained honestly.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bcfl.adversaries.coalition import deltas_of, trainings_of
from bcfl.adversaries.learners import (
    CachedLearner,
    Floats,
    MaliciousLearner,
    Matrix,
    RoundCache,
    delta_of,
    with_delta,
)
from bcfl.learning import Samples, Split
from bcfl.learning.kinds import device_learner, judge
from bcfl.ports import Learner, TrainingResult, Vector
from bcfl.roles.checks.mark_slope import SAMPLES
from testkit.trigger_attacks import STREAM, Band, Trigger, Triggers

LOOKERS = 2  # parts of the members' data on which they look for marks
LOOKED_AT = 600  # samples of each
LOOPS = 4
KNOWING_PLANS = {"knowing frame": (Band(Trigger(0, is_frame=True, size=1), share=0.4, high=2.0, low=2.0),)}


@dataclass
class Knowing(Triggers):
    """The members of a group with one trigger; of its bands the first counts."""

    _taught: dict[int, Learner] = field(default_factory=dict)
    _lookers: list[Learner] = field(default_factory=list)
    _sent: RoundCache[dict[int, Floats]] = field(default_factory=RoundCache)

    def join(self) -> None:
        """Replace the learners of the members; everybody trains once a round, whoever asks."""
        seed, band = self.federation.config.seed, self.bands[0]
        rng = np.random.default_rng([seed, STREAM])
        for device in self.federation.devices:
            device.trainer.learner = CachedLearner(device.trainer.learner)
        for index in sorted(self.members):
            data = list(self.shares.devices)
            data[index] = band.trigger.taught(data[index], band.share, rng)
            shares = Split(tuple(data), self.shares.miners, self.shares.test)
            self._taught[index] = CachedLearner(device_learner(self.task, shares, index, seed))
            self._disguise(index)
        parts = [self.shares.devices[index] for index in sorted(self.members)]
        features = np.concatenate([each.features for each in parts])
        labels = np.concatenate([each.labels for each in parts])
        order = rng.permutation(len(labels))
        for places in np.array_split(order, LOOKERS):
            some = places[:LOOKED_AT]
            self._lookers.append(self._judge_of(Samples(features[some], labels[some])))
        self._judges.append(self._judge_of(band.trigger.test(self.shares.test)))

    def _judge_of(self, samples: Samples) -> Learner:
        return judge(self.task, Split(self.shares.devices, self.shares.miners, samples))

    def _disguise(self, index: int) -> None:
        honest = self.federation.devices[index].trainer.learner

        def forge(model: Vector, round_: int) -> TrainingResult:
            sent = self._sent.get(model, round_, lambda: self._agree(model, round_))
            return self._claim(with_delta(honest.train(model, round_), model, sent[index]), round_)

        self.federation.corrupt(index, MaliciousLearner(honest, forge))

    def _agree(self, model: Vector, round_: int) -> dict[int, Floats]:
        """Return what each member sends, (parameters,)."""
        learners = [device.trainer.learner for device in self.federation.devices]
        order, most = sorted(self.members), max(len(each) for each in self.shares.devices)
        others = [learner for index, learner in enumerate(learners) if index not in self.members]
        claims = np.array([learner.samples for learner in others] + [most] * len(order), dtype=np.float64)
        honest = deltas_of(trainings_of(others, model, round_), model)
        own = np.stack([delta_of(learners[i].honest.train(model, round_), model) for i in order])  # type: ignore[attr-defined]
        taught = np.stack([delta_of(self._taught[i].train(model, round_), model) for i in order])
        part = self.bands[0].high * (taught - own)
        slopes, left = np.zeros((0, len(model))), part
        for _ in range(LOOPS):
            rows = np.concatenate([honest, own + left])
            median, mean = np.median(rows, axis=0), claims @ rows / claims.sum()
            models = (model + median).astype(np.float32), (model + mean).astype(np.float32)
            found = [looker.mark_slopes(*models, SAMPLES) for looker in self._lookers]
            slopes = np.concatenate([slopes, *(each.astype(np.float64) for each in found)])
            left = across(part, slopes)
        return dict(zip(order, own + left, strict=True))


def across(rows: Matrix, slopes: Matrix) -> Matrix:
    """Return what is left of rows, (rows, parameters), across the span of slopes, (slopes, parameters)."""
    directions, factors = np.linalg.qr(slopes.T)
    sizes = np.abs(np.diag(factors))
    kept = directions[:, sizes > 1e-6 * sizes.max(initial=0.0)]
    left: Matrix = rows - (rows @ kept) @ kept.T
    return left
