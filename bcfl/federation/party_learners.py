"""Make the learners of a run's parties: in this process, or by workers, here or on a Ray cluster."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from bcfl.config import Config
from bcfl.errors import ConfigError
from bcfl.federation.fingerprint import changes, task_fingerprint
from bcfl.federation.genesis import set_up_task
from bcfl.learning.flower.nodes import RECORD as STATES
from bcfl.learning.own import RECORD, Records

if TYPE_CHECKING:
    from bcfl.federation.cohort import Cohort
    from bcfl.federation.jobs import Party, Pool
    from bcfl.learning import Split, Task
    from bcfl.learning.flower import FlowerTask, Node, Nodes
    from bcfl.learning.flower.learner import FlowerLearner
    from bcfl.learning.training import TorchLearner

MAX_WORKERS: Final = 1024
DEVICE, MINER = "device", "miner"


@dataclass(frozen=True)
class Compute:
    """Where a run computes: its torch device, how many workers, and on which Ray cluster (None: on none)."""

    device: str = "cpu"
    workers: int | None = None  # None: this process alone; on Ray as many as the cluster has CPUs
    ray: str | None = None  # an address, or local

    def check(self, config: Config) -> None:
        """Raise ConfigError where the learners of a run cannot be had so."""
        check_app(config, self.device)
        if self.workers is not None and not 1 <= self.workers <= MAX_WORKERS:
            raise ConfigError(
                f"--workers {self.workers}: 1 to {MAX_WORKERS} processes train, 1 is this one alone"
            )
        if self.ray is not None and self.device != "cpu":
            raise ConfigError(
                f"--device {self.device}: workers on Ray train on CPUs, leave --device or --ray out"
            )
        if self._has_workers and config.flower is None and config.task.startswith("__main__:"):
            raise ConfigError(
                f"task {config.task} is in the script that runs, which no worker imports: put it into a "
                f"module of its own, or leave {'--workers' if self.ray is None else '--ray'} out"
            )

    def open_pool(self, config: Config) -> AbstractContextManager[Pool | None]:
        """Start the workers for the learners of a run; None where this process does the work."""
        if self.ray is not None:
            from bcfl.federation.ray_pool import RayPool

            return RayPool(self.ray, self.workers, config.devices + config.miners)
        if not self._has_workers:
            return nullcontext()
        from bcfl.federation.workers import WorkerPool

        return WorkerPool(self.workers or 1)

    @property
    def _has_workers(self) -> bool:
        return self.ray is not None or (self.workers or 1) > 1


def check_app(config: Config, device: str) -> None:
    """Raise ConfigError for what a Flower app does not take."""
    if config.flower is not None and device != "cpu":
        raise ConfigError(f"--device {device}: a Flower app chooses its own device, leave --device out")


def pooled(builder: TaskLearners | AppLearners, pool: Pool | None) -> TaskLearners | AppLearners | Cohort:
    """Return what makes the parties' learners, in a pool if there is one; raises ConfigError."""
    if pool is None:
        return builder
    from bcfl.federation.cohort import Cohort

    pool.load(builder)
    return Cohort(pool, builder)


class AppLearners:
    """Makes the learners of a run's devices and miners of a Flower app, here or where it is unpickled."""

    bench: None = None
    records: tuple[str, ...] = (STATES,)

    def __init__(self, config: Config, task: FlowerTask, nodes: Nodes) -> None:
        self.config, self.task, self.nodes = config, task, nodes
        self._is_away = False  # from the run, which remembers for the parties

    def __call__(self, party: Party) -> FlowerLearner:
        """Return a party's learner."""
        from bcfl.learning.flower.learner import FlowerLearner

        role, index = party
        node = self._node(party)
        seed = self.config.seed + index if role == DEVICE else index
        return FlowerLearner(self.task, node.anew() if self._is_away else node, seed)

    def keep(self, party: Party, records: Records) -> None:
        """Take over what a worker has written: the judge asks each partition's app with its state."""
        self._node(party).states.keep(records)

    def _node(self, party: Party) -> Node:
        role, index = party
        return (self.nodes.devices if role == DEVICE else self.nodes.miners)[index]

    def __getstate__(self) -> dict[str, Any]:
        nodes = self.nodes
        return {
            "config": self.config.model_copy(update={"flower": self.task.folder}),
            "nodes": replace(nodes, devices=_anew(nodes.devices), miners=_anew(nodes.miners)),
            "exponents": self.task.exponents,
            "agreement": self.task.agreement,
            "known": self.task.fingerprint(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        config, exponents = state["config"], state["exponents"]
        task: Any = set_up_task(config)
        if task.fingerprint() != state["known"]:
            raise ConfigError(f"the Flower app in {config.flower} is another there")
        task = task.with_agreement(state["agreement"])
        task = task if exponents is None else task.with_exponents(exponents)
        self.__init__(config, task, state["nodes"])  # type: ignore[misc]
        self._is_away = True


def _anew(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    return tuple(node.anew() for node in nodes)


class TaskLearners:
    """Makes the torch learners of a run's devices and miners, here or where it is unpickled."""

    records: tuple[str, ...] = (RECORD,)

    def __init__(self, config: Config, task: Task, shares: Split, poisoned: Split, device: str) -> None:
        from bcfl.learning.training import Workbench

        self.config, self.task, self.device = config, task, device
        self.shares, self.poisoned = shares, poisoned  # as they are, and with those of data poisoners spoilt
        self.bench = Workbench(task, device)

    def __call__(self, party: Party) -> TorchLearner:
        """Return a party's learner."""
        from bcfl.learning.training import device_learner, miner_learner

        role, index = party
        if role == DEVICE:
            return device_learner(self.task, self.poisoned, index, self.config.seed, self.bench)
        return miner_learner(self.task, self.shares, index, self.bench)

    def keep(self, party: Party, records: Records) -> None:
        """Do nothing: nobody here asks for what a party keeps to itself."""

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name not in ("task", "bench")}
        known = task_fingerprint(_without_weights(self.task), self.config.seed)
        told = {"exponents": self.task.exponents, "agreement": self.task.agreement}
        return state | told | {"known": known}

    def __setstate__(self, state: dict[str, Any]) -> None:
        config, exponents = state["config"], state["exponents"]
        task: Any = set_up_task(config)
        task = _without_weights(task)
        if changes(state["known"], task_fingerprint(task, config.seed)):
            raise ConfigError(f"task {config.task} is another there")
        task = task.with_agreement(state["agreement"])
        task = task if exponents is None else task.with_exponents(exponents)
        self.__init__(config, task, state["shares"], state["poisoned"], state["device"])  # type: ignore[misc]


def _without_weights(task: Task) -> Task:
    """Return the task as workers have it: they get each model, so the file may be gone, or not be there."""
    return replace(task, weights=None)
