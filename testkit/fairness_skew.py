"""Play federations of honest devices with skewed data: what does the filter cost those with rare data?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bcfl.federation.genesis import set_up_data
from bcfl.learning import Split, Task
from bcfl.learning.kinds import judge
from bcfl.ports import Learner, Vector
from testkit.chainless import Chainless
from testkit.fairness import Values, fair_shares, levels_of, pay_shares
from testkit.robustness_cases import FEDAVG, Case

PARTITIONS = ("dirichlet 0.5", "dirichlet 0.1", "pathological")  # the last: two classes a device
DEVICES = {6: 3, 20: 5, 60: 5}  # and miners
PIPELINES = ("mean", FEDAVG)  # the rules; nothing rejected, and all updates at one level
LAST = 3  # rounds whose models are judged class by class


def cases(
    seeds: int = 3, rounds: int = 8, devices: Sequence[int] = tuple(DEVICES), task: str = "fashion-mnist"
) -> Iterator[Case]:
    """Yield federations in which nobody attacks, with rules and without, a seed after the other."""
    for seed in range(seeds):
        for count in devices:
            for partition in PARTITIONS:
                for pipeline in PIPELINES:
                    miners = DEVICES[count]
                    yield Case("", (), 0.0, partition, pipeline, seed, count, miners, rounds, task, "skew")


def play(case: Case) -> dict[str, Any]:
    """Play a case; return accuracy and recalls in shares, and pay in fair shares, device by device."""
    config = case.config()
    task, shares = set_up_data(config)
    assert isinstance(task, Task)
    assert isinstance(shares, Split)
    federation = Chainless.create(config, (task, shares))
    learners = judges(task, shares)
    counts = counted(shares)
    accuracy, recalls, levels, rejected = [], [], [], 0
    for number in range(1, case.rounds + 1):
        outcome = federation.play_round()
        accuracy.append(outcome.accuracy)
        rejected += len(outcome.rejected)
        levels.append(levels_of(federation, federation.history.rounds[number]))
        if number > case.rounds - LAST:
            recalls.append(recalls_of(learners, federation.archive.values(federation.history.head)))
    rarest = int(np.argmin(counts.sum(axis=0)))
    fair, pay = fair_shares(federation), pay_shares(federation)
    return {
        "accuracy": accuracy, "rejected": rejected, "sent": case.rounds * case.devices,
        "recalls": [float(each) for each in np.mean(recalls, axis=0)],
        "rarest": rarest, "holders": int((counts[:, rarest] > 0).sum()),
        "rarest_of": [float(each) for each in counts[:, rarest] / np.maximum(counts.sum(axis=1), 1)],
        "ratios": [mine / share for mine, share in zip(pay, fair, strict=True)],
        "fair": fair, "samples": [len(each) for each in shares.devices],
        "levels": [float(each) for each in np.mean(levels, axis=0)],
    }  # fmt: skip


def counted(shares: Split) -> Values:
    """Return of each device how many samples of each class count, (devices, classes), up to the cap."""
    sizes = [len(part) for part in shares.devices]
    cap = sorted(sizes)[(len(sizes) - 1) // 2]
    rows = [np.bincount(part.strata, minlength=shares.classes) for part in shares.devices]
    factors = [min(1.0, cap / size) for size in sizes]
    return np.array([factor * row for factor, row in zip(factors, rows, strict=True)], dtype=np.float64)


def judges(task: Task, shares: Split) -> list[Learner]:
    """Return for each class a learner that evaluates on the test data of that class alone."""
    test = shares.test
    places = [np.flatnonzero(test.labels == label).astype(np.int64) for label in range(shares.classes)]
    return [judge(task, Split(shares.devices, shares.miners, test.take(place))) for place in places]


def recalls_of(learners: Sequence[Learner], model: Vector) -> list[float]:
    """Return the share of each class's test data that a model, (parameters,), gets right."""
    return [learner.evaluate(model).accuracy or 0.0 for learner in learners]
