"""Attacks by one or two devices on rounds of few updates, for `benchmarks.groups`.

Rounds of fewer than 8 updates have no least norm, and those of fewer than 16 do not ask what updates share.
`cheap rider` knows public history alone: it takes one gradient on a few samples of each class, and sends it
with the last step and noise, shorter than is usual, as a claim of the most that pays. `noise rider` has no
data, and leaves the gradient out. `layer rider` has none either: the last step with its output layer three
times as long, and a little noise; `shaped rider`: less of the step, and noise as large in each parameter as
public updates are apart; `smooth rider`: half of the step, waves by chance for each unit of the first
layer, such as pictures are made of, and an output layer by chance; `low-rank rider`: a part of the step,
and of each layer mixtures by chance of the directions in and out along which public updates are longest.
`old rider` trains for three rounds, and sends what it made then again, with noise. `blob rider` takes
`cheap rider`'s gradient on made-up pictures: light rectangles, with any label. `null rider` moves the first
layer along what no picture of its own has, so that the model hardly changes: no mark works on that, and who
is held against it stands apart. `mean rider` knows the round's honest updates, and sends their mean with
noise. `valley` knows them too: it looks for the update with which the others' model is good, and bad as
soon as one honest update is added, so that this one is taken for harm. `absent` sends nothing: what the
honest reach alone.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from bcfl.adversaries.coalition import deltas_of, trainings_of
from bcfl.adversaries.free_rider import plausible_time
from bcfl.adversaries.learners import CachedLearner, Floats, MaliciousLearner, Matrix, with_delta
from bcfl.errors import ConfigError, Unavailable
from bcfl.learning import Samples, Split, Task
from bcfl.learning.kinds import judge
from bcfl.ports import Learner, TrainingResult, Vector
from bcfl.roles.miner.verifier import as_matrix
from testkit.chainless import Chainless

RIDERS = (
    "cheap rider", "noise rider", "layer rider", "shaped rider", "smooth rider", "low-rank rider",
    "old rider", "blob rider",
)  # fmt: skip
FEW_PLANS = ("absent", *RIDERS, "null rider", "mean rider", "valley")
GLANCE = 200  # samples of a rider's gradient: one training of 8,500 samples takes 17,000
SIDE = 28  # of a picture
PER_CLASS = 150  # own samples of a class that stand for a miner's
PULL, NOISE = 0.5, 0.4  # of gradient and noise in what a rider sends, beside the last step
SHORT = 0.65  # of the usual length, by who knows no more than history: from 8 updates on 0.6 is the least
FIRST = 1.5
LAYER, SHAPED_STEP, SHAPED = 3.0, 0.3, 0.95  # of the output layer; of step and noise of a shaped rider
WAVES, SMOOTH_STEP, SMOOTH_OUTPUT = 20, 0.5, 0.3  # of a smooth rider: waves; parts beside the first layer's
RANK, LOW_STEP, LOW = 10, 0.3, 0.7  # directions of a layer; of step and mixtures of a low-rank rider
TRAINED, AGAIN = 3, 0.05  # rounds in which an old rider trains, and the noise that it adds later
EMPTY, SEEN = 150, 2_000  # directions in which own pictures differ least, of so many pictures
LONGEST = 1.7  # usual lengths: of few updates 1.8 always pass
STEPS, RATE, INERTIA = 40, 0.05, 0.8  # of the search for a valley
LOOKED_AT = 1_500  # samples of the search
UNDER = 0.03  # by how much the valley has to be lower than what the honest make


@dataclass
class Few:
    """The members of one attack in a federation that is played without a chain."""

    federation: Chainless
    attack: str
    members: frozenset[int]
    data: tuple[Task, Split]
    _learners: list[Learner] = field(default_factory=list)
    _agreed: tuple[int, dict[int, Floats]] = (0, {})
    _old: dict[int, dict[int, Floats]] = field(default_factory=dict)

    def join(self) -> None:
        """Replace the learners of the members; everybody trains once a round, whoever asks."""
        for device in self.federation.devices:
            device.trainer.learner = CachedLearner(device.trainer.learner)
            self._learners.append(device.trainer.learner)
        task, shares = self.data
        own = shares.devices[min(self.members)]
        places = [np.flatnonzero(own.labels == kind)[:PER_CLASS] for kind in np.unique(own.labels)]
        balanced = Split(shares.devices, shares.miners, own.take(np.concatenate(places)))
        self._judge = judge(
            task, replace(balanced, test=self._blobs()) if self.attack == "blob rider" else balanced
        )
        for index in self.members:

            def forge(model: Vector, round_: int, index: int = index) -> TrainingResult:
                return self.forge(index, model, round_)

            self.federation.corrupt(index, MaliciousLearner(self._learners[index], forge))

    def _blobs(self) -> Samples:
        """Return light rectangles in the dark, with any label."""
        own, rng = self.data[1].test, np.random.default_rng(self.federation.config.seed)
        low, high = float(own.features.min()), float(own.features.max())
        across = np.abs(np.arange(SIDE) - SIDE / 2 + 0.5) < rng.uniform(4, 10, (GLANCE, 1))
        down = np.abs(np.arange(SIDE) - SIDE / 2 + 0.5) < rng.uniform(6, 13, (GLANCE, 1))
        light = (high - low) * rng.uniform(0.3, 1.0, (GLANCE, 1, 1))
        pictures = low + light * (down[:, :, None] & across[:, None])
        labels = rng.choice(np.unique(own.labels), GLANCE)
        return Samples(pictures.astype(np.float32).reshape(GLANCE, *own.features[0].shape), labels)

    def forge(self, index: int, model: Vector, round_: int) -> TrainingResult:
        """Return what a member sends as its training; raises ConfigError, and so sits out, if absent."""
        if self.attack == "absent":
            raise ConfigError("absent sends nothing")
        riders = dict.fromkeys(RIDERS, self._ride) | {"null rider": self._ride_on_nothing}
        if self.attack in riders:
            return with_delta(self._claim(model, round_), model, riders[self.attack](index, model, round_))
        if self._agreed[0] != round_:
            self._agreed = round_, self._agree(model, round_)
        return with_delta(self._claim(model, round_), model, self._agreed[1][index])

    def _claim(self, model: Vector, round_: int) -> TrainingResult:
        """Return a claim of as many samples as anybody has; it counts up to the round's median."""
        samples = max(len(each) for each in self.data[1].devices)
        return TrainingResult(model, samples, plausible_time(self.federation.history, round_, samples))

    def _slope(self, at: Floats, samples: int) -> tuple[float, Floats]:
        found = self._judge.slopes(at.astype(np.float32), 1, samples)
        return found.loss, found.gradients[0].astype(np.float64)

    def _ride(self, index: int, model: Vector, round_: int) -> Floats:
        """Return an update of public history and, of some, one gradient, (parameters,)."""
        if self.attack == "old rider" and round_ <= TRAINED:
            return self._train(index, model, round_)
        history, archive = self.federation.history, self.federation.archive
        rng = np.random.default_rng([self.federation.config.seed, index, round_])
        step = np.zeros(len(model))
        if round_ > 1 and len(history.blocks) > 1:
            step = model.astype(np.float64) - archive.values(history.blocks[-2])
        noise = unit(rng.normal(size=len(model)))
        if self.attack == "old rider":
            way = unit(self._old[index][round_ % TRAINED]) + AGAIN * noise
        elif self.attack == "layer rider":
            way = unit(step * np.where(np.arange(len(step)) < self._output(), 1.0, LAYER)) + NOISE * noise
        elif self.attack == "shaped rider":
            way = SHAPED_STEP * unit(step) + SHAPED * unit(noise * self._spread(round_))
        elif self.attack == "smooth rider":
            way = SMOOTH_STEP * unit(step) + unit(self._smooth(rng, len(model)))
        elif self.attack == "low-rank rider":
            way = LOW_STEP * unit(step) + LOW * unit(self._low_rank(rng, round_))
        elif self.attack == "noise rider":
            way = unit(step) + noise
        else:
            pull = -unit(self._slope(model.astype(np.float64), GLANCE)[1])
            way = PULL * pull + unit(step) + NOISE * noise
        return self._length(round_) * unit(way)

    def _smooth(self, rng: np.random.Generator, size: int) -> Floats:
        """Return sums of waves for each unit of the first layer, and rows of the output, (parameters,)."""
        first = next(self.data[0].build().parameters())
        places = np.pi * (np.arange(SIDE) + 0.5) / SIDE
        lowest = sorted(np.ndindex(SIDE, SIDE), key=lambda pair: pair[0] ** 2 + pair[1] ** 2)[:WAVES]
        waves = np.stack([unit(np.outer(np.cos(i * places), np.cos(j * places)).ravel()) for i, j in lowest])
        way = np.zeros(size)
        way[: first.numel()] = unit((rng.normal(size=(len(first), WAVES)) @ waves).ravel())
        way[self._output() :] = SMOOTH_OUTPUT * unit(rng.normal(size=size - self._output()))
        return way

    def _train(self, index: int, model: Vector, round_: int) -> Floats:
        """Return honest work, (parameters,), and keep it."""
        work: Floats = deltas_of(trainings_of([self._learners[index]], model, round_), model)[0]
        self._old.setdefault(index, {})[round_ % TRAINED] = work
        return work

    def _output(self) -> int:
        """Return where the output layer, weights and bias, begins in the vector."""
        sizes = [tensor.numel() for tensor in self.data[0].build().parameters()]
        return sum(sizes[:-2])

    def _low_rank(self, rng: np.random.Generator, round_: int) -> Floats:
        """Return layers of random mixtures of public directions, (parameters,); sits out without any."""
        public, start, parts = self._public(round_), 0, list[Floats]()
        if not len(public):
            raise ConfigError("nothing is public yet")
        for tensor in self.data[0].build().parameters():
            rows = public[:, start : start + tensor.numel()]
            start += tensor.numel()
            if tensor.ndim == 2:
                layers = rows.reshape(-1, *tensor.shape)
                out, far, _ = np.linalg.svd(np.hstack([*layers]), full_matrices=False)
                _, wide, within = np.linalg.svd(np.vstack([*layers]), full_matrices=False)
                sizes = np.sqrt(np.outer(far[:RANK], wide[:RANK]))
                mixed = out[:, :RANK] @ (sizes * rng.normal(size=sizes.shape)) @ within[:RANK]
                parts.append(unit(mixed.ravel()) * float(np.median(np.linalg.norm(rows, axis=1))))
            else:
                parts.append(rows.std(axis=0) * rng.normal(size=tensor.numel()))
        return np.concatenate(parts)

    def _spread(self, round_: int) -> Floats | float:
        """Return how far apart the last two rounds' updates are in each parameter, (parameters,)."""
        public = self._public(round_)
        return public.std(axis=0) if len(public) else 1.0

    def _public(self, round_: int) -> Matrix:
        """Return the last two rounds' updates of others, (updates, parameters)."""
        rounds = [self.federation.history.rounds[n] for n in (round_ - 1, round_ - 2) if n > 0]
        items = [
            item for each in rounds for item in each.submissions if item.update.device not in self.members
        ]
        archive, terms = self.federation.archive, self.federation.ledger.terms
        return as_matrix([archive.update(item) for item in items], terms).astype(np.float64)

    def _ride_on_nothing(self, index: int, model: Vector, round_: int) -> Floats:
        """Return an update of the first layer, (parameters,), that own pictures hardly feel."""
        task, shares = self.data
        rng = np.random.default_rng([self.federation.config.seed, index, round_])
        pictures = shares.devices[index].features[:SEEN].reshape(-1, shares.devices[index].features[0].size)
        rows = pictures.astype(np.float64)
        empty = np.linalg.eigh(rows.T @ rows)[1][:, :EMPTY]
        units = len(next(task.build().parameters()))
        delta = np.zeros(len(model))
        delta[: units * len(empty)] = (rng.normal(size=(units, EMPTY)) @ empty.T).ravel()
        return (self._length(round_) if round_ > 1 else SHORT * FIRST) * unit(delta)

    def _length(self, round_: int) -> float:
        """Return the length that a rider gives its update."""
        if round_ == 1:
            return FIRST
        norms = list[float]()
        for item in self.federation.history.rounds[round_ - 1].submissions:
            if item.update.device not in self.members:
                with suppress(Unavailable):
                    norms.append(self.federation.archive.norm(item))
        return SHORT * float(np.median(norms))

    def _agree(self, model: Vector, round_: int) -> dict[int, Floats]:
        """Return what each member sends, (parameters,), knowing what all have trained."""
        order = sorted(self.members)
        others = [each for index, each in enumerate(self._learners) if index not in self.members]
        honest = deltas_of(trainings_of(others, model, round_), model)
        usual = float(np.median(np.linalg.norm(honest, axis=1)))
        claims = np.array([float(each.samples) for each in others])
        if self.attack == "mean rider":
            mean, rng = unit(claims @ honest), np.random.default_rng([self.federation.config.seed, round_])
            noises = [unit(rng.normal(size=len(mean))) for _ in order]
            rows = [usual * unit(mean + NOISE * noise) for noise in noises]
            return dict(zip(order, rows, strict=True))
        own = deltas_of(trainings_of([self._learners[i] for i in order], model, round_), model)
        cap = float(np.sort([*claims, *[claims.max()] * len(order)])[(len(self._learners) - 1) // 2])
        search = Valley(self._slope, model, honest, np.minimum(claims, cap), cap * len(order))
        finds = [search.find(own.mean(axis=0), victim, LONGEST * usual) for victim in range(len(honest))]
        shared = max(finds, key=lambda pair: pair[0])[1]
        return dict(zip(order, own - own.mean(axis=0) + shared, strict=True))


@dataclass(frozen=True)
class Valley:
    """A search for an update that makes an honest one look harmful.

    `slope` returns loss and gradient of a model, on so many samples. `honest`: updates, (updates,
    parameters), that weigh `weights`, (updates,); what is looked for weighs `weight`.
    """

    slope: Callable[[Floats, int], tuple[float, Floats]]
    model: Vector
    honest: Matrix
    weights: Floats
    weight: float

    def find(self, start: Floats, victim: int, longest: float) -> tuple[float, Floats]:
        """Return by how much one honest update raises the loss, in that before, and what makes it so.

        Without the victim the loss has to be lower than what the honest reach with and without it. Where
        nothing is found the start is returned, (parameters,), and 0.
        """
        rest = np.arange(len(self.honest)) != victim
        base, total = self.weights[rest] @ self.honest[rest], float(self.weights.sum())
        without = self.weight + float(self.weights[rest].sum())
        added = self.weights[victim] * self.honest[victim]
        means = (base + added) / total, base / float(self.weights[rest].sum())
        before = self._slope(np.zeros(len(start)))[0]
        target = min(self._slope(mean)[0] for mean in means) - UNDER
        best, sent, move = (0.0, start), np.array(start), np.zeros(len(start))
        for _ in range(STEPS):
            middle = base + self.weight * sent
            low, down = self._slope(middle / without)
            high, up = self._slope((middle + added) / (self.weight + total))
            if low <= target and high - low > best[0] * before:
                best = (high - low) / before, sent
            down, up = unit(down), unit(up)
            way = down if low > target - UNDER / 3 else max(0.0, float(up @ down)) * down - up
            move = INERTIA * move + way
            sent = sent - RATE * longest * move
            sent *= min(1.0, longest / float(np.linalg.norm(sent)))
        return best

    def _slope(self, delta: Floats) -> tuple[float, Floats]:
        return self.slope(self.model + delta, LOOKED_AT)


def unit(vector: Floats) -> Floats:
    """Return a vector, (parameters,), at length 1; zeros stay zeros."""
    length = float(np.linalg.norm(vector))
    return vector / length if length else vector
