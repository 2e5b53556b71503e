"""Whatever people bring ends where the same training ends with plain float FedAvg, to one percent."""

from __future__ import annotations

import numpy as np
import pytest

from bcfl.config import Config
from bcfl.federation.genesis import set_exponents
from bcfl.learning import Split, Task, split
from bcfl.learning.misfits import check_fit
from bcfl.learning.training import device_learner, initial_model, judge
from bcfl.ports import Evaluation
from testkit.brought import BROUGHT, difference
from testkit.chainless import Chainless

DEVICES, MINERS, SEED = 4, 2, 0
TOLERANCE = 0.01


def plainly(task: Task, shares: Split, rounds: int) -> Evaluation:
    """Train by float FedAvg, weighted by samples."""
    devices = [device_learner(task, shares, index, SEED) for index in range(DEVICES)]
    model = initial_model(task, SEED)
    for number in range(1, rounds + 1):
        results = [device.train(model, number) for device in devices]
        weights = [result.samples for result in results]
        mean = np.average([result.vector for result in results], axis=0, weights=weights)
        model = mean.astype(np.float32)
    return judge(task, shares).evaluate(model)


@pytest.mark.parametrize("name", BROUGHT)
def test_it_ends_where_float_fedavg_ends(name: str) -> None:
    task, rounds = BROUGHT[name].task, BROUGHT[name].rounds
    dataset = task.dataset()
    check_fit(task, dataset)
    shares = split(dataset, DEVICES, MINERS, "iid", SEED)
    config = Config(devices=DEVICES, miners=MINERS, rounds=rounds, partition="iid", seed=SEED)
    fitted = set_exponents(config, task, shares.devices[0])
    federation = Chainless.create(config, (fitted, shares))
    outcomes = [federation.play_round() for _ in range(rounds)]
    found = federation.judge.evaluate(federation.archive.values(federation.history.head))
    expected = plainly(task, shares, rounds)
    assert not any(outcome.rejected for outcome in outcomes)
    assert task.metric is not None
    value, reference = found.metrics[task.metric], expected.metrics[task.metric]
    assert value is not None
    assert reference is not None
    assert difference(value, reference) < TOLERANCE
