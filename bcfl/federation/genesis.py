"""Turn a configuration into what a federation starts from: task and data, terms, and the first model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bcfl import garbage
from bcfl.config import Config
from bcfl.errors import ConfigError, DataError
from bcfl.federation.terms import terms_of
from bcfl.learning import Samples, Task, resolve, split
from bcfl.learning.flower import FlowerTask, Node, Nodes, read_task
from bcfl.learning.kinds import AnyShares, AnyTask
from bcfl.ledger.deployment.records import FOLDER
from bcfl.protocol import fixedpoint
from bcfl.protocol.noise import SAMPLE, joined, with_steps
from bcfl.protocol.types import Terms
from bcfl.roles.common.archive import Archive, StoredVector

if TYPE_CHECKING:
    from bcfl.learning.exponents import Numbers
    from bcfl.ledger.chain import Chain
    from bcfl.ledger.contract import Contract
    from bcfl.ledger.deployment.networks import Network
    from bcfl.ledger.deployment.records import Deployment
    from bcfl.ports import Store
    from bcfl.protocol.accounts import Account

MOST_SAMPLES = 2**24 - 1  # that the contract takes
TRIAL_SHARES = 16  # times the samples of the trial: what a device of an app may claim, unless it is said
TASK_OPTIONS = ("epochs", "batch_size", "learning_rate", "model", "weights")


@dataclass(frozen=True)
class Genesis:
    """What a federation starts from: its terms, and its first model, which is on the store of `archive`."""

    archive: Archive
    model: StoredVector

    @property
    def terms(self) -> Terms:
        """Return the terms that go on chain."""
        return self.archive.terms


def set_up_data(
    config: Config, device: str = "cpu", has_exponents: bool = False
) -> tuple[AnyTask, AnyShares]:
    """Return the learning task and everybody's share of its data, which are checked on a torch device.

    The task has the exponents that a new federation begins with. One that exists has its own
    (`recorded_task` in `bcfl.federation.layouts`), and `has_exponents`: then none are chosen, and no weights
    to start from are read. Raises ConfigError or DataError if they do not fit, or there is nothing to test
    on.
    """
    task = set_up_task(config)
    with garbage.loading():
        from bcfl.learning.misfits import check_fit  # after: it imports torch, and the task may not exist

    if isinstance(task, FlowerTask):
        return _set_up_nodes(config, task)
    dataset = task.dataset(config.data)
    if not len(dataset.train) or not len(dataset.test):
        raise DataError(f"task {task.name}: load must return samples to train on and samples to test on")
    check_fit(task, dataset, device)
    shares = split(
        dataset,
        config.devices,
        config.miners,
        config.partition,
        config.seed,
        alpha=config.alpha,
        classes=config.classes_per_device,
    )
    del dataset  # all of it has been copied; what follows may leave garbage that refers to this frame
    if has_exponents:
        return task, shares
    return set_exponents(config, task, max(shares.devices, key=len, default=None)), shares


def _set_up_nodes(config: Config, task: FlowerTask) -> tuple[FlowerTask, Nodes]:
    """Return an app with its arrays' exponents, and a node for every party; one device trains on trial."""
    from bcfl.learning.exponents import app_exponents
    from bcfl.learning.flower.learner import trial

    nodes = Nodes.share(config.devices, config.miners, task.node_config)
    result = trial(task, nodes)
    most = min(MOST_SAMPLES, TRIAL_SHARES * result.samples)
    task = task.with_exponents(app_exponents(task, _numbers(config), result.vector))
    return task, nodes.with_samples(result.samples, most)


def _numbers(config: Config) -> Numbers:
    from bcfl.learning.exponents import Numbers

    return Numbers(config.lane_bits, config.scale_bits, config.lane_shift)


def set_exponents(config: Config, task: Task, share: Samples | None) -> Task:
    """Return the task with its tensors' exponents, from a trial on `share` (None: from the first model)."""
    from bcfl.learning.exponents import with_exponents

    return with_exponents(task, _numbers(config), config.seed, share)


