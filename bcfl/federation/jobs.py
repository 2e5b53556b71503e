"""Say what workers do for the learners of a run: calls, made wherever a `Builder` is.

A worker holds no state of a party. It gets a builder once, makes a party's learner with it for each job,
and gives back what the job came to, with the records that the learner has written. So it does not matter who
does a job, nor how often: the work of a worker that ends is done again by another.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from bcfl.learning.own import Records
from bcfl.ports import Learner, Vector
from bcfl.roles.miner.judging import Case, judge

Party = tuple[str, int]  # role and index
Contents = dict[str, bytes]  # records by name
Outcome = tuple[Any, Contents]  # of a call, and the records that it has changed
JUDGE: Final = "judge"  # the updates of a case, instead of a call of the learner
REPLACED: Final = "is replaced, and its work is done again"


class Builder(Protocol):
    """Makes learners wherever it is unpickled; raises ConfigError there where it cannot."""

    records: tuple[str, ...]  # names of what its learners keep

    def __call__(self, party: Party) -> Learner:
        """Return a party's learner as it is before any training; a method `keep` takes its records."""
        ...

    def keep(self, party: Party, records: Records) -> None:
        """Take over, where the run is, what a worker has written to a party's records."""
        ...


@dataclass(frozen=True)
class Call:
    """One call of a party's learner on a model, (parameters,), or a case, that the pool has taken in."""

    party: Party
    method: str  # of the learner; or JUDGE
    subject: Any  # what `write` of the pool has returned
    arguments: tuple[object, ...] = ()
    records: Contents = field(default_factory=dict)
    secret: bytes | None = field(default=None, repr=False)  # that noise is drawn from


@dataclass(eq=False)
class Job:
    """A call that is made in a worker, and what it comes to."""

    call: Call
    future: Future[Outcome] = field(default_factory=Future)
    ends: int = 0  # of workers that were at it


class Pool(Protocol):
    """Workers that do jobs once they have a builder."""

    records: tuple[str, ...]  # of the builder

    @property
    def workers(self) -> int:
        """Return how many workers there are."""
        ...

    @property
    def summary(self) -> str:
        """Return how many workers there are, and how many have been replaced, in a few words."""
        ...

    def load(self, builder: Builder) -> None:
        """Give the builder to all workers, and wait until one has it; raises ConfigError where none can."""
        ...

    def write(self, subject: Vector | Case) -> Any:
        """Put a model or a case where workers read it; the caller gives it to `remove` afterwards."""
        ...

    def remove(self, subject: Any) -> None:
        """Forget a model or a case that no call needs any more."""
        ...

    def submit(self, call: Call) -> Job:
        """Have a worker make a call."""
        ...

    def result(self, job: Job) -> Outcome:
        """Wait for what a job comes to; raises what the learner raises, RunError where workers end."""
        ...

    def drop(self, job: Job) -> None:
        """Give up a job that nobody waits for."""
        ...


class _Memory:
    """The records of a party in a worker, and those that it has written."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self._contents = dict(contents)
        self.changes: Contents = {}

    def read(self, name: str) -> bytes | None:
        return self._contents.get(name)

    def write(self, name: str, data: bytes) -> None:
        self._contents[name] = self.changes[name] = data


def prepare() -> None:
    """Import in a worker what takes long, while the parent loads its data."""
    import torch

    import bcfl.learning.training  # noqa: F401

    torch.set_num_threads(1)  # as every training has it


def perform(builder: Builder, call: Call, subject: Any) -> Outcome:
    """Make a call on a model, (parameters,), or a case in a worker; raises what the learner raises."""
    learner, memory = builder(call.party), _Memory(call.records)
    keep = getattr(learner, "keep", None)
    if keep is not None:
        keep(memory)
    if call.secret is not None:
        learner.blind(call.secret)  # type: ignore[attr-defined]
    if call.method == JUDGE:
        return judge(learner, subject), memory.changes
    return getattr(learner, call.method)(subject, *call.arguments), memory.changes


def counted(workers: int, replaced: int) -> str:
    """Return so many workers, and how many ended before their time, in a few words."""
    words = "1 worker" if workers == 1 else f"{workers:,} workers"
    return f"{words}, {replaced:,} replaced" if replaced else words
