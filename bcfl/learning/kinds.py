"""Use a task of any kind: one of torch modules (`training`), or a Flower app (`flower`).

Each is imported where it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bcfl.learning.flower.nodes import Nodes
from bcfl.learning.flower.task import FlowerTask
from bcfl.learning.partitions import Split
from bcfl.learning.tasks import Task
from bcfl.ports import Vector
from bcfl.protocol.types import Layout

if TYPE_CHECKING:
    import numpy.typing as npt

    from bcfl.learning.flower.learner import FlowerJudge, FlowerLearner
    from bcfl.learning.training import TorchLearner, Workbench

AnyTask = Task | FlowerTask
AnyShares = Split | Nodes  # of the same kind as the task


def layout(task: AnyTask) -> Layout:
    """Return names, shapes and exponents of the tensors of `task`'s model in their canonical order."""
    if isinstance(task, FlowerTask):
        return task.layout
    from bcfl.learning import training

    return training.layout(task)


def initial_model(task: AnyTask, seed: int) -> Vector:
    """Return the genesis model, (parameters,); raises ConfigError."""
    if isinstance(task, FlowerTask):
        return task.first_model
    from bcfl.learning import training

    return training.initial_model(task, seed)


def state_of(task: AnyTask, model: Vector) -> dict[str, npt.NDArray[Any]]:
    """Return all arrays of the model whose vector is `model`, (parameters,), by name; raises ConfigError."""
    if isinstance(task, FlowerTask):
        return task.opening.arrays.write(model * task.scale)
    from bcfl.learning import training

    return training.state_of(task, model)


def device_learner(task: AnyTask, shares: AnyShares, index: int, seed: int) -> TorchLearner | FlowerLearner:
    """Return the learner of device `index`, with its share and a seed mixed from it and the run's `seed`."""
    if isinstance(task, FlowerTask):
        return flower_learner(task, shares, "devices", index, seed)
    from bcfl.learning import training

    return training.device_learner(task, _split(shares), index, seed)


def miner_learner(task: AnyTask, shares: AnyShares, index: int) -> TorchLearner | FlowerLearner:
    """Return the learner of miner `index`."""
    if isinstance(task, FlowerTask):
        return flower_learner(task, shares, "miners", index, 0)
    from bcfl.learning import training

    return training.miner_learner(task, _split(shares), index)


def judge(task: AnyTask, shares: AnyShares, bench: Workbench | None = None) -> TorchLearner | FlowerJudge:
    """Return the learner that evaluates on the final test data; of an app the test parts of all devices."""
    if isinstance(task, FlowerTask):
        from bcfl.learning.flower.learner import FlowerJudge

        return FlowerJudge(task, _nodes(shares).devices)
    from bcfl.learning import training

    return training.judge(task, _split(shares), bench)


def flower_learner(task: FlowerTask, shares: AnyShares, role: str, index: int, seed: int) -> FlowerLearner:
    """Return the learner of an app's node; `role` is devices or miners."""
    from bcfl.learning.flower.learner import FlowerLearner

    nodes = _nodes(shares)
    node = (nodes.devices if role == "devices" else nodes.miners)[index]
    return FlowerLearner(task, node, seed + index)


def _nodes(shares: AnyShares) -> Nodes:
    if not isinstance(shares, Nodes):
        raise TypeError(f"a Flower app has nodes, not {type(shares).__name__}")
    return shares


def _split(shares: AnyShares) -> Split:
    if not isinstance(shares, Split):
        raise TypeError(f"a task has a split of its data, not {type(shares).__name__}")
    return shares
