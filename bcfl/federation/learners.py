"""Turn a deployment's recorded options and a party's share of the data into its learner and its checks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bcfl.config import Config
from bcfl.config.sources import with_new_names
from bcfl.errors import ConfigError, DataError
from bcfl.federation.genesis import set_up_task
from bcfl.federation.party_learners import check_app

if TYPE_CHECKING:
    from bcfl.federation.client import FederationClient
    from bcfl.learning import Task
    from bcfl.learning.flower.learner import FlowerLearner
    from bcfl.learning.flower.task import FlowerTask
    from bcfl.learning.kinds import AnyTask
    from bcfl.learning.partitions import Split
    from bcfl.learning.training import TorchLearner
    from bcfl.ports import Store
    from bcfl.protocol.types import Layout
    from bcfl.roles.checks.pipeline import Checks

OF_TASKS = frozenset({"task", "model", "epochs", "batch_size", "learning_rate"})  # which an app has not
Role = Literal["device", "miner"]
Share = tuple[int, int]  # index, from 0, and number of the shares


def learning_config(client: FederationClient, flags: Mapping[str, Any]) -> Config:
    """Return the options that the federation was deployed with, with `flags` in their place.

    Raises ConfigError for flags that are not options, or do not fit together.
    """
    recorded = with_new_names(client.options)
    options = {name: recorded[name] for name in Config.model_fields if name in recorded}
    options.pop("data", None)  # a folder of the owner's machine, as that of an app is
    app = options.pop("flower", None)
    if "flower" in flags:
        options = {name: value for name, value in options.items() if name not in OF_TASKS}
    if app is not None and not {"flower", "task"} & flags.keys():
        raise ConfigError(
            f"{client.name} learns a Flower app, {Path(app).name}: name its folder with --flower"
        )
    return Config(**{**options, **flags})


def create_learner(
    config: Config,
    role: Role,
    share: Share | None = None,
    *,
    task: AnyTask | None = None,
    device: str = "cpu",
) -> TorchLearner | FlowerLearner:
    """Return a party's learner on the data of its folder, or its share of them, all of which is checked.

    `task` is of `task_of`, if the caller has it; `device` of `bcfl.learning.accelerators.choose`.

    Without a share a device trains on all training data there, a miner judges by all test data. The share of
    a Flower app is its partition; the app evaluates, and a device trains, once to see that it can. Raises
    ConfigError or DataError where there are none, or where task and data do not fit.
    """
    from bcfl.learning import Dataset, Task
    from bcfl.learning.datasets import NO_SAMPLES
    from bcfl.learning.misfits import check_fit
    from bcfl.learning.training import Workbench, device_learner, miner_learner

    task = set_up_task(config) if task is None else task
    if not isinstance(task, Task):
        check_app(config, device)
        return _app_learner(config, role, share, task)
    index, split = _split(task, config, role, share)
    own = (split.devices if role == "device" else split.miners)[index]
    if not len(own):
        part, use = ("training", "train on") if role == "device" else ("test", "judge by")
        raise DataError(f"task {task.name}: load returned no {part} samples, and a {role} has to {use} them")
    check_fit(task, Dataset(own) if role == "device" else Dataset(NO_SAMPLES, own), device)
    bench = Workbench(task, device)
    if role == "device":
        return device_learner(task, split, index, config.seed, bench)
    return miner_learner(task, split, index, bench)


def _app_learner(config: Config, role: Role, share: Share | None, task: FlowerTask) -> FlowerLearner:
    """Return the learner of a party's partition, which has been tried."""
    from bcfl.learning.flower import Node
    from bcfl.learning.flower.learner import FlowerLearner

    index, count = (0, 1) if share is None else share
    learner = FlowerLearner(task, Node(index, count, task.node_config), config.seed + index)
    learner.rehearse(trains=role == "device")
    return learner


def task_of(config: Config, client: FederationClient, store: Store) -> AnyTask:
    """Return the learning task with the exponents that the federation's first model names."""
    return client.task(set_up_task(config), store)


def layout_of(task: AnyTask) -> Layout:
    """Return the layout of the task's model."""
    from bcfl.learning.kinds import layout

    return layout(task)


def checks_of(config: Config) -> Checks:
    """Return the checks that a miner makes."""
    from bcfl.roles.checks.pipeline import Checks

    return Checks(**config.checks)


def _split(task: Task, config: Config, role: Role, share: Share | None) -> tuple[int, Split]:
    """Return which share of which split a party holds."""
    from bcfl.learning import split
    from bcfl.learning.partitions import Split

    dataset = task.dataset(config.data)
    if share is None:
        return 0, Split((dataset.train,), (dataset.test,), dataset.test)
    index, count = share
    devices, miners = (count, config.miners) if role == "device" else (config.devices, count)
    options: dict[str, Any] = {"alpha": config.alpha, "classes": config.classes_per_device}
    return index, split(dataset, devices, miners, config.partition, config.seed, **options)
