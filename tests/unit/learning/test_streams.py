"""A torch data set stays where it is: batches are read, drawn anew each time, the same for the same seed."""

from __future__ import annotations

import pickle
import random
import re
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Subset, TensorDataset

from bcfl.errors import ConfigError, DataError
from bcfl.learning import Dataset, Samples, Task, split
from bcfl.learning.accelerators import isolated
from bcfl.learning.datasets import MOST_ITEMS, NO_SAMPLES
from bcfl.learning.misfits import check_fit
from bcfl.learning.private import noise_of
from bcfl.learning.streams import CHUNK, StreamedSamples, samples_of
from bcfl.learning.training import TorchLearner, initial_model, miner_learner
from bcfl.ports import MarkSearch
from tests.integration.streamed_tasks import Pictures, own_loop, pictures


@pytest.fixture(autouse=True)
def counts() -> None:
    Pictures.alive = Pictures.most = 0
    Pictures.reads.clear()


def streamed(count: int = 60, **options: bool) -> StreamedSamples:
    samples = samples_of(Pictures(count, **options))
    assert isinstance(samples, StreamedSamples)
    return samples


@pytest.mark.parametrize("task", [pictures, own_loop, replace(pictures, accumulate=2)])
def test_no_more_than_a_step_is_held(task: Task) -> None:
    samples = samples_of(Pictures(200))
    check_fit(task, Dataset(samples, samples_of(Pictures(90, 1000))))
    learner = TorchLearner(task, samples, samples_of(Pictures(90, 1000)), seed=1)
    model = learner.train(initial_model(task, 0), 1).vector
    learner.evaluate(model)
    learner.slopes(model, 4, 50)
    learner.losses(model, 50)
    assert Pictures.alive == 0
    assert 0 < Pictures.most <= CHUNK


def test_memory_does_not_grow_with_the_set() -> None:
    """Of 2 MB items 100 are read, of which a batch is 2."""

    class Large(TorchDataset[Any]):
        def __init__(self, count: int) -> None:
            self.count = count

        def __len__(self) -> int:
            return self.count

        def __getitem__(self, index: int) -> tuple[Any, int]:
            return np.full(2**19, index % 2, np.float32), index % 2

    def peak(count: int) -> int:
        task = Task("large", "", lambda _: (Large(1), Large(1)), lambda: Mean(), epochs=1, batch_size=2)
        tracemalloc.start()
        learner = TorchLearner(task, samples_of(Large(count)), samples_of(Large(count)), seed=0)
        learner.evaluate(learner.train(initial_model(task, 0), 1).vector)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(100) < 1.1 * peak(32) < 200e6