def set_up_task(config: Config) -> AnyTask:
    """Return the learning task with what the configuration sets, or the Flower app; it has the agreement."""
    if config.flower is not None:
        app = read_task(
            config.flower,
            run_config=config.run_config,
            node_config=config.node_config,
            seconds=config.flower_seconds,
            seed=config.seed,
        )
        return app.with_agreement(joined(config.agreement, config.noise))
    task = resolve(config.task).with_options(**{name: getattr(config, name) for name in TASK_OPTIONS})
    noise = config.noise
    if noise is not None and noise.level == SAMPLE:
        noise = with_steps(noise, task.batch_size, task.epochs, task.steps)
    return task.with_agreement(joined(config.agreement, noise))


def packaged_data(config: Config) -> tuple[AnyTask, AnyShares] | None:
    """Return the data of a task that comes with bcfl, as `set_up_data`; None where devices have their own.

    It is read where nobody has said how many samples a device may claim.
    """
    is_own = config.flower is not None or ":" in config.task or config.data is not None
    return None if is_own or config.max_samples is not None else set_up_data(config)


def require_max_samples(config: Config) -> int:
    """Return the most samples that a device may claim; raises ConfigError where nobody has said it."""
    if config.max_samples is None:
        raise ConfigError(
            "max_samples is not set, and no data is read here: say with --max-samples N how many training "
            "samples a device may claim at most"
        )
    return config.max_samples


def create_genesis(config: Config, store: Store, data: tuple[AnyTask, AnyShares] | None = None) -> Genesis:
    """Fix the terms and put the first model on `store`.

    `data`, of `set_up_data`: whose largest share is `max_samples`, unless that is set. Without it no data is
    read but what the configuration names, for the trial that exponents come from. Raises ConfigError where
    `max_samples` is not known, and for a model that cannot be used.
    """
    from bcfl.learning.kinds import initial_model, layout
    from bcfl.learning.weights import require_kept

    if data is None:
        largest = require_max_samples(config)
        task = _tried_task(config)
    else:
        task, shares = data
        if isinstance(shares, Nodes):
            largest = shares.most_samples
        else:
            largest = max(len(share) for share in shares.devices)
    shape = layout(task)
    terms = terms_of(config, shape, largest)
    archive = Archive(store, shape, terms)
    values = initial_model(task, config.seed)
    model = fixedpoint.encode(values, terms.scale_bits)
    if isinstance(task, Task) and task.weights is not None:
        require_kept(shape, values, fixedpoint.decode(model, terms.scale_bits))
    return Genesis(archive, archive.put(model))


def _tried_task(config: Config) -> AnyTask:
    """Return the task, which has been checked, with exponents from the data that the configuration names.

    An app finds its data by the node config. Without any, exponents follow from the first model alone.
    """
    from bcfl.learning.misfits import check_fit, check_model

    task, share = set_up_task(config), None
    if isinstance(task, FlowerTask):
        return _tried_app(config, task)
    if config.data is None:
        check_model(task)
    else:
        dataset = task.dataset(config.data)
        check_fit(task, dataset)
        share = dataset.train
    return set_exponents(config, task, share)


def _tried_app(config: Config, task: FlowerTask) -> FlowerTask:
    from bcfl.learning.exponents import app_exponents
    from bcfl.learning.flower.learner import trial

    vector = None
    if config.node_config is not None:
        vector = trial(task, Nodes((Node(config=task.node_config),), ())).vector
    return task.with_exponents(app_exponents(task, _numbers(config), vector))


def deploy_genesis(
    config: Config,
    chain: Chain,
    owner: Account,
    network: Network,
    store: Store,
    name: str,
    folder: Path = FOLDER,
    devices: int = 0,
    data: tuple[AnyTask, AnyShares] | None = None,
) -> tuple[Contract, Deployment]:
    """Put a new federation on a chain; its first model goes to `store`, its record to `folder`.

    `owner` signs and pays, also for the registration of so many `devices`. `data`: as of `create_genesis`.
    Raises what that and `deploy_federation` raise.
    """
    from bcfl.ledger.deployment.deploy import deploy_federation

    genesis = create_genesis(config, store, data)
    return deploy_federation(
        chain,
        owner,
        network,
        name,
        genesis.terms,
        genesis.model.root,
        genesis.model.cid,
        config.funding,
        config.recorded_options(),
        folder,
        devices,
    )
