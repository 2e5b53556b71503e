"""Make the learners of a run's parties: in this process, or by a pool of workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from bcfl.config import Config
from bcfl.errors import ConfigError
from bcfl.federation.fingerprint import task_fingerprint
from bcfl.federation.genesis import set_up_task
from bcfl.learning.own import RECORD

if TYPE_CHECKING:
    from bcfl.federation.cohort import Cohort
    from bcfl.federation.workers import Party, WorkerPool
    from bcfl.learning import Split, Task
    from bcfl.learning.flower import FlowerTask, Nodes
    from bcfl.learning.flower.learner import FlowerLearner
    from bcfl.learning.training import TorchLearner

MAX_WORKERS: Final = 1024
DEVICE, MINER = "device", "miner"


def check_app(config: Config, device: str, workers: int) -> None:
    """Raise ConfigError for what a Flower app does not take."""
    if config.flower is not None and workers > 1:
        raise ConfigError(f"--workers {workers}: a Flower app is called in one process, leave --workers out")
    if config.flower is not None and device != "cpu":
        raise ConfigError(f"--device {device}: a Flower app chooses its own device, leave --device out")


def check_workers(task: str, workers: int) -> None:
    """Raise ConfigError for a number of workers, or a task's name, of which no pool can be made."""
    if not 1 <= workers <= MAX_WORKERS:
        raise ConfigError(f"--workers {workers}: 1 to {MAX_WORKERS} processes train, 1 is this one alone")
    if workers > 1 and task.startswith("__main__:"):
        raise ConfigError(
            f"task {task} is in the script that runs, which no worker imports: put it into a module of its "
            "own, or leave --workers out"
        )


@contextmanager
def open_pool(workers: int) -> Iterator[WorkerPool | None]:
    """Start so many processes for the learners; None for 1, which is this process."""
    if workers == 1:
        yield None
        return
    from bcfl.federation.workers import WorkerPool

    with WorkerPool(workers) as pool:
        yield pool


def pooled(
    builder: TaskLearners | AppLearners, pool: WorkerPool | None
) -> TaskLearners | AppLearners | Cohort:
    """Return what makes the parties' learners, in a pool if there is one; raises ConfigError."""
    if pool is None or isinstance(builder, AppLearners):
        return builder
    from bcfl.federation.cohort import Cohort

    pool.load(builder)
    return Cohort(pool, builder)


class AppLearners:
    """Makes the learners of a run's devices and miners of a Flower app, in this process."""

    bench: None = None

    def __init__(self, config: Config, task: FlowerTask, nodes: Nodes) -> None:
        self.config, self.task, self.nodes = config, task, nodes

    def __call__(self, party: Party) -> FlowerLearner:
        """Return a party's learner."""
        from bcfl.learning.kinds import flower_learner

        role, index = party
        if role == DEVICE:
            return flower_learner(self.task, self.nodes, "devices", index, self.config.seed)
        return flower_learner(self.task, self.nodes, "miners", index, 0)


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

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name not in ("task", "bench")}
        known = task_fingerprint(self.task, self.config.seed)
        told = {"exponents": self.task.exponents, "agreement": self.task.agreement}
        return state | told | {"known": known}

    def __setstate__(self, state: dict[str, Any]) -> None:
        config, exponents = state["config"], state["exponents"]
        task: Any = set_up_task(config)
        if task_fingerprint(task, config.seed) != state["known"]:
            raise ConfigError(f"task {config.task} is another there")
        task = task.with_agreement(state["agreement"])
        task = task if exponents is None else task.with_exponents(exponents)
        self.__init__(config, task, state["shares"], state["poisoned"], state["device"])  # type: ignore[misc]
