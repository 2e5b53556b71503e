"""Do the work of learners in other processes of this machine: a pool that any learner can leave it to."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import tempfile
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import lru_cache
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Final, Self

import numpy as np

from bcfl.errors import BcflError, ConfigError, RunError
from bcfl.federation.jobs import JUDGE, REPLACED, Builder, Call, Job, Outcome, counted, perform, prepare
from bcfl.federation.kept_memory import keep_freed_memory
from bcfl.federation.worker_files import WorkerFiles, WorkerReader
from bcfl.folders import private_file
from bcfl.ports import Vector
from bcfl.roles.miner.judging import Case

MAX_ENDS: Final = 3  # of workers, one after the other with nothing done in between
BUILDER: Final = "builder.pickle"
log = logging.getLogger(__name__)


class WorkerPool:
    """So many processes that do jobs once they have a builder; a context manager that ends them."""

    def __init__(self, workers: int) -> None:
        self.records: tuple[str, ...] = ()
        self.workers = workers
        self._folder = tempfile.TemporaryDirectory(prefix="bcfl-workers-")
        self._path = Path(self._folder.name)
        self._files = WorkerFiles(self._path)
        self._jobs: list[Job] = []  # not yet done
        self._ends = self._replaced = 0  # workers that ended: since a job was done, and in all
        self._executor = self._start()

    @property
    def summary(self) -> str:
        """Return how many workers there are, and how many have been replaced, in a few words."""
        return counted(self.workers, self._replaced)

    def load(self, builder: Builder) -> None:
        """Give the builder to all workers, and wait until one has it; raises ConfigError where none can."""
        self.records = builder.records
        with private_file(self._path / BUILDER).open("wb") as file:
            pickle.dump(builder, file, pickle.HIGHEST_PROTOCOL)
        while True:
            try:
                self._executor.submit(_load, self._path).result()
                return
            except BrokenProcessPool:
                self._restart()
            except BcflError as error:
                raise ConfigError(
                    f"a worker cannot do what this process can: {error}; put the task into a module that it "
                    "can import, or leave --workers out"
                ) from error

    def write(self, subject: Vector | Case) -> Path:
        """Put a model, (parameters,), or a case into a file that workers read."""
        return self._files.write(subject)

    def remove(self, subject: Path) -> None:
        """Remove the file of a model or a case."""
        self._files.remove(subject)

    def submit(self, call: Call) -> Job:
        """Have a worker make a call."""
        job = Job(call)
        self._jobs.append(job)
        try:
            job.future = self._executor.submit(_work, self._path, call)
        except BrokenProcessPool:
            self._restart()
        return job

    def result(self, job: Job) -> Outcome:
        """Wait for what a job comes to, and the records that it has changed; raises what the learner raises.

        Raises RunError where workers end again and again.
        """
        while True:
            try:
                outcome = job.future.result()
            except BrokenProcessPool:
                self._restart()
                continue
            except Exception:
                self._forget(job)
                raise
            self._forget(job)
            return outcome

    def drop(self, job: Job) -> None:
        """Give up a job that nobody waits for."""
        job.future.cancel()
        if job in self._jobs:
            self._jobs.remove(job)

    def close(self) -> None:
        """End the workers, whatever they do."""
        for process in [*(self._executor._processes or {}).values()]:
            process.terminate()  # they hold nothing, and training may take minutes
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> ProcessPoolExecutor:
        executor = ProcessPoolExecutor(self.workers, get_context("spawn"), _begin)
        for _ in range(self.workers):
            executor.submit(prepare)
        return executor

    def _forget(self, job: Job) -> None:
        self._ends = 0
        self._jobs.remove(job)

    def _restart(self) -> None:
        """Replace the workers of a pool of which one has ended, and hand out again what is not done."""
        self._ends += 1
        if self._ends > MAX_ENDS:
            raise RunError(
                f"workers ended {self._ends} times with nothing done, killed for memory perhaps: give fewer "
                "--workers; or ended by the party's own code, by `os._exit` say; a script that trains needs "
                '`if __name__ == "__main__":`'
            )
        self._replaced += 1
        log.warning("a worker process has ended: it %s", REPLACED)
        self._executor.shutdown(wait=True)
        self._executor = self._start()
        for job in self._jobs:
            if not job.future.done() or isinstance(job.future.exception(), BrokenProcessPool):
                job.future = self._executor.submit(_work, self._path, job.call)


def _begin() -> None:
    """Leave Ctrl-C to the parent, and end when it has ended, however it did; keep memory that is freed."""
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _load(folder: Path) -> None:
    _builder(folder)


@lru_cache(maxsize=1)
def _builder(folder: Path) -> Builder:
    with (folder / BUILDER).open("rb") as file:
        builder: Builder = pickle.load(file)  # from this program's own parent
    return builder


@lru_cache(maxsize=1)
def _model(path: Path) -> Vector:
    """Return a model, (parameters,), read once for all jobs of a round."""
    return np.array(_reader().read(path))


@lru_cache(maxsize=1)
def _reader() -> WorkerReader:
    return WorkerReader()


def _case(path: Path) -> Case:
    """Return a case; its updates stay in their file, of which all workers on this machine share the pages."""
    case: Case = _reader().read(path)
    return replace(case, model=np.array(case.model))


def _work(folder: Path, call: Call) -> Outcome:
    """Make a call in a worker; a Ctrl-C is not for it, so whoever raises one there is a party's own code."""
    try:
        subject = _case(call.subject) if call.method == JUDGE else _model(call.subject)
        return perform(_builder(folder), call, subject)
    except KeyboardInterrupt:
        raise ConfigError(f"{call.method} has raised KeyboardInterrupt, in the party's own code") from None
