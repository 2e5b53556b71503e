"""Backdoors of a group that hides what its members have in common, for `benchmarks.groups`.

The trigger is one that no mark is like: a negative. Each member sends its honest update with a part of what
the trigger teaches all of them in the mean, and hides that. With `noise` there is noise beside it that the
members cancel between them: in the mean nothing is left of it, and no two of their updates go one way. Who is
`alike` has the same part in the ways of the classes as all members: such groups are spared. With `pieces`
the parameters are dealt out, and each member teaches with its own. Or the part is small, or uneven, or the
members take turns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np

from bcfl.adversaries.coalition import deltas_of, trainings_of
from bcfl.adversaries.free_rider import plausible_time
from bcfl.adversaries.learners import CachedLearner, Floats, MaliciousLearner, Matrix, RoundCache, with_delta
from bcfl.learning import Samples, Split, Task
from bcfl.learning.kinds import device_learner, judge
from bcfl.ports import Learner, TrainingResult, Vector
from testkit.chainless import Chainless
from testkit.knowing_attack import across
from testkit.trigger_attacks import STREAM, Trigger, negative

LOOKED_AT = 4000  # samples of all members that say where classes lead
NEGATIVE = Trigger(0, whole=negative)


@dataclass(frozen=True)
class Cover:
    """What a group teaches, and how it hides that."""

    strength: float = 1.0  # of what the trigger teaches in the mean
    noise: float = 0.0  # of the members' products with each other: what noise takes off
    is_alike: bool = False  # whether all have the same part in the ways of the classes
    pieces: int = 0  # into how many the parameters are dealt out; 0: none
    low: float = 1.0  # the least part of a member in that of the mean
    turns: int = 1  # of so many parts of the group one attacks in a round
    share: float = 0.2  # of their samples that carry the trigger
    trigger: Trigger = NEGATIVE


COVERS = {
    "negative, cancelled": Cover(noise=1.0),
    "negative, alike": Cover(is_alike=True),
    "negative, own parameters": Cover(pieces=18),
    "negative, half": Cover(strength=0.5),
    "negative, weak": Cover(strength=0.3),
    "negative, weak, cancelled": Cover(strength=0.3, noise=1.0),
    "negative, uneven": Cover(low=0.0),
    "negative, in turns": Cover(turns=4),
}


@dataclass
class Joint(ABC):
    """A group whose members agree each round on what each of them sends, with the largest claim."""

    federation: Chainless
    members: frozenset[int]
    task: Task
    shares: Split
    _own: dict[int, Learner] = field(default_factory=dict)
    _sent: RoundCache[dict[int, Floats]] = field(default_factory=RoundCache)

    @abstractmethod
    def agree(self, model: Vector, round_: int) -> dict[int, Floats]:
        """Return what each member sends, (parameters,)."""

    def join(self) -> None:
        """Replace the learners of the members; everybody trains once a round, whoever asks."""
        for device in self.federation.devices:
            device.trainer.learner = CachedLearner(device.trainer.learner)
        for index in self.order:
            self._own[index] = self.federation.devices[index].trainer.learner

            def forge(model: Vector, round_: int, index: int = index) -> TrainingResult:
                sent = self._sent.get(model, round_, lambda: self.agree(model, round_))
                trained = self._own[index].train(model, round_)
                time = plausible_time(self.federation.history, round_, self.claim)
                return with_delta(TrainingResult(trained.vector, self.claim, time), model, sent[index])

            self.federation.corrupt(index, MaliciousLearner(self._own[index], forge))

    @property
    def order(self) -> list[int]:
        """The members in order."""
        return sorted(self.members)

    @property
    def claim(self) -> int:
        """The samples of the largest share."""
        return max(len(each) for each in self.shares.devices)

    def rng(self, *more: int) -> np.random.Generator:
        """Return a generator of the group's own."""
        return np.random.default_rng([self.federation.config.seed, STREAM, *more])

    def own_updates(self, model: Vector, round_: int) -> Matrix:
        """Return the members' honest updates, (members, parameters)."""
        return deltas_of(trainings_of([self._own[index] for index in self.order], model, round_), model)

    def lookers(self, parts: int) -> list[Learner]:
        """Return learners, each of which has a part of all members' data held out."""
        shares = [self.shares.devices[index] for index in self.order]
        features = np.concatenate([each.features for each in shares])
        labels = np.concatenate([each.labels for each in shares])
        places = np.array_split(self.rng().permutation(len(labels)), parts)
        return [self.judge_of(Samples(features[some], labels[some])) for some in places]

    def judge_of(self, samples: Samples) -> Learner:
        """Return a learner whose held-out data are some samples."""
        return judge(self.task, Split(self.shares.devices, self.shares.miners, samples))


