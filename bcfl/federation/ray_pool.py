"""Do the work of learners on a Ray cluster, of any size: each worker is an actor that takes job after job.

A thread here stands for each worker. It waits until the cluster has room for one, hands it jobs, and asks
for another one when it has ended. So workers come and go with the nodes of the cluster.
"""

from __future__ import annotations

import logging
import pickle
import threading
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import ExitStack, suppress
from dataclasses import replace
from queue import SimpleQueue
from typing import Any, Final, Self

from bcfl.errors import BcflError, ConfigError, RunError, one_line
from bcfl.federation.jobs import REPLACED, Builder, Call, Job, Outcome, counted
from bcfl.federation.ray_cluster import CAUSE, HEAD_SECONDS, Head, joined_cluster
from bcfl.federation.ray_worker import Answer, Home, RayWorker, refusal
from bcfl.ports import Vector
from bcfl.roles.miner.judging import Case

MAX_ENDS: Final = 3  # of workers at one job, or before one has begun
LEAVE_SECONDS: Final = 5.0  # that a thread has to notice that its worker is gone
WAIT_SECONDS: Final = 30.0  # for the first worker, until a line says that there is none
MOST: Final = 1024  # workers
log = logging.getLogger(__name__)


class RayPool:
    """Workers on a Ray cluster that do jobs once they have a builder; a context manager that ends them.

    `workers` is how many at most, None: one for each CPU of the cluster; never more than `parties`, the jobs
    that there are at a time. Raises ConfigError where the cluster cannot be joined or started.
    """

    def __init__(self, address: str, workers: int | None, parties: int) -> None:
        self.records: tuple[str, ...] = ()
        with ExitStack() as stack:
            self._ray = stack.enter_context(joined_cluster(address, workers))
            cpus = int(self._ray.cluster_resources().get("CPU", 0))
            self._head = Head(self._ray)
            self._stack = stack.pop_all()
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._builder: Future[Any] = Future()
        self._ready: Future[None] = Future()  # when a worker has the builder
        self._workers: set[Any] = set()  # handles of all that are there or asked for
        self._alive = self._replaced = 0
        self._failure: BcflError | None = None  # why no worker is left
        self._is_closing = False
        count = max(1, min(workers or cpus, parties, MOST))
        threads = [threading.Thread(target=self._serve, name="ray worker", daemon=True) for _ in range(count)]
        self._threads, self._serving = threads, count
        for thread in threads:
            thread.start()

    @property
    def workers(self) -> int:
        """Return how many workers there are, or are asked for."""
        return len(self._workers)

    @property
    def summary(self) -> str:
        """Return how many workers there are, and how many have been replaced, in a few words."""
        return counted(self._alive, self._replaced)

    def load(self, builder: Builder) -> None:
        """Give the builder to all workers, and wait until one has it; raises ConfigError where it cannot."""
        self.records = builder.records
        self._builder.set_result(self._put(pickle.dumps(builder, pickle.HIGHEST_PROTOCOL)))
        try:
            self._ready.result(WAIT_SECONDS)
        except TimeoutError:
            log.warning(
                "no worker has started on the Ray cluster yet: it has no free CPU, or is starting one"
            )
            self._ready.result()

    def write(self, subject: Vector | Case) -> Any:
        """Put a model, (parameters,), or a case into the object store of the cluster."""
        is_case = isinstance(subject, Case)
        return self._put(pickle.dumps(subject, pickle.HIGHEST_PROTOCOL) if is_case else subject)

    def remove(self, subject: Any) -> None:
        """Do nothing: Ray forgets what nobody names any more."""

    def submit(self, call: Call) -> Job:
        """Have a worker make a call."""
        job = Job(call)
        with self._lock:
            if self._failure is not None:
                job.future.set_exception(self._failure)
            else:
                self._jobs.put(job)
        return job

    def result(self, job: Job) -> Outcome:
        """Wait for what a job comes to; raises what the learner raises, RunError where workers end at it."""
        while True:
            self._head.require()
            try:
                return job.future.result(HEAD_SECONDS)
            except TimeoutError:
                if job.future.done():  # it is the learner's own
                    raise

    def drop(self, job: Job) -> None:
        """Give up a job that nobody waits for."""
        job.future.cancel()

    def close(self) -> None:
        """End the workers, whatever they do, and leave the cluster."""
        with self._lock:
            self._is_closing = True
            workers = list(self._workers)
        self._builder.cancel()
        for worker in workers:
            self._end(worker)  # it holds nothing, and training may take minutes
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(LEAVE_SECONDS)
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, value: Any) -> Any:
        try:
            return self._ray.put(value)
        except Exception as error:
            raise RunError(f"the Ray cluster does not take a model: {one_line(error)}") from error

    def _serve(self) -> None:
        """Keep one worker, a new one when it ends, until there are no more jobs."""
        ends = 0  # of workers that had not begun
        try:
            while (worker := self._start()) is not None:
                has_begun = False
                try:
                    self._load(worker)
                    has_begun = True
                    self._work(worker)
                    return
                except self._ray.exceptions.RayActorError as error:
                    ends = 0 if has_begun else ends + 1
                    if ends > MAX_ENDS:
                        raise RunError(f"workers end as soon as they have started: {_cause(error)}") from None
                    self._tell()
                finally:
                    with self._lock:
                        self._workers.discard(worker)
                        self._alive -= has_begun
                    self._end(worker)  # it may hold a CPU that another one waits for
        except CancelledError:
            pass
        except BcflError as error:
            self._give_up(error)
        except Exception as error:
            self._give_up(RunError(f"the Ray cluster fails: {_cause(error)}"))

    def _start(self) -> Any:
        """Ask for a worker, and have it import what takes long; None when the pool closes."""
        with self._lock:
            if self._is_closing:
                return None
            kind = self._ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(RayWorker)
            worker = kind.remote()
            self._workers.add(worker)
        worker.prepare.remote()
        return worker

    def _load(self, worker: Any) -> None:
        """Give a worker the builder; raises ConfigError where it cannot take it."""
        builder = self._builder.result()
        try:
            cause = self._ray.get(worker.load.remote(Home.here(), [builder]))
        except self._ray.exceptions.RayTaskError as error:
            raise refusal(_cause(error)) from error
        except self._ray.exceptions.RayActorError as error:
            if getattr(error, "actor_init_failed", False):
                raise refusal(_cause(error)) from error
            raise
        if cause is not None:
            raise refusal(cause)
        with self._lock:
            self._alive += 1
        with suppress(InvalidStateError):
            self._ready.set_result(None)

    def _work(self, worker: Any) -> None:
        """Hand a worker job after job until there are no more."""
        while (job := self._jobs.get()) is not None:
            if job.future.cancelled():
                continue
            try:
                call = pickle.dumps(replace(job.call, subject=None), pickle.HIGHEST_PROTOCOL)
                answer: Answer = pickle.loads(self._ray.get(worker.work.remote(call, [job.call.subject])))
            except self._ray.exceptions.RayActorError:
                self._again(job)
                raise
            except self._ray.exceptions.RayTaskError as error:
                _settle(job, None, error.cause if isinstance(error.cause, Exception) else error)
            except Exception as error:
                _settle(job, None, RunError(f"the Ray cluster fails: {_cause(error)}"))
            else:
                _settle(job, *answer)

    def _again(self, job: Job) -> None:
        """Have another worker do what one has ended at; a job that ends all of them comes to nothing."""
        job.ends += 1
        if job.ends <= MAX_ENDS:
            self._jobs.put(job)
            return
        text = f"a job has ended {job.ends} workers on Ray, killed for memory perhaps: give fewer --workers"
        _settle(job, None, RunError(text))

    def _end(self, worker: Any) -> None:
        with suppress(Exception):
            self._ray.kill(worker)

    def _tell(self) -> None:
        if self._is_closing:
            return
        with self._lock:
            self._replaced += 1
        log.warning("a worker on Ray has ended: it %s", REPLACED)

    def _give_up(self, error: BcflError) -> None:
        """Do without one worker; the first says that the work cannot be done, the last why none is left."""
        if isinstance(error, ConfigError):
            with suppress(InvalidStateError):
                self._ready.set_exception(error)
        with self._lock:
            self._serving -= 1
            if self._serving:
                if self._ready.done() and not self._is_closing:
                    log.warning("a worker on Ray is left out: %s", error)
                return
            self._failure = error
        with suppress(InvalidStateError):
            self._ready.set_exception(error)
        while not self._jobs.empty():
            job = self._jobs.get()
            if job is not None:
                _settle(job, None, error)


def _settle(job: Job, outcome: Outcome | None, error: Exception | None) -> None:
    with suppress(InvalidStateError):  # somebody has dropped it
        if error is not None:
            job.future.set_exception(error)
        elif outcome is not None:
            job.future.set_result(outcome)


def _cause(error: BaseException) -> str:
    """Return on one line what was the cause of an error of Ray's, whose text is a trace that ends with it."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        return one_line(cause)
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()[:CAUSE]
