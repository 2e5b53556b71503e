"""Choose the exponent of every tensor at genesis, so that its values and their changes fit the lanes.

A tensor's entries in the vector are its values times `2**-exponent`. Three rules, each where the one before
leaves 0:

1. What does not fit gets room: values 8 times, changes 4 times (twice in lanes of 8 bits), for both grow
   after the trial. A hundredth of a tensor's changes may saturate: they come with the next update.
2. A change of few steps of a lane is brought up to `FEW_STEPS`, no further: so the order of lengths stays. A
   tensor whose change is a thousandth of the largest is left alone, as it adds a millionth to what is learnt,
   and may be rounding noise, such as that of a bias before a BatchNorm.
3. What is not trained, such as BatchNorm's statistics, is no direction of training. It is made small
   in the vector, so that lengths and cosines are those of what is trained, as far as `FEW_STEPS` allow.

Where that is too coarse for some channels of a norm layer, each has an exponent (`bcfl.learning.channels`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bcfl.errors import ConfigError
from bcfl.learning import channels, variances
from bcfl.learning.channels import Statistics
from bcfl.learning.datasets import Samples
from bcfl.learning.flower.task import FlowerTask
from bcfl.learning.tasks import Task
from bcfl.learning.training import (
    FIXED_SEED,
    TorchLearner,
    build,
    initial_model,
    layout,
    trained_tensors,
)
from bcfl.ports import Vector
from bcfl.protocol.limits import MAX_EXPONENT, MODEL_BITS
from bcfl.protocol.types import Exponent, Layout

log = logging.getLogger(__name__)

VALUE_ROOM, LEAST_VALUE_ROOM = 8, 2  # times
CHANGE_ROOM = {8: 2, 16: 4, 32: 4}  # times, by bits of a lane
USUAL = 0.99  # of the changes of a tensor that are not 0 are counted
FEW_STEPS = 128  # of a lane; the square root of its range where that is less
NOISE = 2.0**-10  # of the largest change of all trained tensors
STATISTICS = 0.25  # of the trained tensors' length is that of all others together
CONSTANT = 2.0**-36  # of a mean's square: a variance of no more is float32's rounding
NOTHING = 2.0**-100  # above 0, for a variance that is not is taken for a step
MOST_CHANNELS = 2**12  # of a layer, with an exponent of their own: the header of every payload has them
TRIAL_SAMPLES, TRIAL_STEPS = 512, 128  # at most
MOST_GROWTH = 4.0  # of changes, from a trial to a whole training
TRIAL_WORK = 2**31  # parameters times samples: fewer steps of large models, 8 at least


@dataclass(frozen=True)
class Numbers:
    """The widths of the lanes."""

    lane_bits: int
    scale_bits: int
    shift: int

    @property
    def step(self) -> float:
        """Return what one step of an update's lane is worth."""
        return 2.0 ** (self.shift - self.scale_bits)

    @property
    def largest_change(self) -> float:
        """Return where an update's lane saturates."""
        return 2.0 ** (self.lane_bits - 1) * self.step

    @property
    def largest_value(self) -> float:
        """Return where a lane of the model saturates."""
        return 2.0 ** (MODEL_BITS - 1 - self.scale_bits)

    @property
    def few(self) -> float:
        """Return the change, in the vector's units, of which the steps are few."""
        return self.step * min(FEW_STEPS, math.isqrt(2 ** (self.lane_bits - 1)))


@dataclass(frozen=True)
class Extent:
    """How large a tensor is, and what a training changes of it; `change` is None where nobody trained."""

    value: float  # the largest
    change: float | None = None  # the largest but for a hundredth
    length: float = 0.0  # of the change
    is_trained: bool = True


@dataclass(frozen=True)
class Layer:
    """A layer's buffers of statistics, by name, and what two trials say of them."""

    variance: str
    mean: str | None  # None where there are none of that shape
    statistics: Statistics


def with_exponents(task: Task, numbers: Numbers, seed: int, share: Samples | None = None) -> Task:
    """Return the task with its exponents: its own where it states them, else chosen.

    `share` is what some device trains on, None where nobody has data: then the genesis values of `seed`
    decide alone, as they do where the trial fails.
    """
    if task.exponents is not None:
        return task
    extents = measure(task, seed, share)
    exponents = choose(extents, numbers)
    result: dict[str, Exponent] = dict(exponents)
    names = [name for name in exponents if variances.is_variance(name) and not extents[name].is_trained]
    if share is not None and len(share) > 1 and names:
        length = _share(extents, exponents)
        for layer in _layers(task, names, seed, share):
            result |= by_channel(layer, exponents, numbers, length)
            for words in lost(layer, result, numbers):
                log.warning("task %s: %s", task.name, words)
    return task.with_exponents({name: e for name, e in result.items() if e})


