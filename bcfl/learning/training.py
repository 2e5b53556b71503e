"""Train, evaluate and differentiate models on private data, with torch on one thread.

On one thread the outcome is the same in every run, and the thread's CPU time is the time of the training. On
an accelerator the outcome may differ from machine to machine, and the time is the wall clock's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bcfl.errors import ConfigError, own_code
from bcfl.learning import loops, marks, private
from bcfl.learning.accelerators import CPU, clock, isolated
from bcfl.learning.choice import Choice
from bcfl.learning.context import FitContext
from bcfl.learning.datasets import Samples
from bcfl.learning.flat import FlatModule, layout_of, trained_of
from bcfl.learning.loading import Batch, Loaded, load, pieces
from bcfl.learning.meter import PIECE, Meter, losses_of
from bcfl.learning.own import FIRST_ROUND, OwnTensors, Records
from bcfl.learning.partitions import Split
from bcfl.learning.tasks import Task
from bcfl.learning.weights import load_weights
from bcfl.ports import Evaluation, MarkSearch, Matrix, Slopes, TrainingResult, Vector
from bcfl.protocol.types import Layout
from bcfl.renamed import former_names

EVALUATION_BATCH = 1024  # samples in one forward pass without training; bounds memory
CLASS_ROWS = 16  # gradients by class at the most
WARM_UP_STEPS = 4
Trained = tuple[Vector, Vector, int]
FIXED_SEED = 0  # for what a module draws at random outside its vector: the same for every party


def initial_model(task: Task, seed: int) -> Vector:
    """Return the genesis model: the vector, (parameters,), of a module newly built under `seed`.

    Where the task names a file of weights, it is theirs; raises ConfigError for one that does not fit.
    """
    if task.weights is None:
        return _flat(task, seed).begin()
    module = build(task, FIXED_SEED)
    load_weights(module, Path(task.weights), [tensor.name for tensor in layout(task).tensors])
    return FlatModule(module, task.exponents, task.shared).read()


def layout(task: Task) -> Layout:
    """Return names, shapes and exponents of the tensors of `task`'s model in their canonical order."""
    with own_code(f"task {task.name}: its model cannot be used"):
        shape = layout_of(build(task, FIXED_SEED), task.exponents, task.shared)
        return replace(shape, agreement=task.agreement)


def trained_tensors(task: Task) -> frozenset[str]:
    """Return the names of the tensors that training moves by their gradient; the others are statistics."""
    return trained_of(build(task, FIXED_SEED), task.shared)


def state_of(task: Task, model: Vector) -> dict[str, npt.NDArray[Any]]:
    """Return the state_dict of `task`'s module with `model`, (parameters,), in it; raises ConfigError.

    What is not in the vector is as every party builds it: integer buffers, say.
    """
    flat = _flat(task, FIXED_SEED)
    if model.shape != (flat.parameters,):
        raise ConfigError(f"task {task.name} has {flat.parameters:,} parameters, the model {len(model):,}")
    flat.load(model)
    return flat.state()


class Workbench:
    """One module of a task on a torch device, for learners of one process that take turns.

    Each loads a model and its own tensors before it begins. After an error the module is built anew.
    """

    def __init__(self, task: Task, device: str = CPU) -> None:
        self.task, self.device = task, device
        self._flat: FlatModule | None = None
        self._own: Vector | None = None
        self.is_warm = False

    @property
    def flat(self) -> FlatModule:
        """Return the module; raises ConfigError where it cannot be built."""
        if self._flat is None:
            self._flat, self.is_warm = _flat(self.task, FIXED_SEED, self.device), False
            self._own = self._flat.own if self._own is None else self._own
        return self._flat

    @property
    def own(self) -> Vector:
        """Return what nobody shares as it is built, (entries,)."""
        _ = self.flat
        return np.zeros(0, np.float32) if self._own is None else self._own

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Drop the module where the block fails: nobody knows what its code has changed."""
        try:
            yield
        except BaseException:
            self._flat = None
            raise


def device_learner(
    task: Task, shares: Split, index: int, seed: int, bench: Workbench | None = None
) -> TorchLearner:
    """Return the learner of device `index`, with its share and a seed mixed from it and the run's `seed`."""
    return TorchLearner(task, shares.devices[index], None, _mix(seed, index), bench)


