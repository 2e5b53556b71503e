"""Compare what the protocol gives to devices with what they are worth: true Shapley values, by retraining.

"Data Shapley", Ghorbani and Zou 2019, arXiv:1904.02868, section 2: the value of a party is what it adds to
the test accuracy of a model that is trained from the start, in the mean over all orders in which parties may
join.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bcfl.learning import Split, Task, resolve
from bcfl.learning.datasets import Dataset, Samples
from bcfl.learning.kinds import device_learner, initial_model, judge
from bcfl.learning.partitions import split
from bcfl.ports import Evaluation, Vector
from bcfl.protocol.rounds import Round
from testkit.chainless import Chainless
from testkit.robustness_cases import SIZES, Case

Values = npt.NDArray[np.float64]  # (parties,)
Coalition = frozenset[int]
SEED_OF_NOISE = 7  # beside the run's, for which labels are wrong
SUBSET = {"fashion-mnist": 7200}  # training samples that are used, of tasks with more than that


@dataclass(frozen=True)
class Party:
    """What a device has: its share of the data of all devices, and the share of its labels that is wrong."""

    name: str
    share: float
    noise: float = 0.0


PARTIES = (
    Party("large", 0.28),
    Party("large too", 0.28),
    Party("medium", 0.16),
    Party("small", 0.08),
    Party("noisy labels", 0.19, 0.4),
    Party("tiny", 0.01),
)


def mixed(dataset: Dataset, parties: Sequence[Party], miners: int, seed: int, samples: int = 0) -> Split:
    """Share out `dataset`, or so many of its training samples: held-out ones evenly, the rest by shares."""
    train = dataset.train
    if 0 < samples < len(train):
        order = np.random.default_rng([seed, SEED_OF_NOISE]).permutation(len(train))
        train = train.take(order[:samples].astype(np.int64))
    whole = split(Dataset(train, dataset.test), 1, miners, "iid", seed)
    data, (everything,) = whole.classes, whole.devices
    ends = np.cumsum([party.share for party in parties]) * len(everything)
    parts = np.split(np.arange(len(everything)), np.rint(ends).astype(np.int64)[:-1])
    rng = np.random.default_rng([seed, SEED_OF_NOISE, 1])
    devices = tuple(
        with_noise(everything.take(part), party.noise, data, rng)
        for part, party in zip(parts, parties, strict=True)
    )
    return Split(devices, whole.miners, whole.test)


def with_noise(samples: Samples, noise: float, classes: int, rng: np.random.Generator) -> Samples:
    """Give a share of the samples another class, each other one as likely."""
    labels = samples.labels.copy()
    wrong = rng.permutation(len(labels))[: round(noise * len(labels))]
    labels[wrong] = (labels[wrong] + rng.integers(1, classes, len(wrong))) % classes
    return Samples(samples.features, labels)


def retrained(task: Task, shares: Split, members: Coalition, rounds: int, seed: int) -> Evaluation:
    """Return how plain FedAvg of some devices does on the test data: claims not capped, nobody judged.

    All coalitions begin with the genesis model of `seed`.
    """
    learners = {i: device_learner(task, shares, i, seed) for i in sorted(members)}
    model: Vector = initial_model(task, seed)
    for round_ in range(1, rounds + 1) if members else ():
        total = np.zeros(len(model))
        for learner in learners.values():
            total += learner.samples * learner.train(model, round_).vector.astype(np.float64)
        model = (total / sum(each.samples for each in learners.values())).astype(np.float32)
    return judge(task, shares).evaluate(model)


def coalitions(count: int) -> list[Coalition]:
    """Return all coalitions of so many parties, small ones first, the empty one included."""
    return [frozenset(some) for size in range(count + 1) for some in combinations(range(count), size)]


def shapley(worth: Mapping[Coalition, float], count: int) -> Values:
    """Return the Shapley value of each party, (parties,), from what every coalition is worth."""
    values = np.zeros(count)
    for some in coalitions(count):
        for party in set(range(count)) - some:
            gain = worth[some | {party}] - worth[some]
            values[party] += gain / (count * comb(count - 1, len(some)))
    return values


def ranks(values: Sequence[float] | Values) -> Values:
    """Return the rank of each value from 0 on, (values,); equal ones share the mean of theirs."""
    numbers = np.asarray(values, dtype=np.float64)
    below = (numbers[:, None] > numbers).sum(axis=1)
    same = (numbers[:, None] == numbers).sum(axis=1)
    return np.asarray(below + (same - 1) / 2, dtype=np.float64)


def spearman(first: Sequence[float] | Values, second: Sequence[float] | Values) -> float:
    """Return the rank correlation of two lists, 0 where one of them is constant."""
    places, others = (ranks(each) - ranks(each).mean() for each in (first, second))
    size = float(np.sqrt((places @ places) * (others @ others)))
    return float(places @ others) / size if size else 0.0


@dataclass(frozen=True)
class Mixture:
    """A federation of `PARTIES`, one device each; nobody lies."""

    task: str
    seed: int
    rounds: int = 10

    @property
    def key(self) -> str:
        """The text that tells this federation from all others."""
        return f"{self.task}|{self.seed}|{self.rounds}"

    @property
    def case(self) -> Case:
        """Return the case of the robustness bench whose options are played."""
        count = len(PARTIES)
        return Case(
            "", (), 0.0, "iid", "mean", self.seed, count, SIZES[count], self.rounds, self.task, "fairness"
        )

    def data(self) -> tuple[Task, Split]:
        """Return the task with its options, and the shares of the parties."""
        return _data(self)


@lru_cache(maxsize=1)
def _data(mixture: Mixture) -> tuple[Task, Split]:
    config = mixture.case.config()
    task = resolve(config.task).with_options(
        epochs=config.epochs, batch_size=config.batch_size, learning_rate=config.learning_rate
    )
    samples = SUBSET.get(mixture.task, 0)
    return task, mixed(task.dataset(), PARTIES, config.miners, mixture.seed, samples)


def worth(mixture: Mixture, members: Coalition) -> dict[str, Any]:
    """Return what a coalition's model is worth on the test data: accuracy, 0 to 1, and loss."""
    task, shares = mixture.data()
    evaluation = retrained(task, shares, members, mixture.rounds, mixture.seed)
    return {"accuracy": evaluation.accuracy, "loss": evaluation.loss}


