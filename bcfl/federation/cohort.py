"""Let all parties of a run train and judge at once: learners that leave their work to a pool of workers.

Devices act one after the other, and each waits for its own training. The first that asks for one has those of
all handed out, the largest first. They start from the same model, so nothing depends on who asks when.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bcfl.federation.jobs import JUDGE, Builder, Call, Job, Party, Pool
from bcfl.learning.own import Records
from bcfl.ports import Evaluation, MarkSearch, Matrix, Slopes, TrainingResult, Vector
from bcfl.roles.checks.pipeline import PipelineResult
from bcfl.roles.common.journal import Journal
from bcfl.roles.miner.judging import Case


class Cohort:
    """The learners of all parties; those who asked for their last training are trained with the first."""

    def __init__(self, pool: Pool, builder: Builder) -> None:
        self.pool, self.builder = pool, builder
        self._members: list[PooledLearner] = []
        self._jobs: dict[Party, Job] = {}  # trainings that nobody has asked for yet
        self._idle: set[Party] = set()  # who did not ask for the last one
        self._round, self._model = 0, np.zeros(0, np.float32)
        self._place: Any = None  # where the pool has the model

    def __call__(self, party: Party) -> PooledLearner:
        """Return the learner of a party, a member from now on."""
        self._members.append(PooledLearner(self, party, self.builder(party).samples))
        return self._members[-1]

    def train(self, member: PooledLearner, model: Vector, round_: int) -> Job:
        """Return the training of a member, and hand out those of the others."""
        if round_ != self._round or not np.array_equal(model, self._model):
            self._open(model, round_)
        self._idle.discard(member.party)
        job = self._jobs.pop(member.party, None)
        return self._submit(member) if job is None else job

    def _open(self, model: Vector, round_: int) -> None:
        """Hand out the trainings of a round."""
        for party, job in self._jobs.items():
            self.pool.drop(job)
            self._idle.add(party)
        if self._round:
            self.pool.remove(self._place)
        self._round, self._model, self._place = round_, model.copy(), self.pool.write(model)
        members = sorted(self._members, key=lambda member: -member.samples)
        self._jobs = {m.party: self._submit(m) for m in members if m.samples and m.party not in self._idle}

    def _submit(self, member: PooledLearner) -> Job:
        contents = member.contents()
        call = Call(member.party, "train", self._place, (self._round,), contents, member.secret)
        return self.pool.submit(call)


class PooledLearner:
    """A party's learner whose work is done in a worker; implements `bcfl.ports.Learner`."""

    def __init__(self, cohort: Cohort, party: Party, samples: int) -> None:
        self.party, self._cohort, self._samples = party, cohort, samples
        self._records: Records = Journal(None)
        self.secret: bytes | None = None

    def blind(self, secret: bytes) -> None:
        """Have workers draw the noise of the terms from `secret`."""
        self.secret = secret

    def keep(self, records: Records) -> None:
        """Keep what the party keeps in `records` from now on."""
        self._records = records
        self._cohort.builder.keep(self.party, records)

    def contents(self) -> dict[str, bytes]:
        """Return the records as they are now."""
        records = {name: self._records.read(name) for name in self._cohort.pool.records}
        return {name: data for name, data in records.items() if data is not None}

    @property
    def samples(self) -> int:
        """Return the number of training samples, as far as it is known."""
        return self._samples

    def train(self, model: Vector, round_: int) -> TrainingResult:
        """Train from `model`, (parameters,); raises what the party's own code comes to, as one line."""
        result: TrainingResult = self.finish(self._cohort.train(self, model, round_))
        self._samples = result.samples  # an app's are known once it has trained
        return result

    def evaluate(self, model: Vector) -> Evaluation:
        """Return metrics and loss of `model`, (parameters,), on the held-out data."""
        evaluation: Evaluation = self._call("evaluate", model)
        return evaluation

    def slopes(self, model: Vector, parts: int, samples: int) -> Slopes:
        """Return loss and gradients of `model`, (parameters,), on parts of the held-out data."""
        slopes: Slopes = self._call("slopes", model, parts, samples)
        return slopes

    def losses(self, model: Vector, samples: int) -> Vector:
        """Return losses of `model`, (parameters,), on pieces of the held-out data, (pieces,)."""
        vector: Vector = self._call("losses", model, samples)
        return vector

    def class_slopes(self, model: Vector, samples: int) -> Matrix:
        """Return gradients of `model`, (parameters,), by class, (classes, parameters)."""
        matrix: Matrix = self._call("class_slopes", model, samples)
        return matrix

    def marks(self, without: Vector, suspects: Sequence[Vector], search: MarkSearch) -> Vector:
        """Return how often marks work on each suspect and not on `without`, (suspects,)."""
        vector: Vector = self._call("marks", without, suspects, search)
        return vector

    def mark_slopes(self, without: Vector, model: Vector, samples: int) -> Matrix:
        """Return gradients of `model`, (parameters,), of marked and plain inputs, (2 * marks, parameters)."""
        matrix: Matrix = self._call("mark_slopes", without, model, samples)
        return matrix

    def begin(self, case: Case) -> PooledJudgement:
        """Have a worker judge the updates of a round, and go on."""
        pool = self._cohort.pool
        job = pool.submit(Call(self.party, JUDGE, pool.write(case), (), self.contents(), self.secret))
        return PooledJudgement(self, job)

    def _call(self, method: str, model: Vector, *arguments: object) -> Any:
        pool = self._cohort.pool
        place = pool.write(model)
        try:
            return self.finish(pool.submit(Call(self.party, method, place, arguments, self.contents())))
        finally:
            pool.remove(place)

    def drop(self, job: Job) -> None:
        """Give up a job, and what it was to be done on."""
        self._cohort.pool.drop(job)
        self._cohort.pool.remove(job.call.subject)

    def finish(self, job: Job) -> Any:
        """Wait for a job and keep the records that it has changed."""
        outcome, records = self._cohort.pool.result(job)
        for name, data in records.items():
            self._records.write(name, data)
        if records:
            self._cohort.builder.keep(self.party, self._records)
        return outcome


@dataclass(frozen=True)
class PooledJudgement:
    """What a worker says of a round's updates; implements `bcfl.roles.miner.judging.Judgement`."""

    learner: PooledLearner
    job: Job

    def result(self) -> PipelineResult:
        """Wait for it, and keep what the party's records have become."""
        try:
            result: PipelineResult = self.learner.finish(self.job)
            return result
        finally:
            self.learner.drop(self.job)

    def drop(self) -> None:
        """Give it up."""
        self.learner.drop(self.job)