def by_channel(
    layer: Layer, exponents: dict[str, int], numbers: Numbers, length: float
) -> dict[str, Exponent]:
    """Return exponents of a layer's statistics, one a channel where one for all is too coarse.

    `length` is what the change of all variances, or all means, should be in the vector. Where a lane's range
    is so small that changes of it take many rounds, and where the header would be long, nothing changes.
    """
    statistics, step = layer.statistics, numbers.step
    count = len(statistics.variance)
    if numbers.largest_change < 2 * variances.BEGIN or count > MOST_CHANNELS:
        return {}
    place = min(variances.BEGIN, max(2 * numbers.few, length / math.sqrt(count)))
    name, mean = layer.variance, layer.mean
    chosen = {name: channels.of_variances(statistics, exponents[name], step, place)}
    if mean is not None:
        chosen[mean] = channels.of_means(statistics, exponents[mean], step, place)
    return chosen


def lost(layer: Layer, exponents: Mapping[str, Exponent], numbers: Numbers) -> list[str]:
    """Return in words which statistics of a layer are less than the steps of the lanes."""
    statistics, count = layer.statistics, len(layer.statistics.variance)
    mean = None if layer.mean is None else exponents[layer.mean]
    lost = channels.lost(statistics, exponents[layer.variance], mean, numbers.step)
    words = []
    if lost[0]:
        words.append(
            f"of {count:,} variances in {layer.variance} {lost[0]:,} are lost beside the largest, "
            f"{statistics.variance.max():.3g}: scale the inputs of this layer, alike at all parties, or do "
            "not share it"
        )
    if lost[1]:
        words.append(
            f"of {count:,} means in {layer.mean} {lost[1]:,} are so far from 0 that the lanes do not hold "
            "them to twice their deviation: centre the inputs of this layer, alike at all parties, or take "
            "wider lanes (--lane-bits 32)"
        )
    return words


def _layers(task: Task, names: list[str], seed: int, share: Samples) -> Iterator[Layer]:
    """Yield the layers whose variances have these names, as two trials have their statistics.

    The trials start from variances next to 0: what they leave is the data's alone. A BatchNorm has the mean
    of all batches: a feature that is rarely not 0 may have almost no variance in the last ones.
    """
    shape, model = layout(task), initial_model(task, seed).copy()
    begun: dict[str, npt.NDArray[np.floating]] = {}
    for name, values in _parts(shape, model):
        if name in names:
            begun[name] = np.where((values == 1) & (task.weights is None), 0.0, values)
            values[:] = NOTHING
    order = np.random.default_rng(0).permutation(len(share))[:TRIAL_SAMPLES]
    steps = None if task.steps is None else math.ceil(len(order) / 2 / task.batch_size / task.accumulate)
    trial = replace(task, build=partial(_averaging, task.build), epochs=1, steps=steps)
    results = [_try(trial, model, share.take(np.sort(half))) for half in (order[::2], order[1::2])]
    trials = [dict(_parts(shape, result[0])) for result in results if result is not None]
    if len(trials) < len(results):
        return
    parts = dict(build(task, FIXED_SEED).named_modules())
    for name in names:
        part = name.rpartition(".")[0]
        mean = f"{part}.running_mean".lstrip(".")
        squares = np.stack([trial[name] for trial in trials]).astype(np.float64)
        has_means = mean in trials[0] and len(trials[0][mean]) == squares.shape[1]
        means = np.stack([trial[mean] if has_means else 0 * trial[name] for trial in trials])
        squares[squares <= np.maximum(NOTHING, means**2 * CONSTANT)] = 0.0
        epsilon = float(getattr(parts.get(part), "eps", 0.0))
        statistics = Statistics(squares, means, begun[name], epsilon)
        yield Layer(name, mean if has_means else None, statistics)


def app_exponents(task: FlowerTask, numbers: Numbers, trained: Vector | None) -> dict[str, int]:
    """Return the exponents of a Flower app's arrays that are not 0.

    `trained` is what a training makes of the first model, (parameters,); None: the first model decides alone.
    """
    arrays, first = task.opening.arrays, task.first_model
    changes = None if trained is None else dict(_parts(task.layout, trained.astype(np.float64) - first))
    extents = {}
    for name, part in _parts(task.layout, first):
        value, is_trained = float(np.abs(part).max()), name in arrays.trained
        if changes is None or trained is None:
            extents[name] = Extent(value, is_trained=is_trained)
            continue
        change = changes[name]
        value = max(value, float(np.abs(part + change).max()))
        extents[name] = Extent(value, _usual(change), float(np.linalg.norm(change)), is_trained)
    return {name: exponent for name, exponent in choose(extents, numbers).items() if exponent}


def measure(task: Task, seed: int, share: Samples | None) -> dict[str, Extent]:
    """Return the extent of each tensor at genesis, and after a short trial of training."""
    shape, model = layout(task), initial_model(task, seed)
    trained = trained_tensors(task)
    values = {name: float(np.abs(part).max(initial=0.0)) for name, part in _parts(shape, model)}
    result = _try(task, model, share)
    if result is None:
        return {name: Extent(value, is_trained=name in trained) for name, value in values.items()}
    vector, growth = result
    changes = dict(_parts(shape, vector.astype(np.float64) - model))
    extents = {}
    for name, part in _parts(shape, vector):
        by = growth if name in trained else 1.0
        extents[name] = Extent(
            max(values[name], float(np.abs(part).max(initial=0.0))),
            by * _usual(changes[name]),
            by * float(np.linalg.norm(changes[name])),
            name in trained,
        )
    return extents