def play_mixture(mixture: Mixture) -> dict[str, Any]:
    """Play the protocol; return by round what devices were given, and what they earned.

    A level is 0 where an update was rejected. Merits and gains are the median of what the miners recorded, as
    `bcfl device` shows them, and 0 where most of them recorded none. `fair` is each device's share by claims.
    """
    federation = Chainless.create(mixture.case.config(), mixture.data())
    levels, merits, gains, accuracy = [], [], [], []
    for _ in range(mixture.rounds):
        accuracy.append(federation.play_round().accuracy)
        round_ = federation.history.rounds[len(accuracy)]
        levels.append(levels_of(federation, round_))
        merits.append(recorded(federation, "score"))
        gains.append(recorded(federation, "gain"))
    return {
        "accuracy": accuracy, "levels": levels, "merits": merits, "gains": gains,
        "pay": pay_shares(federation), "fair": fair_shares(federation),
    }  # fmt: skip


def levels_of(federation: Chainless, round_: Round) -> list[int]:
    """Return the level in force of each device's update, 0 where it was rejected or there is none."""
    levels = dict.fromkeys(range(len(federation.devices)), 0)
    levels |= {item.update.device: item.level for item in round_.accepted_submissions()}
    return list(levels.values())


def recorded(federation: Chainless, name: Literal["score", "gain"]) -> list[float]:
    """Return the median of what miners recorded of each device in the last round: its merit, or its gain."""
    records = [
        {item.device: getattr(item, name) or 0.0 for item in miner.voting.verifier.findings if item.level}
        for miner in federation.miners
    ]
    count = len(federation.devices)
    return [float(np.median([record.get(device, 0.0) for record in records])) for device in range(count)]


def pay_shares(federation: Chainless) -> list[float]:
    """Return what each device earned, as a share of what all earned."""
    total = max(1, sum(federation.earned.values()))
    return [federation.earned.get(device, 0) / total for device in range(len(federation.devices))]


def fair_shares(federation: Chainless) -> list[float]:
    """Return what each device would have earned with all updates at one level: by claims up to the cap."""
    claims = np.zeros(len(federation.devices))
    for round_ in federation.history.rounds.values():
        for item in round_.submissions:
            claims[item.update.device] += min(item.update.samples, round_.cap)
    return [float(share) for share in claims / claims.sum()]
