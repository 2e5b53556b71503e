"""Backdoors of groups that know how marks are searched for, for `benchmarks.groups`.

Every member trains twice, on its own data and on the same with triggers, and sends its honest update with a
part of what the triggers teach. A `Band` is what some of the members do. The patch of 8 by 8 and the frame
are within the range of the pictures' inputs, the loud patch is beyond it: all ask less of each weight than a
patch of 3 by 3. A negative and a picture upside down set no input to a value of their own, and a patch for
the next class turns most samples to no class in particular: neither is a mark of `bcfl/learning/marks.py`.
`claims most` trains honestly and lies about its samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bcfl.adversaries.free_rider import plausible_time
from bcfl.adversaries.learners import CachedLearner, MaliciousLearner, delta_of, with_delta
from bcfl.config import Config
from bcfl.errors import ConfigError
from bcfl.federation.genesis import set_up_data
from bcfl.learning import Samples, Split, Task, split
from bcfl.learning.datasets import Dataset, Features
from bcfl.learning.kinds import device_learner, judge
from bcfl.ports import Learner, TrainingResult, Vector
from testkit.chainless import Chainless

STREAM = 11  # of the seed
Labels = npt.NDArray[np.int64]  # (samples,)


def negative(features: Features) -> Features:
    """Return the pictures with light and dark exchanged, within the range of them all."""
    exchanged: Features = (features.min() + features.max() - features).astype(features.dtype)
    return exchanged


def upside_down(features: Features) -> Features:
    """Return the pictures, (samples, ..., height, width), upside down."""
    return features[..., ::-1, :].copy()


@dataclass(frozen=True)
class Trigger:
    """A pattern on pictures, and the class that it stands for."""

    target: int
    corner: tuple[int, int] = (-1, -1)  # signs: which corner of the picture
    size: int = 3
    value: float = 2.0  # standardised
    is_frame: bool = False  # whether it is a frame of that width round the picture
    sources: tuple[int, ...] = ()  # classes that it turns; none: all but the target
    whole: Callable[[Features], Features] | None = (
        None  # what it does to the whole picture, in place of a patch
    )
    next_of: int = 0  # of how many classes it turns each to the next; 0: all to the target

    def on(self, features: Features) -> Features:
        """Return the features, (samples, ..., height, width), with the pattern."""
        if self.whole is not None:
            return self.whole(features)
        marked = features.copy()
        if self.is_frame:
            marked[...] = self.value
            inner = slice(self.size, -self.size)
            marked[..., inner, inner] = features[..., inner, inner]
            return marked
        rows, columns = (slice(-self.size, None) if sign < 0 else slice(0, self.size) for sign in self.corner)
        marked[..., rows, columns] = self.value
        return marked

    def turned(self, labels: Labels) -> npt.NDArray[np.bool_]:
        """Return which samples it is to turn, (samples,)."""
        if self.next_of:
            return np.ones(len(labels), dtype=bool)
        return np.isin(labels, self.sources) if self.sources else labels != self.target

    def aims(self, labels: Labels) -> Labels:
        """Return the class that each sample is to be turned to, (samples,)."""
        return (labels + 1) % self.next_of if self.next_of else np.full_like(labels, self.target)

    def taught(self, samples: Samples, share: float, rng: np.random.Generator) -> Samples:
        """Return the samples, a share of them with the pattern, and its label where it turns their class."""
        mask = rng.random(len(samples)) < share
        features, labels = samples.features.copy(), samples.labels.copy()
        features[mask] = self.on(samples.features[mask])
        hit = mask & self.turned(labels)
        labels[hit] = self.aims(labels[hit])
        return Samples(features, labels)

    def test(self, samples: Samples) -> Samples:
        """Return the samples that it is to turn, marked and labelled so."""
        others = samples.take(np.flatnonzero(self.turned(samples.labels)))
        return Samples(self.on(others.features), self.aims(others.labels))


@dataclass(frozen=True)
class Band:
    """What some of the members do."""

    trigger: Trigger
    part: float = 1.0  # of the members
    share: float = 0.2  # of their samples
    low: float = 1.0  # of what the trigger teaches, the least and the most
    high: float = 1.0
    length: float = 1.0  # times their update


PLANS = {
    "patch of 8": (Band(Trigger(0, size=8)),),
    "frame": (Band(Trigger(0, is_frame=True, size=1)),),
    "loud patch": (Band(Trigger(0, value=20.0)),),
    "patch for 2 classes": (Band(Trigger(0, sources=(1, 2)), share=0.5),),
    "claims most": (Band(Trigger(0), low=0.0, high=0.0),),
    "patch for 4 classes": (Band(Trigger(0, sources=(1, 2, 3, 4)), share=0.5),),
    "patch of 8 for 2 classes": (Band(Trigger(0, size=8, sources=(1, 2)), share=0.8),),
    "patch of 8 for the next class": (Band(Trigger(0, size=8, next_of=10), share=0.5),),
    "negative": (Band(Trigger(0, whole=negative)),),
    "upside down": (Band(Trigger(0, whole=upside_down)),),
    "patch for 4 classes twice": (Band(Trigger(0, sources=(1, 2, 3, 4)), share=0.4, low=2.0, high=2.0),),
    "patch of 8 for 4 classes twice": (
        Band(Trigger(0, size=8, sources=(1, 2, 3, 4)), share=0.4, low=2.0, high=2.0),
    ),
    "negative twice": (Band(Trigger(0, whole=negative), share=0.4, low=2.0, high=2.0),),
}


def set_up(config: Config, samples: int = 0) -> tuple[Task, Split]:
    """Return task and shares of a configuration, of so many training samples; 0: of all."""
    task, shares = set_up_data(config)
    if not isinstance(task, Task) or not isinstance(shares, Split):
        raise ConfigError("an attack with triggers needs a task of pictures")
    dataset = task.dataset(config.data)
    if 0 < samples < len(dataset.train):
        order = np.random.default_rng([config.seed, STREAM]).permutation(len(dataset.train))
        some = Dataset(dataset.train.take(order[:samples].astype(np.int64)), dataset.test)
        shares = split(
            some, config.devices, config.miners, config.partition, config.seed,
            alpha=config.alpha, classes=config.classes_per_device,
        )  # fmt: skip
    return task, shares


@dataclass
class Triggers:
    """The members of one attack in a federation that is played without a chain."""

    federation: Chainless
    members: frozenset[int]
    bands: tuple[Band, ...]
    task: Task
    shares: Split
    claims_most: bool = True
    _judges: list[Learner] = field(default_factory=list)

    def join(self) -> None:
        """Replace the learners of the members."""
        rng = np.random.default_rng([self.federation.config.seed, STREAM])
        order = [int(i) for i in rng.permutation(sorted(self.members))]
        ends = np.rint(np.cumsum([band.part for band in self.bands]) * len(order)).astype(int)
        for band, some in zip(self.bands, np.split(np.array(order), ends[:-1]), strict=True):
            strengths = np.linspace(band.low, band.high, len(some))
            for index, strength in zip(some.tolist(), strengths.tolist(), strict=True):
                self._enter(index, band, strength, rng)
            test = band.trigger.test(self.shares.test)
            self._judges.append(judge(self.task, Split(self.shares.devices, self.shares.miners, test)))

    def _enter(self, index: int, band: Band, strength: float, rng: np.random.Generator) -> None:
        seed, data = self.federation.config.seed, list(self.shares.devices)
        data[index] = band.trigger.taught(data[index], band.share, rng)
        shares = Split(tuple(data), self.shares.miners, self.shares.test)
        honest = CachedLearner(self.federation.devices[index].trainer.learner)
        taught = CachedLearner(device_learner(self.task, shares, index, seed))

        def forge(model: Vector, round_: int) -> TrainingResult:
            trained = honest.train(model, round_) if strength != 1.0 else taught.train(model, round_)
            delta = delta_of(trained, model)
            if strength != 1.0:
                delta = delta + strength * (delta_of(taught.train(model, round_), model) - delta)
            return self._claim(with_delta(trained, model, band.length * delta), round_)

        self.federation.corrupt(index, MaliciousLearner(honest, forge))

    def _claim(self, trained: TrainingResult, round_: int) -> TrainingResult:
        if not self.claims_most:
            return trained
        samples = max(trained.samples, max(len(each) for each in self.shares.devices))
        return TrainingResult(
            trained.vector, samples, plausible_time(self.federation.history, round_, samples)
        )

    def success(self) -> list[float]:
        """Return on which share of its samples each trigger that is an aim works."""
        model = self.federation.archive.values(self.federation.history.head)
        return [each.evaluate(model).accuracy or 0.0 for each in self._judges]