class Mean(torch.nn.Module):
    """Two logits of an item's mean."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 2)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.layer(features.mean(dim=1, keepdim=True))
        return outputs


@pytest.mark.parametrize("task", [pictures, own_loop])
def test_each_seed_and_round_draws_its_own(task: Task) -> None:
    model = initial_model(task, 0)
    vectors = [
        TorchLearner(task, streamed(), None, seed).train(model, round_).vector
        for seed, round_ in ((1, 1), (1, 1), (2, 1), (1, 2))
    ]
    assert np.array_equal(vectors[0], vectors[1])
    assert not np.array_equal(vectors[0], vectors[2])
    assert not np.array_equal(vectors[0], vectors[3])


def test_each_epoch_draws_anew_and_sees_each_item_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    def loss(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(outputs, labels)

    original = torch.nn.Flatten.forward

    def forward(layer: torch.nn.Flatten, features: torch.Tensor) -> torch.Tensor:
        seen.append(features.clone())
        return original(layer, features)

    samples = streamed(16)
    monkeypatch.setattr(torch.nn.Flatten, "forward", forward)
    task = replace(pictures, loss=loss, batch_size=16)
    TorchLearner(task, samples, None, 0).rehearse(model := initial_model(task, 0))
    seen.clear()
    Pictures.reads.clear()
    learner = TorchLearner(task, samples, None, 0)
    learner._bench.is_warm = True
    learner.train(model, 1)
    assert Pictures.reads == dict.fromkeys(range(16), task.epochs)
    first, second = (epoch.reshape(16, -1).sort(dim=0).values for epoch in seen)
    assert not torch.allclose(first, second)


def test_what_is_not_random_is_learned_as_from_memory() -> None:
    samples = streamed(augments=False)
    memory = Samples.of(Pictures(60, augments=False))
    model = initial_model(pictures, 0)
    one, other = (TorchLearner(pictures, part, part, 3) for part in (samples, memory))
    vector = one.train(model, 1).vector
    assert np.allclose(vector, other.train(model, 1).vector, atol=1e-6)
    assert one.evaluate(vector).loss == pytest.approx(other.evaluate(vector).loss, rel=1e-5)
    assert np.allclose(one.losses(vector, 30), other.losses(vector, 30), atol=1e-5)
    slopes, expected = one.slopes(vector, 3, 31), other.slopes(vector, 3, 31)
    assert slopes.samples == expected.samples
    assert slopes.loss == pytest.approx(expected.loss, rel=1e-5)
    assert np.allclose(slopes.gradients, expected.gradients, atol=1e-5)
    suspects = [vector, model]
    search = MarkSearch(30, 2, wide=True)
    assert np.allclose(one.marks(model, suspects, search), other.marks(model, suspects, search), atol=1e-6)


def test_shares_are_as_of_samples_in_memory() -> None:
    stream, memory = (
        Dataset(part, part) for part in (streamed(augments=False), Samples.of(Pictures(60, augments=False)))
    )
    for partition in ("iid", "dirichlet", "pathological"):
        one, other = (split(data, 3, 2, partition, 0, alpha=1.0, classes=2) for data in (stream, memory))
        for mine, yours in zip((*one.devices, *one.miners), (*other.devices, *other.miners), strict=True):
            assert np.array_equal(mine.features, yours.features)
            assert np.array_equal(mine.labels, yours.labels)
        assert one.classes == other.classes == 3
        assert miner_learner(pictures, one, 0).samples == miner_learner(pictures, other, 0).samples


def test_other_labels_are_divided_by_their_means() -> None:
    items = [(np.zeros(2), np.full((2, 2), value / 7)) for value in range(40)]
    samples, memory = samples_of(items), Samples.of(items)
    assert isinstance(samples, StreamedSamples)
    assert not samples.has_classes
    assert np.array_equal(samples.strata, memory.strata)
    assert np.array_equal(samples.labels, memory.labels)
    assert samples.form == memory.form


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({41: (np.full(3, np.nan), 0)}, r"^features must be finite, and those of sample 41 are not$"),
        ({41: (np.zeros(3), -2)}, r"^labels must not be negative, and sample 41 has -2$"),
        (
            {41: (np.zeros(4), 0)},
            r"sample 41 is float32 of shape \(4,\) and .*, others are float32 of shape \(3,\)",
        ),
        ({41: (np.zeros(3, np.int64), 0)}, r"sample 41 is int64 of shape"),
        (
            {41: "abc"},
            r"^a list cannot be read: .*: it must be map-style|^a list cannot be read: .*; it must be map",
        ),
        ({41: (np.array(["a"] * 3), 0)}, r"features must be a numpy array of numbers"),
    ],
)
def test_an_odd_item_is_named(change: dict[int, Any], message: str) -> None:
    items: list[Any] = [(np.zeros(3), index % 2) for index in range(60)]
    for place, item in change.items():
        items[place] = item
    with pytest.raises(DataError, match=message) as error:
        samples_of(items)
    assert "\n" not in str(error.value)


def test_what_has_no_length_is_told() -> None:
    with pytest.raises(DataError, match="a generator cannot be read: it has no length"):
        samples_of(pair for pair in [(np.zeros(2), 0)])


@pytest.mark.parametrize(
    ("length", "message"),
    [
        (MOST_ITEMS + 1, "a Odd says that it has 1,073,741,825 items, and at most 1,073,741,824 are read"),
        (2**62, "a Odd says that it has 4,611,686,018,427,387,904 items"),
        (2**64, "a Odd cannot be read: .*cannot fit 'int'"),
        (-1, "a Odd cannot be read: .*should return >= 0"),
        (3.5, "a Odd cannot be read: .*'float' object cannot be interpreted as an integer"),
        ("7", "a Odd cannot be read: .*'str' object cannot be interpreted as an integer"),
        (None, "a Odd cannot be read: .*'NoneType' object cannot be interpreted as an integer"),
    ],
)
@pytest.mark.parametrize("read", [samples_of, Samples.of])
def test_a_length_that_nothing_has_is_told_before_an_item_is_read(
    length: object, message: str, read: Callable[[Any], Samples]
) -> None:
    class Odd:
        def __len__(self) -> Any:
            return length

        def __getitem__(self, index: int) -> Any:
            raise AssertionError(index)

    with pytest.raises(DataError, match=f"^{message}") as error:
        read(Odd())
    assert "\n" not in str(error.value)


def test_a_generator_of_its_own_is_refused() -> None:
    class Own(Pictures):
        rng = np.random.default_rng(0)

        def __getitem__(self, index: int) -> tuple[Any, int]:
            return self.rng.normal(size=4), 0

    with pytest.raises(
        DataError, match=r"^a Own draws from a generator of its own.*: draw from torch's, numpy's"
    ):
        samples_of(Own(20))


@pytest.mark.parametrize(
    ("lacks", "count"),
    [
        (lambda place: place == 17, "3 items where it is asked for 4"),
        (lambda place: place < 3, "13 items where it is asked for 16"),
    ],
)
def test_items_that_are_left_out_are_noticed(lacks: Any, count: str) -> None:
    """Else the samples behind them would have the labels of others, and be shared out by them."""

    class Lacking(Pictures):
        def __getitems__(self, places: list[int]) -> list[Any]:
            return [self[place] for place in places if not lacks(place)]

    with pytest.raises(DataError, match=rf"^a Lacking cannot be read: its __getitems__ returns {count}"):
        samples_of(Lacking(20))


def test_small_things() -> None:
    tensors = TensorDataset(torch.zeros(4, 2), torch.arange(4))
    assert type(samples_of(tensors)) is Samples
    whole = Samples.of(tensors)
    assert samples_of(whole) is whole
    assert samples_of([]) is NO_SAMPLES
    samples = samples_of(Subset(tensors, [3, 1]))  # has __getitems__
    assert samples.labels.tolist() == [3, 1]
    assert repr(samples) == "StreamedSamples(2 of a Subset)"
    assert len(samples.take(np.zeros(0, np.int64)).in_memory()) == 0


def test_no_pass_leaves_other_generators_behind() -> None:
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    streamed(20)
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])  # type: ignore[index]


def test_one_seed_is_that_of_all_generators() -> None:
    def draw() -> tuple[float, ...]:
        return np.random.random(), torch.rand(()).item(), random.random()

    with isolated(2**63 - 1):
        first = draw()
    between = draw()
    with isolated(2**63 - 1):
        again = draw()
    with isolated(1):
        other = draw()
    assert first == again
    assert all(len({*values}) == 3 for values in zip(first, between, other, strict=True))


def test_a_data_set_goes_to_workers_once_and_is_unpacked_when_it_is_read() -> None:
    samples = streamed()
    parts = [samples.take(np.arange(start, start + 20)) for start in (0, 20, 40)]
    data = pickle.dumps(parts)
    assert data.count(b"streamed_tasks") == 1
    copies = pickle.loads(data)
    assert np.array_equal(copies[1].features, parts[1].features)
    assert copies[1].source is copies[2].source
    assert len(pickle.loads(pickle.dumps(copies))) == 3

    class Local(Pictures):
        pass

    with pytest.raises(ConfigError, match=re.escape("a Local cannot be handed to worker processes: ")):
        pickle.dumps(samples_of(Local(20)))


def test_noise_hides_streamed_samples_too() -> None:
    """Two trainings by the same secret are one; what is drawn follows from it."""
    pytest.importorskip("opacus")
    noisy = replace(pictures, batch_size=16).with_agreement(
        (("noise", "level=sample,noise=1,clip=1,batch=16,steps=6"),)
    )
    assert noise_of(noisy) is not None
    model = initial_model(noisy, 0)

    def train(secret: bytes | None) -> Any:
        learner = TorchLearner(noisy, streamed(), None, 1)
        if secret is not None:
            learner.blind(secret)
        return learner.train(model, 1).vector

    assert np.array_equal(train(b"a" * 32), train(b"a" * 32))
    assert not np.array_equal(train(b"a" * 32), train(b"b" * 32))
    assert not np.array_equal(train(None), model)


def test_a_task_streams_a_pair_of_data_sets(tmp_path: Path) -> None:
    dataset = pictures.dataset(tmp_path)
    assert isinstance(dataset.train, StreamedSamples)
    assert isinstance(dataset.test, StreamedSamples)
    in_memory = replace(pictures, load=lambda _: Dataset(Samples.of(Pictures(9)), Samples.of(Pictures(9))))
    assert type(in_memory.dataset(tmp_path).train) is Samples
