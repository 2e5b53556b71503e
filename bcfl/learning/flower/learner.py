"""Train and evaluate models with an app's own ClientApp, on the data that it loads itself."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Context, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict

from bcfl.errors import ConfigError, DataError, own_code
from bcfl.learning.flower import calls
from bcfl.learning.flower.nodes import Node, Nodes
from bcfl.learning.flower.opening import RUN_ID, arrays_of
from bcfl.learning.flower.task import FlowerTask
from bcfl.learning.own import FIRST_ROUND, Records
from bcfl.ports import Evaluation, MarkSearch, Matrix, Slopes, TrainingResult, Vector

WEIGHTS = ("num-examples", "num_examples")
SERVER_ID = 1
WARM_UP_MICROSECONDS = 30_000_000  # a first training that takes longer is hardly longer for what it imports
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Reply:
    content: RecordDict
    state: bytes
    microseconds: int


class _LossAlone:
    """What an app cannot tell a miner: it gives the mean loss of a model, and nothing behind it."""

    def slopes(self, model: Vector, parts: int, samples: int) -> Slopes:
        """Return no gradients, (0, parameters), and no loss: `evaluate` tells an app's."""
        del parts, samples
        return Slopes(math.nan, np.zeros((0, len(model)), np.float32), 0)

    def losses(self, model: Vector, samples: int) -> Vector:
        """Return no losses, (0,): an app gives their mean alone."""
        del model, samples
        return np.zeros(0, np.float32)

    def class_slopes(self, model: Vector, samples: int) -> Matrix:
        """Return no gradients, (0, parameters): an app gives none."""
        del samples
        return np.zeros((0, len(model)), np.float32)

    def marks(self, without: Vector, suspects: Sequence[Vector], search: MarkSearch) -> Vector:
        """Return no marks, (0,): nobody knows an app's inputs."""
        del without, suspects, search
        return np.zeros(0, np.float32)

    def mark_slopes(self, without: Vector, model: Vector, samples: int) -> Matrix:
        """Return no gradients, (0, parameters): nobody knows an app's inputs."""
        del without, samples
        return np.zeros((0, len(model)), np.float32)


class FlowerLearner(_LossAlone):
    """One party's ClientApp; implements `bcfl.ports.Learner`.

    It has no gradients, no losses by sample and no marks: a miner judges by the mean losses that the app
    evaluates.
    """

    def __init__(self, task: FlowerTask, node: Node, seed: int) -> None:
        self._task, self._node, self._seed = task, node, seed
        self._app = task.load(task.client, ClientApp)
        self._scale = task.scale
        self._samples = node.samples

    def keep(self, records: Records) -> None:
        """Keep the state of the app's context in `records` from now on, and go on from what is there."""
        self._node.states.keep(records)

    @property
    def samples(self) -> int:
        """Return the number of training samples, which is known once the party has trained."""
        return self._samples

    def rehearse(self, *, trains: bool = True) -> None:
        """Evaluate the first model, and train from it, and forget it; raises ConfigError as these."""
        states = self._node.anew().states
        model = self._task.first_model
        self._evaluated(model, states.latest)
        if trains:
            self._trained(model, FIRST_ROUND, states.latest)

    def train(self, model: Vector, round_: int) -> TrainingResult:
        """Train from `model`, (parameters,), by the app's own code; raises ConfigError where that fails.

        The first training of a process imports what no later one does, which would be measured: it is made
        again, unless it is long.
        """
        is_warm, before = self._task.is_warm, self._node.states.before(round_)
        result, state = self._trained(model, round_, before)
        if not is_warm and result.microseconds < WARM_UP_MICROSECONDS:
            result, state = self._trained(model, round_, before)
        self._node.states.put(round_, state)
        return result

    def _trained(self, model: Vector, round_: int, state: bytes) -> tuple[TrainingResult, bytes]:
        text = f"{self._task.title}: training on partition {self._node.partition} failed"
        reply = self._ask(MessageType.TRAIN, text, model, round_, state)
        with own_code(text):
            values = self._task.opening.arrays.read(_arrays_in(reply.content, self._task.opening.key))
            vector = (values / self._scale).astype(np.float32)
            samples = _samples_in(reply.content)
        if not np.isfinite(vector).all():
            raise ConfigError(f"{self._task.title}: training diverged: values are no finite numbers any more")
        self._samples = samples
        self._task.set_warm()
        return TrainingResult(vector, samples, reply.microseconds), reply.state

    def evaluate(self, model: Vector) -> Evaluation:
        """Return what the app says of `model`, (parameters,): its loss, samples and metrics.

        Raises ConfigError where its code fails.
        """
        return self._evaluated(model, self._node.states.latest)

    def _evaluated(self, model: Vector, state: bytes) -> Evaluation:
        text = f"{self._task.title}: evaluating on partition {self._node.partition} failed"
        reply = self._ask(MessageType.EVALUATE, text, model, FIRST_ROUND, state)
        with own_code(text):
            samples, values = _samples_in(reply.content), _numbers_in(reply.content)
        names = [name for name in values if "loss" in name.lower()]
        name = "loss" if "loss" in names else next(iter(names), None)
        loss = None if name is None else values.pop(name)
        self._task.set_metrics(list(values))
        metrics = {key: value if math.isfinite(value) else None for key, value in values.items()}
        if loss is None:
            return Evaluation(math.nan, samples, metrics)
        return Evaluation(math.inf if math.isnan(loss) else loss, samples, metrics)

    def _ask(self, kind: str, text: str, model: Vector, round_: int, state: bytes) -> _Reply:
        """Send a message to the app and return its reply, and what it has kept."""
        task, node = self._task, self._node
        arrays = task.opening.arrays.write(model * self._scale)
        context = Context(RUN_ID, node.partition + 2, node.node_config, _state(state), dict(task.run_config))

        def work() -> Message:
            content = task.opening.content(kind, arrays, round_)
            reply: Message = self._app(Message(content, node.partition + 2, kind), context)
            return reply

        seed = int(np.random.SeedSequence([self._seed, round_]).generate_state(1, np.uint64)[0]) >> 1
        reply, microseconds = calls.call(text, work, seconds=task.seconds, seed=seed)
        if not isinstance(reply, Message):
            raise ConfigError(f"{text}: it returns a {type(reply).__name__}, not a Message")
        if reply.has_error():
            raise ConfigError(f"{text}: {reply.error.reason}")
        with own_code(f"{text}: its state cannot be kept"):
            kept: bytes = _to_bytes(recorddict_to_proto(context.state))
        return _Reply(reply.content, kept, microseconds)


