"""What an adversary that adapts is after: the ways that lead there, and how far a round would take it.

A way is a direction in which each accomplice's update is bent. It is made of what accomplices know: their own
trainings, the updates of others that they have seen, and trainings on their own data spoilt.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bcfl.adversaries.attack import AttackContext
from bcfl.adversaries.backdoor import Backdoor
from bcfl.adversaries.label_flip import flip
from bcfl.adversaries.learners import Floats, Matrix
from bcfl.learning.datasets import Samples
from bcfl.ports import Vector
from bcfl.protocol.limits import TOP_LEVEL

if TYPE_CHECKING:
    from bcfl.adversaries.pool import Pool
    from bcfl.adversaries.rehearsal import Outcome

TINY = 1e-30  # a norm that is none
ALL = 2**31  # held-out samples: as many as there are


def rarest(updates: Matrix) -> int:
    """Return the place of the update, of (updates, parameters), that is least like the others."""
    units = updates / np.maximum(np.linalg.norm(updates, axis=1, keepdims=True), TINY)
    return int((units @ units.sum(axis=0)).argmin())


@dataclass(frozen=True)
class View:
    """What accomplices know when they make their updates of a round."""

    number: int
    model: Vector  # (parameters,)
    devices: tuple[int, ...]  # the accomplices, in the order of their rows
    honest: Matrix  # what they have trained, (accomplices, parameters); zeros where they do not train
    known: Matrix  # updates of others, this round's or the last one's, (others, parameters)
    owners: tuple[int, ...]  # whose these are
    step: Floats  # the last change of the model, (parameters,)

    @property
    def usual(self) -> float:
        """Return the median norm of the updates that they know."""
        norms = np.linalg.norm(np.concatenate([self.honest, self.known]), axis=1)
        return float(np.median(norms[norms > 0])) if norms.any() else float(np.linalg.norm(self.step))

    def mean(self, knows_all: bool) -> Floats:
        """Return the mean of what the round's devices train, (parameters,), as far as it is known."""
        rows = np.concatenate([self.honest, self.known]) if knows_all else self.honest
        mean: Floats = rows.mean(axis=0)
        return mean

    @property
    def rare(self) -> Floats:
        """Return what sets the rarest update of others apart, (parameters,); zeros where few are known."""
        if len(self.known) < 2:
            return np.zeros(len(self.model))
        apart: Floats = self.known[rarest(self.known)] - self.mean(knows_all=True)
        return apart


class Goal(ABC):
    """An aim; `kinds` are the ways to it, `trains` says whether accomplices train for it."""

    kinds: ClassVar[tuple[str, ...]]
    trains: ClassVar[bool] = True
    must_pass: ClassVar[bool] = True  # whether an update that is rejected is of no use to it

    def __init__(self, pool: Pool, context: AttackContext, knows_all: bool) -> None:
        self.pool, self.context, self.knows_all = pool, context, knows_all

    def base(self, view: View) -> Matrix:
        """Return what is bent, (accomplices, parameters): their honest updates."""
        return view.honest

    def is_ready(self, view: View) -> bool:  # noqa: ARG002
        """Return whether enough is known to begin."""
        return True

    @abstractmethod
    def way(self, kind: str, view: View) -> Matrix:
        """Return what is added at strength 1, (accomplices, parameters) or (1, parameters)."""

    @abstractmethod
    def gain(self, outcome: Outcome, view: View) -> float:
        """Return how much of the aim a rehearsed round reaches; more is better."""


class Loss(Goal):
    """The model should be as bad as it can be, on the accomplices' held-out part."""

    kinds = ("turned", "wrong", "climb", "pull", "rare")

    def way(self, kind: str, view: View) -> Matrix:
        """Return where they go beside their own training, (1, parameters).

        The mean reversed, or further than is of use; what wrong labels teach; the steepest ascent of the
        loss; what sets the rarest update that they know apart.
        """
        mean = view.mean(self.knows_all)
        ways: dict[str, Callable[[], Floats]] = {
            "turned": lambda: -2 * mean,
            "pull": lambda: 2 * mean,
            "wrong": lambda: self.pool.detour("wrong", self._mislabel, view.model, view.number),
            "climb": lambda: self._ascent(view, mean),
            "rare": lambda: 2 * view.rare,
        }
        return ways[kind]()[None]

    def _ascent(self, view: View, mean: Floats) -> Floats:
        """Return the gradient of the held-out loss where the round would lead, twice as long as is usual."""
        slopes = self.pool.judge.slopes((view.model + mean).astype(np.float32), 1, ALL)
        gradient = slopes.gradients[0].astype(np.float64)
        ascent: Floats = 2 * view.usual / max(float(np.linalg.norm(gradient)), TINY) * gradient
        return ascent

    def _mislabel(self, samples: Samples) -> Samples:
        labels = samples.require_classes("adaptive").labels
        return Samples(samples.features, flip(labels, self.context.classes))

    def gain(self, outcome: Outcome, view: View) -> float:  # noqa: ARG002
        """Return the held-out loss; one that is no number counts as none."""
        return float(np.nan_to_num(self.pool.judge.evaluate(outcome.model).loss, nan=-np.inf))