def choose(extents: dict[str, Extent], numbers: Numbers) -> dict[str, int]:
    """Return the exponent of every tensor."""
    trained = {name: extent for name, extent in extents.items() if extent.is_trained}
    largest = max((extent.change or 0.0 for extent in trained.values()), default=0.0)
    exponents = {name: _of_trained(extent, numbers, largest * NOISE) for name, extent in trained.items()}
    others = {name: extent for name, extent in extents.items() if not extent.is_trained}
    share = _share(extents, exponents)
    exponents |= {name: _of_statistics(extent, numbers, share) for name, extent in others.items()}
    return {name: max(-MAX_EXPONENT, min(MAX_EXPONENT, exponents[name])) for name in extents}


def _averaging(build: Callable[[], nn.Module]) -> nn.Module:
    """Return a new module whose BatchNorms take the mean of all batches, and not of the last ones."""
    module = build()
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.momentum = None
    return module


def _share(extents: dict[str, Extent], exponents: dict[str, int]) -> float:
    """Return how long the change of one tensor that is not trained is to be, in the vector's units."""
    trained = {name: extent for name, extent in extents.items() if extent.is_trained}
    length = math.hypot(*(extent.length * 2.0 ** -exponents[name] for name, extent in trained.items()))
    return STATISTICS * length / math.sqrt(max(1, len(extents) - len(trained)))


def _of_trained(extent: Extent, numbers: Numbers, noise: float) -> int:
    room = _with_room(extent, numbers)
    if not _fits(extent, numbers):
        return room
    if extent.change is None:  # all that is known are the values: do not lose them
        least = numbers.few / numbers.step * 2.0**-numbers.scale_bits
        return min(0, max(room, _ceil_log2(extent.value / least))) if extent.value else 0
    if extent.change <= noise or extent.change >= numbers.few:
        return 0
    return min(0, max(room, _floor_log2(extent.change / numbers.few)))


def _of_statistics(extent: Extent, numbers: Numbers, share: float) -> int:
    least = 0 if _fits(extent, numbers) else _with_room(extent, numbers)
    if not extent.change or not share:
        return least
    return max(least, min(_ceil_log2(extent.length / share), _floor_log2(extent.change / numbers.few)))


def _fits(extent: Extent, numbers: Numbers) -> bool:
    is_in_lanes = (extent.change or 0.0) <= numbers.largest_change
    return is_in_lanes and LEAST_VALUE_ROOM * extent.value <= numbers.largest_value


def _with_room(extent: Extent, numbers: Numbers) -> int:
    """Return the smallest exponent that leaves room for values and changes."""
    ratios = (
        VALUE_ROOM * extent.value / numbers.largest_value,
        CHANGE_ROOM[numbers.lane_bits] * (extent.change or 0.0) / numbers.largest_change,
    )
    return _ceil_log2(max(ratios))


def _ceil_log2(ratio: float) -> int:
    return math.ceil(math.log2(ratio)) if ratio > 0 else -MAX_EXPONENT


def _floor_log2(ratio: float) -> int:
    return math.floor(math.log2(ratio))


def _try(task: Task, model: Vector, share: Samples | None) -> tuple[Vector, float] | None:
    """Return the vector after a trial, (parameters,), and how much more a whole training may change.

    Changes are taken to grow with the root of the steps, up to 4 times. None where there are no samples, or
    training fails: who trains in earnest says why.
    """
    if share is None or not len(share):
        return None
    size = task.batch_size
    limit = min(TRIAL_STEPS, max(8, TRIAL_WORK // (len(model) * size)))
    count = min(len(share), TRIAL_SAMPLES, limit * size)
    sample = share.take(np.linspace(0, len(share) - 1, count).astype(np.int64))
    epoch = math.ceil(count / size)
    epochs = min(task.epochs, max(1, limit // epoch))
    steps = None if task.steps is None else min(task.steps, max(1, limit // task.accumulate))
    if task.steps is None or steps is None:
        times = task.epochs * math.ceil(len(share) / size) / (epochs * epoch)
    else:
        times = task.steps / steps
    try:
        trial = replace(task, epochs=epochs, steps=steps, exponents=None)
        vector = TorchLearner(trial, sample, None, seed=0).train(model, 0).vector
    except ConfigError:
        return None
    return vector, min(MOST_GROWTH, math.sqrt(max(1.0, times)))


def _usual(changes: npt.NDArray[np.floating]) -> float:
    """Return what all but a hundredth of the changes that are not 0 stay below; 0 where there are none."""
    sizes = np.abs(changes[changes != 0])
    return float(np.quantile(sizes, USUAL, method="higher")) if len(sizes) else 0.0


def _parts(shape: Layout, vector: npt.NDArray[np.floating]) -> Iterator[tuple[str, npt.NDArray[np.floating]]]:
    """Yield each tensor's name and entries, flat."""
    start = 0
    for tensor in shape.tensors:
        stop = start + math.prod(tensor.shape)
        yield tensor.name, vector[start:stop]
        start = stop
