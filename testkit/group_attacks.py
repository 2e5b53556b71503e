"""Attacks by a group that knows the round's honest updates, or last round's, and claims the most it may.

Each member sends the group's target with a part of its own honest update's deviation, so that no two are
alike: `majority` goes the way of the half of the honest updates that lie nearest to their mean, away from the
other half, as far as was accepted last time; `rarest` gathers round the honest update that is least like the
others; `overshoot` goes beyond it; `late flip` is honest for ten rounds and sends its update reversed from
then on, as long as devices may. `rider` does not train: the model's last step, and a random mixture of what
set last round's updates apart, at the usual length. `one trains` is the same with the training of one member,
beside the last step, in the place of that step. `one gradient` sends one gradient of a few samples, as long
as devices may.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from bcfl.adversaries.coalition import deltas_of, trainings_of
from bcfl.adversaries.free_rider import plausible_time
from bcfl.adversaries.learners import CachedLearner, Floats, MaliciousLearner, Matrix, delta_of, with_delta
from bcfl.errors import ConfigError
from bcfl.learning import Split, Task
from bcfl.learning.kinds import judge
from bcfl.ports import Learner, TrainingResult, Vector
from testkit.chainless import Chainless

SPREAD = 0.5  # of a member's own deviation
HONEST_ROUNDS = 10  # of a late flip
FLIP = -4.0
FEW_SAMPLES = 128  # of one gradient
FRESH = 0.7  # of the one training in what its group sends; the rest is the last step
RISE, FALL = 1.3, 0.7  # of what a group dares, after a round that took more or less than half of it


@dataclass
class Group:
    """The members of one attack in a federation that is played without a chain."""

    federation: Chainless
    attack: str
    members: frozenset[int]
    data: tuple[Task, Split] | None = None  # of the federation
    reach: float = 1.0  # how far the majority's attackers go
    _round: int = 0
    _target: Floats = field(default_factory=lambda: np.zeros(0))
    _middle: Floats = field(default_factory=lambda: np.zeros(0))

    def join(self) -> None:
        """Replace the learners of the members; everybody trains once a round, whoever asks."""
        for device in self.federation.devices:
            device.trainer.learner = CachedLearner(device.trainer.learner)
        for index in self.members:
            honest = self.federation.devices[index].trainer.learner

            def forge(model: Vector, round_: int, index: int = index) -> TrainingResult:
                return self.forge(index, model, round_)

            self.federation.corrupt(index, MaliciousLearner(honest, forge))

    def forge(self, index: int, model: Vector, round_: int) -> TrainingResult:
        """Return what a member sends as its training, with the largest claim."""
        own: MaliciousLearner = self.federation.devices[index].trainer.learner  # type: ignore[assignment]
        if self.attack in ("rider", "one trains"):
            return self._ride(index, own.honest.samples, model, round_)
        trained = own.honest.train(model, round_)
        delta = delta_of(trained, model)
        if self.attack == "late flip":
            return with_delta(trained, model, delta if round_ <= HONEST_ROUNDS else FLIP * delta)
        if self.attack == "one gradient":
            length = abs(FLIP) * float(np.linalg.norm(delta))  # devices shorten it to what they may send
            way = -self._judge(index).slopes(model, 1, FEW_SAMPLES).gradients[0].astype(np.float64)
            return with_delta(trained, model, length * way / np.linalg.norm(way))
        self._agree(model, round_)
        return self._claim(with_delta(trained, model, self._target + SPREAD * (delta - self._middle)), round_)

    def _claim(self, trained: TrainingResult, round_: int) -> TrainingResult:
        samples = self.federation.ledger.terms.max_samples
        time = plausible_time(self.federation.history, round_, samples)
        return TrainingResult(trained.vector, samples, time)

    def _judge(self, index: int) -> Learner:
        """Return a learner whose held-out data are a member's own training data."""
        if self.data is None:
            raise ConfigError("one gradient needs the data of its members: give task and shares")
        task, shares = self.data
        return judge(task, Split(shares.devices, shares.miners, shares.devices[index]))

    def _agree(self, model: Vector, round_: int) -> None:
        """Find this round's target, once for all members."""
        if self._round == round_:
            return
        learners = [device.trainer.learner for device in self.federation.devices]
        honest = [learner for i, learner in enumerate(learners) if i not in self.members]
        own = [learners[i].honest for i in sorted(self.members)]  # type: ignore[attr-defined]
        crafts: dict[str, Callable[[Matrix], Floats]] = {
            "majority": self._majority, "rarest": _rarest, "overshoot": _overshoot
        }  # fmt: skip
        self._adapt()
        self._target = crafts[self.attack](deltas_of(trainings_of(honest, model, round_), model))
        self._middle = deltas_of(trainings_of(own, model, round_), model).mean(axis=0)
        self._round = round_

    def _adapt(self) -> None:
        if self._round:
            last = self.federation.history.rounds[self._round]
            accepted = sum(item.update.device in self.members for item in last.accepted_submissions())
            self.reach *= RISE if 2 * accepted > len(self.members) else FALL

    def _majority(self, honest: Matrix) -> Floats:
        mean = honest.mean(axis=0)
        order = np.argsort(honest @ mean / np.linalg.norm(honest, axis=1))
        half = len(order) // 2
        way = honest[order[half:]].mean(axis=0) - honest[order[:half]].mean(axis=0)
        length = float(np.median(np.linalg.norm(honest, axis=1)))
        target: Floats = mean + self.reach * length * way / np.linalg.norm(way)
        return target

    def _ride(self, index: int, samples: int, model: Vector, round_: int) -> TrainingResult:
        rng = np.random.default_rng([self.federation.config.seed, index, round_])
        archive, history = self.federation.archive, self.federation.history
        claim = self._claim(TrainingResult(model, samples, 1), round_)
        last = history.rounds[round_ - 1].accepted_submissions() if round_ > 1 else []
        fresh = self._training_of_one(model, round_) if self.attack == "one trains" else None
        if not last:
            noise = rng.normal(0.0, 1e-3, len(model))
            if fresh is not None:
                noise = fresh + SPREAD * float(np.linalg.norm(fresh)) * noise / np.linalg.norm(noise)
            return with_delta(claim, model, noise)
        scale = 2.0 ** (history_shift(self.federation))
        rows = np.stack([archive.update(item) for item in last]).astype(np.float64) * scale
        mean = rows.mean(axis=0)
        apart = rows - mean
        length = float(np.median(np.linalg.norm(apart, axis=1)))
        mixture = rng.normal(size=len(rows)) @ apart
        base = mean if fresh is None else FRESH * fresh + (1 - FRESH) * mean
        sent = base + length * mixture / np.linalg.norm(mixture)
        if fresh is not None:
            sent *= float(np.median(np.linalg.norm(rows, axis=1))) / np.linalg.norm(sent)
        return with_delta(claim, model, sent)

    def _training_of_one(self, model: Vector, round_: int) -> Floats:
        """Return the honest update of the one member that trains, (parameters,)."""
        own = self.federation.devices[min(self.members)].trainer.learner
        return delta_of(own.honest.train(model, round_), model)  # type: ignore[attr-defined]


def history_shift(federation: Chainless) -> int:
    """Return the exponent of a lane's unit."""
    terms = federation.ledger.terms
    return terms.shift - terms.scale_bits


def _rare_place(honest: Matrix) -> int:
    rows = honest / np.linalg.norm(honest, axis=1, keepdims=True)
    return int(np.argmin((rows @ rows.T).sum(axis=1)))


def _rarest(honest: Matrix) -> Floats:
    target: Floats = honest[_rare_place(honest)]
    return target


def _overshoot(honest: Matrix) -> Floats:
    mean = honest.mean(axis=0)
    target: Floats = mean + 2.0 * (honest[_rare_place(honest)] - mean)
    return target