class FlowerJudge(_LossAlone):
    """Evaluates models on the test part of every partition; returns the mean by samples, as Flower does."""

    def __init__(self, task: FlowerTask, nodes: Sequence[Node]) -> None:
        self._title = task.title
        self._learners = [FlowerLearner(task, node, task.seed) for node in nodes]

    @property
    def samples(self) -> int:
        """Return 0: a judge trains on nothing."""
        return 0

    def train(self, model: Vector, round_: int) -> TrainingResult:
        """Raise ConfigError: a judge does not train."""
        del model, round_
        raise ConfigError(f"{self._title}: a judge does not train")

    def evaluate(self, model: Vector) -> Evaluation:
        """Return the means over the partitions that can be evaluated; raises ConfigError where none can."""
        evaluations, failures = list[Evaluation](), list[ConfigError]()
        for learner in self._learners:
            try:
                evaluations.append(learner.evaluate(model))
            except ConfigError as error:
                log.info("left out of the test: %s", error)
                failures.append(error)
        if not evaluations:
            raise failures[0]
        return _mean(evaluations)


def trial(task: FlowerTask, nodes: Nodes) -> TrainingResult:
    """Return what the first device that can train makes of the first model; raises ConfigError if none can.

    Nothing of it is remembered.
    """
    failure: ConfigError | None = None
    for node in nodes.devices:
        try:
            learner = FlowerLearner(task, node.anew(), task.seed)
            result, state = learner._trained(task.first_model, FIRST_ROUND, b"")
            learner._evaluated(task.first_model, state)
            return result
        except ConfigError as error:
            failure = failure or error
    raise failure or ConfigError(f"{task.title}: there is no device")


def _to_bytes(message: Any) -> bytes:
    data: bytes = message.SerializeToString(deterministic=True)
    return data


def _state(data: bytes) -> RecordDict:
    parser: Any = ProtoRecordDict
    return recorddict_from_proto(parser.FromString(data))


def _arrays_in(content: RecordDict, key: str) -> dict[str, Any]:
    """Return the arrays of a reply: under the key that was sent, or of the only record."""
    records = dict(content.array_records)
    if key not in records and len(records) != 1:
        raise DataError(f"it returns {len(records)} array records: return one, under {key!r}")
    return arrays_of(records[key] if key in records else next(iter(records.values())))


def _samples_in(content: RecordDict) -> int:
    """Return the weight of a reply."""
    for record in content.metric_records.values():
        for name in WEIGHTS:
            value = record.get(name)
            if isinstance(value, int | float) and math.isfinite(value):
                if round(value) < 1:
                    raise DataError("it says that it has no samples")
                return round(value)
    raise DataError(f"it returns no {WEIGHTS[0]}, by which models are weighed")


def _numbers_in(content: RecordDict) -> dict[str, float]:
    """Return all single numbers of a reply by name, but for its weight and Flower's own."""
    values: dict[str, float] = {}
    records: list[Any] = list(content.metric_records.values())
    records += [record for name, record in content.config_records.items() if name.endswith(".metrics")]
    for record in records:
        for name, value in record.items():
            if isinstance(value, int | float) and name not in WEIGHTS:
                values.setdefault(name, float(value))
    return values


def _mean(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Return the means of evaluations by samples; of a loss or a metric over those that have it."""
    total = sum(item.samples for item in evaluations)
    losses = [(item.loss, item.samples) for item in evaluations if not math.isnan(item.loss)]
    loss_samples = sum(count for _, count in losses)
    loss = sum(value * count for value, count in losses) / loss_samples if losses else math.nan
    names = dict.fromkeys(name for item in evaluations for name in item.metrics)
    metrics: dict[str, float | None] = {}
    for name in names:
        pairs = [(item.metrics.get(name), item.samples) for item in evaluations]
        known = [(value, count) for value, count in pairs if value is not None]
        weight = sum(count for _, count in known)
        metrics[name] = sum(value * count for value, count in known) / weight if weight else None
    return Evaluation(loss, total, metrics)