class Success(Goal):
    """The model should call some samples the target: those with a trigger, or those of a class."""

    kinds = ("spoilt",)

    def __init__(self, pool: Pool, context: AttackContext, knows_all: bool, aim: Backdoor | Mislabelling):
        super().__init__(pool, context, knows_all)
        self.aim = aim
        self._score = pool.scorer(aim.test_samples(pool.whole))

    def way(self, kind: str, view: View) -> Matrix:
        """Return what spoilt data teach beyond the same data as they are."""

        def spoil(samples: Samples) -> Samples:
            return self.aim.training_samples(samples, self.context)

        return self.pool.detour(kind, spoil, view.model, view.number)[None]

    def gain(self, outcome: Outcome, view: View) -> float:  # noqa: ARG002
        """Return the share that it succeeds on, and what the model gets right besides, to be unnoticed."""
        return self._score(outcome.model) + (self.pool.judge.evaluate(outcome.model).accuracy or 0.0)


@dataclass(frozen=True)
class Mislabelling:
    """Samples of one class that are to be called another."""

    source: int
    target: int

    def training_samples(self, samples: Samples, context: AttackContext) -> Samples:  # noqa: ARG002
        """Return samples with those of the source class under the target's label."""
        return Samples(samples.features, flip(samples.labels, 0, self.source, self.target))

    def test_samples(self, samples: Samples) -> Samples:
        """Return the samples of the source class, labelled as the target."""
        source = samples.take(np.flatnonzero(samples.labels == self.source))
        return source.relabelled(np.full_like(source.labels, self.target))


class Earn(Goal):
    """Pay without training: the model's last step, and what looks like an own way beside it."""

    kinds = ("mixture", "noise")
    trains = False

    def is_ready(self, view: View) -> bool:
        """Return whether there is a step, and an update of somebody else, to make one from."""
        return bool(view.step.any()) and len(view.known) > 1

    def base(self, view: View) -> Matrix:
        """Return the last step, as long as the mean of the updates of others."""
        norm = float(np.linalg.norm(view.known.mean(axis=0)))
        step = norm / max(float(np.linalg.norm(view.step)), TINY) * view.step
        return np.repeat(step[None], len(view.devices), axis=0)

    def way(self, kind: str, view: View) -> Matrix:
        """Return mixtures of what sets others apart, or noise, as long as others' own ways are."""
        apart = view.known - view.known.mean(axis=0)
        usual = float(np.median(np.linalg.norm(apart, axis=1)))
        rng = np.random.default_rng([self.context.seed, view.number])
        if kind == "mixture":
            rows = rng.normal(size=(len(view.devices), len(apart))) @ apart
        else:
            rows = rng.normal(size=(len(view.devices), apart.shape[1]))
        way: Matrix = usual * rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), TINY)
        return way

    def gain(self, outcome: Outcome, view: View) -> float:
        """Return the pay of an accomplice in that of another device."""
        own = [pay for device, pay in outcome.pay.items() if device in view.devices]
        others = [pay for device, pay in outcome.pay.items() if device not in view.devices]
        count = max(1, len(outcome.levels) - len(view.devices))
        return sum(own) / len(view.devices) / max(sum(others) / count, TINY)


class Frame(Goal):
    """One honest device should be rejected, or count for less: the one whose data are rarest.

    Accomplices imitate it, or all go its way as far as it differs from the others, so that what is rare looks
    like a group.
    """

    kinds = ("shadow", "surround")
    must_pass = False
    victim: int | None = None

    def is_ready(self, view: View) -> bool:
        """Choose the victim, the device that is least like the others; return whether its update is known."""
        if self.victim is None and len(view.known) > 1:
            self.victim = view.owners[rarest(view.known)]
        return self.victim in view.owners

    def way(self, kind: str, view: View) -> Matrix:
        """Return the way from the others to the victim, or that of each accomplice to the victim."""
        row = view.known[view.owners.index(self.victim or 0)]
        way: Matrix = (row - view.mean(knows_all=True))[None] if kind == "shadow" else row - view.honest
        return way

    def gain(self, outcome: Outcome, view: View) -> float:
        """Return the levels that the victim lacks, and those that the honest lack in the mean.

        The accomplices' own level decides where that is equal.
        """
        level = outcome.levels.get(-1 if self.victim is None else self.victim, TOP_LEVEL)
        lacking = 2 * TOP_LEVEL - level - outcome.worth(set(outcome.levels) - set(view.devices))
        return lacking + outcome.worth(view.devices) / 100