def miner_learner(task: Task, shares: Split, index: int, bench: Workbench | None = None) -> TorchLearner:
    """Return the learner of miner `index`: it also trains on its held-out data, no longer than a device."""
    held_out = shares.miners[index]
    mean = sum(map(len, shares.devices)) // max(1, len(shares.devices))
    train = held_out.take(np.arange(min(len(held_out), max(1, mean))))
    return TorchLearner(task, train, held_out, _mix(FIXED_SEED, index), bench)


def judge(task: Task, shares: Split, bench: Workbench | None = None) -> TorchLearner:
    """Return the learner that evaluates on the final test data, which no party holds.

    What a task does not share is trained on a miner's data, where there is some.
    """
    own = shares.miners[0] if task.shared is not None and shares.miners else None
    return TorchLearner(task, own, shares.test, FIXED_SEED, bench)


class TorchLearner:
    """The private data of one party, and a module to use it with; implements `bcfl.ports.Learner`.

    Nothing but vectors (parameters,), counts and means leaves it. Learners may share a `bench`, which says
    where torch computes too. Not for use from two threads at once.
    """

    def __init__(
        self,
        task: Task,
        train: Samples | None,
        held_out: Samples | None,
        seed: int,
        bench: Workbench | None = None,
    ) -> None:
        self._task = task
        self._seed = seed
        self._train, self._held_out = train, held_out  # torch's copies live as long as their use
        self._choice = Choice(held_out)
        self._bench = Workbench(task) if bench is None else bench
        self._own = OwnTensors(self._bench.own)
        self._secret: bytes | None = None

    def blind(self, secret: bytes) -> None:
        """Draw the noise that the federation's terms ask for from `secret`, from now on.

        Without it training is that of a party that gives nothing away: it adds no noise.
        """
        self._secret = secret

    def keep(self, records: Records) -> None:
        """Keep what the federation does not share in `records` from now on, and go on from what is there."""
        self._own.keep(records)

    @property
    def _flat(self) -> FlatModule:
        return self._bench.flat

    @property
    def samples(self) -> int:
        """Return the number of training samples."""
        return 0 if self._train is None else len(self._train)

    def train(self, model: Vector, round_: int) -> TrainingResult:
        """Train from `model`, (parameters,), as the task says; the same for one data, round and seed.

        Raises ConfigError without training data, when the training diverges, and when it fails.
        """
        # The first steps of a process take tens of times as long and would be measured.
        if not self._bench.is_warm:
            if self._task.fit is None:
                self._trained(model, round_, WARM_UP_STEPS)
            else:
                loops.warm_up()
            self._bench.is_warm = True
        vector, own, microseconds = self._trained(model, round_, None)
        self._own.put(round_, own)
        return TrainingResult(vector, self.samples, microseconds)

    def rehearse(self, model: Vector) -> None:
        """Train one step from `model`, (parameters,), and forget it; raises ConfigError as `train`."""
        self._trained(model, 0, 1)

    def _trained(self, model: Vector, round_: int, most: int | None, holds: bool = False) -> Trained:
        """Return the vector, the party's own tensors and the CPU time after at most `most` steps."""
        name = self._task.name
        if not self.samples:
            raise ConfigError(f"task {name}: a device without training samples cannot train")
        text = f"task {name}: training on {self.samples:,} samples failed"
        with self._bench.guarded(), own_code(text):
            microseconds = self._run(model, round_, most, holds)
            vector, own = self._flat.read(), self._flat.own
        if not np.isfinite(vector).all() or not np.isfinite(own).all():
            rate = self._task.learning_rate
            raise ConfigError(f"task {name}: training diverged, lower the learning rate ({rate})")
        return vector, own, microseconds

    def _load(self, model: Vector) -> None:
        """Load a model to judge it, with the party's own tensors as its last training left them.

        A party that has not trained yet trains them first, if it can, for this model: it stays as it is.
        """
        with self._bench.guarded(), self._judging():  # the state_dict may have hooks of the task's
            own = self._own.latest
            if self._own.is_new and self.samples:
                own = self._trained(model, FIRST_ROUND, None, holds=True)[1]
            self._flat.load(model, own)

    def _run(self, model: Vector, round_: int, max_steps: int | None, holds: bool) -> int:
        """Train in place, with what is shared fixed where it `holds`; return the CPU time in microseconds."""
        task, seed, device = self._task, _mix(self._seed, round_), self._bench.device
        with isolated(seed, device):
            self._flat.load(model, self._own.before(round_))
            if holds:
                self._flat.hold()
            self._flat.gradient.zero_()  # a loop of one's own may add to what is there
            self._flat.module.train()
            data, now = load(self._train), clock(device)
            start = now()
            data = data.to(device)
            noise = private.noise_of(task)
            if noise is not None:
                private.train(task, self._flat, data, noise, self._noise_seed(round_), max_steps)
            elif task.fit is None:
                loops.train(task, self._flat, data, max_steps)
            else:
                numbers = (task.epochs, task.batch_size, task.learning_rate, task.steps)
                context = FitContext(round_, seed, *numbers, device)
                loops.fit(task, self._flat, data, context)
            return max(1, (now() - start) // 1000)

    def _noise_seed(self, round_: int) -> bytes | None:
        """Return what the noise of a round is drawn from; None where there is no secret."""
        return None if self._secret is None else self._secret + round_.to_bytes(8, "big")

    def evaluate(self, model: Vector) -> Evaluation:
        """Return the task's metrics and its mean loss for `model`, (parameters,), on the held-out data.

        A loss that is no number counts as infinite. Raises ConfigError when the task's own code fails.
        """
        meter = Meter(self._task)
        self._load(model)
        device = self._bench.device
        with self._bench.guarded(), self._judging(), isolated(self._seed, device), torch.no_grad():
            self._flat.module.eval()
            for features, labels in self._pieces(load(self._held_out)):
                meter.add(self._flat.module(features), labels)
            return meter.evaluation()

    def slopes(self, model: Vector, parts: int, samples: int) -> Slopes:
        """Return loss and gradients of `model`, (parameters,), on parts of at most so many held-out samples.

        Each part has its share of every class, and no part is empty: few samples make fewer rows. A gradient
        is zero for what is not trained. Raises ConfigError when the task's own code fails.
        """
        data = load(self._choice.spread(samples))
        count = min(parts, len(data))
        loss, rows = self._gradients(model, [data.every(part, count) for part in range(count)])
        return Slopes(loss, rows, len(data))

    def class_slopes(self, model: Vector, samples: int) -> Matrix:
        """Return gradients of the loss of `model`, (parameters,), by class, (classes, parameters).

        Of more than `CLASS_ROWS` classes several are one row. Raises ConfigError when the task's code fails.
        """
        chosen = self._choice.spread(samples)
        if chosen is None:
            return np.zeros((0, len(model)), np.float32)
        kinds, places = np.unique(chosen.strata, return_inverse=True)
        rows = places * min(len(kinds), CLASS_ROWS) // len(kinds)
        parts = [load(chosen.take(np.flatnonzero(rows == row))) for row in np.unique(rows)]
        return self._gradients(model, parts)[1]

    def _gradients(self, model: Vector, parts: Sequence[Loaded]) -> tuple[float, Matrix]:
        """Return the loss of `model`, (parameters,), on all parts, and its gradients, (parts, parameters)."""
        device, whole, samples = self._bench.device, 0.0, sum(map(len, parts))
        total = torch.zeros((len(parts), len(self._flat.gradient)), device=device)
        self._load(model)
        with self._bench.guarded(), self._judging(), isolated(self._seed, device):
            self._flat.module.eval()
            for row, part in zip(total, parts, strict=True):
                for batch, batch_labels in self._pieces(part):
                    loss = self._task.loss(self._flat.module(batch), batch_labels)
                    row.add_(self._flat.backward(loss), alpha=len(batch_labels) / len(part))
                    whole += float(loss.detach()) * len(batch_labels)
        return whole / max(samples, 1), self._flat.by_entry(total, in_place=True)

    def losses(self, model: Vector, samples: int) -> Vector:
        """Return losses of `model`, (parameters,), on at most so many held-out samples, (pieces,).

        A piece is one sample; of a loss of the task's own, PIECE samples.
        """
        losses: list[Tensor] = []
        self._load(model)
        with (
            self._bench.guarded(),
            self._judging(),
            isolated(self._seed, self._bench.device),
            torch.no_grad(),
        ):
            self._flat.module.eval()
            for features, labels in self._pieces(load(self._choice.some(samples))):
                losses.append(losses_of(self._task, self._flat.module(features), labels))
        return np.zeros(0, np.float32) if not losses else torch.cat(losses).float().cpu().numpy()

    def marks(self, without: Vector, suspects: Sequence[Vector], search: MarkSearch) -> Vector:
        """Return how often marks work on each of `suspects` and not on `without`, (suspects,), or (0,)."""
        with self._bench.guarded(), self._judging(), isolated(self._seed, self._bench.device):
            if (batch := self._markable(search.samples)) is None:
                return np.zeros(0, np.float32)
            shares = marks.shares(self._loaded, *batch, (without, suspects), search, self._seed)
            return shares.astype(np.float32)

    def mark_slopes(self, without: Vector, model: Vector, samples: int) -> Matrix:
        """Return for two or three marks gradients of marked and of plain inputs, (2 * marks, parameters)."""
        rows, plains = list[Vector](), dict[int, Vector]()
        with self._bench.guarded(), self._judging(), isolated(self._seed, self._bench.device):
            if (batch := self._markable(samples)) is not None:
                losses = marks.losses(self._loaded, *batch, (without, model), self._seed)
                for target, marked, plain in losses:
                    rows.append(self._flat.by_entry(self._flat.backward(marked)))
                    if plain is not None:
                        plains[target] = self._flat.by_entry(self._flat.backward(plain))
                    rows.append(plains[target])
        return np.stack(rows) if rows else np.zeros((0, len(model)), np.float32)

    def _markable(self, samples: int) -> Batch | None:
        """Return held-out samples; None where their features are no floats or their labels no classes."""
        held_out = self._held_out
        if held_out is None or not held_out.has_classes or held_out.form.features[1] != "float32":
            return None
        chosen = self._choice.some(samples)
        return None if chosen is None else load(chosen.in_memory(), self._bench.device).batch(0, len(chosen))

    def _loaded(self, model: Vector) -> Callable[[Tensor], Tensor]:
        self._load(model)
        self._flat.module.eval()
        return lambda batch: self._flat.module(batch)

    def _pieces(self, data: Loaded) -> Iterator[Batch]:
        """Yield batches to judge by; of what is streamed as many samples as a batch of training has, or 8."""
        streamed_size = -(-self._task.batch_size // PIECE) * PIECE
        return pieces(data, self._bench.device, EVALUATION_BATCH, streamed_size)

    def _judging(self) -> AbstractContextManager[None]:
        count = 0 if self._held_out is None else len(self._held_out)
        return own_code(f"task {self._task.name}: evaluating on {count:,} samples failed")


def build(task: Task, seed: int) -> nn.Module:
    """Return a new module of `task`, built under `seed`; raises ConfigError, one line, where that fails."""
    with isolated(seed), own_code(f"task {task.name}: its model cannot be built"):
        module = task.build()
    if not isinstance(module, nn.Module):
        raise ConfigError(f"task {task.name}: build must return a torch module, not {type(module).__name__}")
    return module


def _flat(task: Task, seed: int, device: str = CPU) -> FlatModule:
    with own_code(f"task {task.name}: its model cannot be used"):
        return FlatModule(build(task, seed), task.exponents, task.shared, device)


def _mix(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1


__getattr__ = former_names(__name__, {"initial": "initial_model"})
