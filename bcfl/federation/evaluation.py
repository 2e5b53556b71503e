"""Evaluate the global models of a federation on a party's own data: `bcfl evaluate`.

    with open_deployment("federation", network="local") as query:
        data = own_data(query, {"data": Path("/data/site-3")})
        print(evaluate(query, data, 5)["loss"])

The models are read from the store and verified. Nothing is written, and nobody hears of the outcome.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bcfl.errors import ConfigError, DataError
from bcfl.federation.genesis import set_up_task
from bcfl.federation.layouts import recorded_task
from bcfl.protocol.fixedpoint import decode

if TYPE_CHECKING:
    from bcfl.federation.query import Number, Query
    from bcfl.learning.flower import FlowerTask
    from bcfl.ports import Evaluation, Learner
    from bcfl.protocol.types import Layout

Figures = dict[str, float | None]  # by name; None: no finite number


@dataclass(frozen=True)
class OwnData:
    """The part of a party's data that models are evaluated on."""

    task: str
    part: str  # test or training
    samples: int
    learner: Learner
    layout: Layout


def own_data(
    query: Query, flags: Mapping[str, Any], *, training: bool = False, device: str = "cpu"
) -> OwnData:
    """Return the test data of the folder that `flags` name, or its training data.

    `flags` are options of learning, in place of those of the run or the deployment; `device` is where torch
    computes. Raises ConfigError or DataError where there are none, or where they do not fit the task.
    """
    from bcfl.learning import Dataset, Task
    from bcfl.learning.datasets import NO_SAMPLES
    from bcfl.learning.misfits import check_fit
    from bcfl.learning.training import FIXED_SEED, TorchLearner, Workbench, layout

    config = query.learning_config(flags)
    if config.flower is not None and training:
        raise ConfigError("a Flower app evaluates on its test part: leave --train out")
    models = [block.cid for block in query.history.blocks]
    task = recorded_task(set_up_task(config), query.store, query.terms, models)
    if not isinstance(task, Task):
        return _app_data(query, task)
    dataset = task.dataset(config.data)
    samples = dataset.train if training else dataset.test
    if not len(samples):
        other = "leave --train out" if training else "--train takes the training samples"
        raise DataError(f"task {task.name}: load returned no samples of that part: {other}")
    check_fit(task, Dataset(NO_SAMPLES, samples), device)
    own = dataset.train if task.shared is not None and len(dataset.train) else None  # for what is not shared
    learner = TorchLearner(task, own, samples, FIXED_SEED, Workbench(task, device))
    return OwnData(task.name, "training" if training else "test", len(samples), learner, layout(task))


def _app_data(query: Query, task: FlowerTask) -> OwnData:
    """Return the test part of an app's data: of its node config, which else is that of a single node."""
    from bcfl.learning.flower import Node
    from bcfl.learning.flower.learner import FlowerLearner

    learner = FlowerLearner(task, Node(config=task.node_config), task.seed)
    _, block = query.find_model(0)
    _, lanes = query.read_model(block)
    samples = learner.evaluate(decode(lanes, query.terms.scale_bits)).samples
    return OwnData(task.name, "test", samples, learner, task.layout)


def evaluate(query: Query, data: OwnData, number: Number = None) -> dict[str, Any]:
    """Return how the model in force after a round does on own data; 0 is the genesis, None the latest.

    Raises ConfigError for a round that has not ended and for another model than the task's, StoreError for
    a model that the store lacks.
    """
    after, block = query.find_model(number)
    layout, lanes = query.read_model(block)
    if layout != data.layout:
        raise ConfigError(
            f"task {data.task} has another model than this federation: name its own with --task"
        )
    evaluation = data.learner.evaluate(decode(lanes, query.terms.scale_bits))
    model = {"round": after, "block_round": block.round, "root": block.root}
    return model | {name: value for name, value in figures(evaluation).items() if name not in model}


def figures(evaluation: Evaluation) -> Figures:
    """Return the figures of an evaluation in the order in which they are shown."""
    loss = evaluation.loss if math.isfinite(evaluation.loss) else None
    return {**evaluation.metrics, "loss": loss}
