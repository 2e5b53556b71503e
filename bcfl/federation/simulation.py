"""Run a whole federation in one process: the same roles as everywhere, on an embedded chain."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bcfl.config import Config
from bcfl.federation import fingerprint
from bcfl.federation.genesis import set_up_data
from bcfl.federation.initialization import Initialization
from bcfl.federation.party_learners import Compute, pooled
from bcfl.federation.reporting import Reporter, awaited
from bcfl.federation.reports import Progress, Report, RoundReport
from bcfl.federation.runs import Run
from bcfl.federation.schedule import Schedule
from bcfl.learning import Task
from bcfl.learning.accelerators import choose
from bcfl.learning.kinds import AnyShares, AnyTask
from bcfl.ledger.federation import FederationLedger
from bcfl.protocol.rounds import Round
from bcfl.protocol.types import Phase
from bcfl.roles.miner.judging import single_thread

if TYPE_CHECKING:
    from bcfl.federation.jobs import Pool

Observer = Callable[[Progress], None]


def run(
    config: Config,
    *,
    on_progress: Observer | None = None,
    device: str = "cpu",
    workers: int | None = None,
    ray: str | None = None,
) -> Report:
    """Train as `config` says, in a new run directory; raises BcflError, one line, for what is foreseen.

    `device` is where torch computes: cpu, cuda, cuda:N, mps or auto. Devices and miners train in so many
    processes as `workers` says, by default in this one. With `ray` these are workers of a Ray cluster, by
    default one for each of its CPUs: of the one at an address, or of one that ends with the run (local).
    """
    start, device = time.perf_counter(), choose(device)
    compute = Compute(device, workers, ray)
    compute.check(config)
    with compute.open_pool(config) as pool:
        task, shares = set_up_data(config, device)
        with Run.create(config) as folder, Simulation.open(folder, task, shares, device, pool) as simulation:
            return simulation.play(on_progress, start)


def resume(
    path: Path | None = None,
    *,
    on_progress: Observer | None = None,
    runs: Path = Path("runs"),
    device: str = "cpu",
    workers: int | None = None,
    ray: str | None = None,
) -> Report:
    """Go on with an interrupted run (None: the latest) where its chain stands; the others as of `run`."""
    start, device = time.perf_counter(), choose(device)
    with Run.open(path, runs=runs, read_only=False) as folder:
        compute = Compute(device, workers, ray)
        compute.check(folder.config)
        with compute.open_pool(folder.config) as pool:
            task, shares = set_up_data(folder.config, device, folder.contract is not None)
            with Simulation.open(folder, task, shares, device, pool) as simulation:
                return simulation.play(on_progress, start)


@dataclass(frozen=True)
class Simulation:
    """A federation on the embedded chain of a run's folder."""

    run: Run
    schedule: Schedule
    reporter: Reporter
    metric: str | None  # of the task, that tables show
    pool: Pool | None = None  # of workers that train and judge

    @classmethod
    @contextmanager
    def open(
        cls, run: Run, task: AnyTask, shares: AnyShares, device: str = "cpu", pool: Pool | None = None
    ) -> Iterator[Simulation]:
        """Deploy, register and open the first round, or find all that done; closes the chain at the end."""
        weights = task.weights if isinstance(task, Task) else None
        fingerprint.check(run.path, fingerprint.fingerprint(task, shares, run.config.seed), weights)
        setup = Initialization(run, task, shares, device)
        chain = setup.open_chain()
        try:
            ledger, archive = setup.deploy(chain)
            schedule = setup.schedule(chain, ledger, archive, pooled(setup.learners, pool))
            schedule.ahead = 0 if pool is None else pool.workers + 1
            yield cls(run, schedule, setup.reporter(ledger, archive), task.metric, pool)
        finally:
            chain.close()

    @property
    def ledger(self) -> FederationLedger:
        """Return the ledger of the federation."""
        return self.schedule.ledger

    def play(self, on_progress: Observer | None, start: float) -> Report:
        """Play rounds until there are as many as the configuration wants; `start` of `time.perf_counter`."""
        rounds = [round_ for round_ in self.ledger.history().rounds.values() if round_.status != "running"]
        reports = [self.reporter.round_report(round_) for round_ in rounds]
        earlier = len(reports)
        if earlier > self.run.config.rounds:  # what was played stays played
            self.run.set_rounds(earlier)
        for report in reports:
            self._tell(on_progress, report.round, "resumed", (), report)
        while len(reports) < self.run.config.rounds:
            number = len(reports) + 1
            with single_thread():
                reports.append(self.play_round(number, on_progress))
            self._tell(on_progress, number, reports[-1].status, (), reports[-1])
        return self.reporter.report(tuple(reports), time.perf_counter() - start, earlier)

    def play_round(self, number: int, on_progress: Observer | None) -> RoundReport:
        """Play one round and return what it came to."""

        def observe(round_: Round, phase: Phase) -> None:
            accounts = awaited(self.ledger.history(), round_, phase)
            self._tell(on_progress, number, phase.name.lower(), accounts, None)

        self.schedule.play_round(number, observe)
        self.reporter.archive.forget()
        return self.reporter.round_report(self.ledger.history().rounds[number])

    def _tell(
        self,
        observer: Observer | None,
        number: int,
        phase: str,
        accounts: tuple[str, ...],
        report: RoundReport | None,
    ) -> None:
        if observer is not None:
            workers, count = None if self.pool is None else self.pool.summary, self.run.config.rounds
            observer(Progress(number, count, phase, accounts, report, self.metric, workers))