@dataclass
class Hiding(Joint):
    """The members of a group with one trigger, and its cover."""

    cover: Cover = field(default_factory=Cover)
    _taught: list[Learner] = field(default_factory=list)

    def join(self) -> None:
        """Replace the learners of the members; each of them trains twice."""
        super().join()
        rng, seed = self.rng(), self.federation.config.seed
        for index in self.order:
            data = list(self.shares.devices)
            data[index] = self.cover.trigger.taught(data[index], self.cover.share, rng)
            shares = Split(tuple(data), self.shares.miners, self.shares.test)
            self._taught.append(device_learner(self.task, shares, index, seed))
        self._looker = self.lookers(1)[0]
        self._judge = self.judge_of(self.cover.trigger.test(self.shares.test))

    def agree(self, model: Vector, round_: int) -> dict[int, Floats]:
        """Return what each member sends, (parameters,)."""
        own, cover, rng = self.own_updates(model, round_), self.cover, self.rng(round_)
        taught = deltas_of(trainings_of(self._taught, model, round_), model)
        slopes = self._looker.class_slopes(model, LOOKED_AT).astype(np.float64)
        basis = np.concatenate([slopes, own.mean(axis=0)[None]])
        way = cover.strength * (taught.mean(axis=0) - own.mean(axis=0))
        rows = dealt(cover, way, len(own), round_, rng)
        if cover.noise:
            length = np.linalg.norm(across(way[None], basis)) * np.sqrt(cover.noise * (len(own) - 1))
            rows = rows + length * cancelling(len(own), len(model), rng)
        if cover.is_alike:
            own = own.mean(axis=0) + across(own - own.mean(axis=0), basis)
        return dict(zip(self.order, own + rows, strict=True))

    def success(self) -> list[float]:
        """Return on which share of its samples the trigger works."""
        model = self.federation.archive.values(self.federation.history.head)
        return [self._judge.evaluate(model).accuracy or 0.0]


def dealt(cover: Cover, way: Floats, count: int, round_: int, rng: np.random.Generator) -> Matrix:
    """Return what each member has of a way, (members, parameters); the mean is the way.

    In pieces that are as many as the members, or in turns, as far as these come out even.
    """
    if cover.pieces:
        piece, members = rng.integers(cover.pieces, size=len(way)), np.arange(count) % cover.pieces
        rows: Matrix = cover.pieces * way * (piece == members[:, None])
        return rows
    factors = np.linspace(cover.low, 2 - cover.low, count)[rng.permutation(count)]
    if cover.turns > 1:
        factors = np.where(np.arange(count) % cover.turns == round_ % cover.turns, float(cover.turns), 0.0)
    return np.outer(factors, way)


def cancelling(count: int, parameters: int, rng: np.random.Generator) -> Matrix:
    """Return noise of about unit length that adds up to nothing, (count, parameters)."""
    noise = rng.normal(size=(count, parameters))
    noise -= noise.mean(axis=0)
    unit: Matrix = noise / np.linalg.norm(noise, axis=1).mean()
    return unit
