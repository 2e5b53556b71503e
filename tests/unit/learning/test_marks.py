"""Losses by sample and marks: what a miner looks at where a round has few updates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bcfl.adversaries.backdoor import stamp
from bcfl.learning import Samples, Task, split
from bcfl.learning.marks import _scores
from bcfl.learning.meter import PIECE
from bcfl.learning.tasks import BUILT_IN, cross_entropy
from bcfl.learning.training import TorchLearner, initial_model
from bcfl.ports import MarkSearch
from bcfl.roles.checks import mark, mark_slope
from tests.unit.learning.toy import CLASSES, FEATURES, samples_of, task_of


def held_out(task: Task, samples: Samples) -> TorchLearner:
    return TorchLearner(task, None, samples, 3)


@pytest.mark.parametrize("count", [20, 17, 1])
def test_the_mean_of_the_losses_is_the_loss(count: int) -> None:
    task, samples = task_of(), samples_of(count, seed=1)
    model = initial_model(task, 1)
    learner = held_out(task, samples)
    losses = learner.losses(model, 100)
    assert losses.shape == (count,)
    assert losses.mean() == pytest.approx(learner.evaluate(model).loss, rel=1e-5)
    own = replace(task, loss=lambda outputs, labels: cross_entropy(outputs, labels) + 0.0)
    pieces = held_out(own, samples).losses(model, 100)
    assert len(pieces) == -(-count // PIECE)
    assert pieces[0] == pytest.approx(losses[:PIECE].mean(), rel=1e-5)


def test_a_part_of_the_samples_has_every_class_and_is_the_same_each_time() -> None:
    task = task_of()
    labels = np.repeat(np.arange(CLASSES), [80, 10, 10]).astype(np.int64)
    samples = Samples(np.tile(np.arange(100, dtype=np.float32)[:, None], FEATURES), labels)
    learner, model = held_out(task, samples), initial_model(task, 1)
    once = learner.losses(model, 20)
    assert once.shape == (20,)
    assert np.array_equal(learner.losses(model, 20), once)
    every = set(np.round(learner.losses(model, 100), 4).tolist())
    assert set(np.round(once, 4).tolist()) <= every
    assert learner.losses(model, 20).std() > 0
    assert TorchLearner(task, samples, None, 3).losses(model, 20).shape == (0,)


@pytest.mark.parametrize("place", ["edge", "middle"])
def test_a_backdoor_is_found_wherever_its_trigger_is_and_honest_training_is_none(place: str) -> None:
    """Also in the corner of a picture, where no held-out sample has anything but 0."""
    task = BUILT_IN["digits"].with_options(epochs=20)
    shares = split(task.dataset(), 3, 1, "dirichlet", 4, alpha=1.0)
    data, miner = shares.devices[0], held_out(task, shares.miners[0])
    poisoned = data.features.copy()
    half = slice(0, len(data) // 2)
    if place == "edge":
        poisoned[half] = stamp(poisoned[half], 2, 2.0)
    else:
        poisoned[half, :, 3:5, 3] = -2.0
    labels = data.labels.copy()
    labels[half] = 7
    model = initial_model(task, 0)
    honest = [
        TorchLearner(task, device, None, i).train(model, 1).vector for i, device in enumerate(shares.devices)
    ]
    median = np.median(honest, axis=0)
    bad = TorchLearner(task, Samples(poisoned, labels), None, 9).train(model, 1).vector
    found = miner.marks(median, [bad, median], MarkSearch(400))
    assert found.shape == (2,)
    assert found[0] > (0.6 if place == "edge" else 0.4)
    assert found[1] <= 0.0
    for vector in honest:
        assert miner.marks(median, [vector], MarkSearch(400, 3))[0] < 0.4


@pytest.mark.parametrize("is_normed", [False, True])
def test_a_norm_layer_on_inputs_that_hardly_change_makes_any_mark_work(is_normed: bool) -> None:
    """An input that is mostly 0 is divided by next to nothing: a tenth of its range moves every answer."""
    task = BUILT_IN["digits"].with_options(epochs=5)
    task = replace(task, build=normed) if is_normed else task
    shares = split(task.dataset(), 3, 1, "iid", 4)
    vector = TorchLearner(task, shares.devices[0], None, 9).train(initial_model(task, 0), 1).vector
    moved = held_out(task, shares.miners[0]).marks(vector, [vector], MarkSearch(400, random=True))
    assert moved.shape == (1,)
    assert (moved[0] > mark.FRAGILE) == is_normed
    assert moved[0] > mark.FRAGILE or moved[0] < mark.FRAGILE / 2


def normed() -> nn.Module:
    """Build a model that divides each input by what it found to be the input's deviation."""
    layers = nn.BatchNorm1d(64), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)
    return nn.Sequential(nn.Flatten(), *layers)


def pictures(count: int, kinds: int, seed: int) -> Samples:
    """Return made-up pictures of 20 x 20, of some of ten kinds."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(10, kinds, replace=False)[rng.integers(0, kinds, count)]
    centres = np.random.default_rng(0).normal(0, 1, (10, 1, 20, 20))
    features = centres[labels] + rng.normal(0, 2, (count, 1, 20, 20))
    return Samples(features.astype(np.float32), labels.astype(np.int64))


@pytest.mark.parametrize(
    ("bad", "kinds", "size"),
    [(1, 10, 2), (3, 10, 2), (3, 4, 2), (9, 10, 2), (3, 10, 6), (0, 10, 0), (0, 2, 0)],
)
def test_who_brings_a_backdoor_goes_its_way_among_many(bad: int, kinds: int, size: int) -> None:
    """Some of 30 put a patch on a part of their data; honest updates go nowhere near as far."""
    task = task_of(lambda: nn.Sequential(nn.Flatten(), nn.Linear(400, 10))).with_options(epochs=3)
    model = initial_model(task, 0)
    vectors = []
    for index in range(30):
        data = pictures(120, kinds, index + 1)
        features, labels = data.features.copy(), data.labels.copy()
        if index < bad:
            features[:40], labels[:40] = stamp(features[:40], size, 6.0), 7
        vectors.append(TorchLearner(task, Samples(features, labels), None, index).train(model, 1).vector)
    updates = np.stack(vectors) - model
    mean, median = updates.mean(axis=0), np.median(updates, axis=0)
    miner = held_out(task, pictures(400, 10, 99))
    slopes = miner.mark_slopes(model + median, model + mean, 400)
    assert slopes.shape == (6, len(model))

    def works(accused: np.ndarray, turned: int) -> float:
        without, suspect = np.median(updates[~accused], axis=0), updates[accused].mean(axis=0)
        return float(
            miner.marks(model + without, [model + suspect], MarkSearch(400, turned=turned, wide=True))[0]
        )

    def brings(accused: np.ndarray) -> float:
        without, suspect = np.median(updates[~accused], axis=0), updates[accused].mean(axis=0)
        models = model + without, [model + without + suspect]
        return float(miner.marks(*models, MarkSearch(400, known=False, wide=True))[0])

    norms, everybody = np.linalg.norm(updates, axis=1), np.ones(len(updates), bool)
    scores = mark_slope.check(updates, norms, slopes, everybody, works, brings, ~everybody, is_first=size < 6)
    assert np.flatnonzero(~scores.passed).tolist() == list(range(bad))


def test_a_large_patch_that_asks_little_of_each_input_is_found_where_large_marks_are_tried() -> None:
    """Not for few updates: what sets a tenth of all inputs tells honest devices of skewed data apart, too."""
    task = task_of(lambda: nn.Sequential(nn.Flatten(), nn.Linear(400, 10))).with_options(epochs=3)
    without = TorchLearner(task, pictures(600, 10, 1), None, 0).train(initial_model(task, 0), 1).vector
    patch = np.zeros((10, 20, 20), np.float32)
    patch[7, -6:, -6:] = 0.14
    suspect = without + np.append(patch.ravel(), np.zeros(10, np.float32))
    miner = held_out(task, pictures(400, 10, 99))
    small, large = (miner.marks(without, [suspect], MarkSearch(400, wide=wide))[0] for wide in (False, True))
    assert small < 0.3
    assert large > 0.9
    slopes = miner.mark_slopes(without, suspect, 400)
    by_small, by_large, _ = (slopes[1::2] - slopes[::2]) @ (suspect - without)  # plain less marked
    assert min(by_small, by_large) > 0


def test_of_few_inputs_there_is_no_large_mark() -> None:
    """Of the 64 of digits it would be seven: that works on honest models of few samples."""
    task, (held, others) = BUILT_IN["digits"], np.split(np.arange(200), 2)
    data = task.dataset().train
    miner = held_out(task, data.take(held))
    without, suspect = (
        TorchLearner(task, data.take(some), None, 1).train(initial_model(task, 0), 1).vector
        for some in (others, others[:20])
    )
    assert miner.mark_slopes(without, suspect, 100).shape[0] == 4
    small, wide = (miner.marks(without, [suspect], MarkSearch(100, wide=wide)) for wide in (False, True))
    assert np.array_equal(small, wide)
    assert miner.marks(without, [suspect], MarkSearch(100, wide=True, needs_wide=True)).shape == (0,)


def test_of_which_classes_a_share_is() -> None:
    labels = np.arange(10).repeat(10)
    members = labels == np.arange(10)[:, None]

    def score(turned: np.ndarray, right: np.ndarray, classes: int) -> float:
        (found,) = _scores(turned[None].astype(float), right, members, np.arange(10)[None] != 7, classes)
        return found

    assert [score(labels < 3, labels >= 0, classes) for classes in (0, 3, 6)] == [0.0, 1.0, 0.5]
    assert score(labels == 4, labels > 3, 3) == pytest.approx(1 / 3), "of five that are known"
    assert score(labels == 4, labels > 3, 6) == 0.0, "nobody knows six"
    assert score(labels == 4, labels > 6, 0) == 0.0, "too few are known"


class Blind(nn.Module):
    """A model through which no gradient comes back to the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(FEATURES, CLASSES)

    def forward(self, features: Tensor) -> Tensor:
        outputs: Tensor = self.layer(features.detach())
        return outputs


class Careless(Blind):
    """A model that changes its inputs in place."""

    def forward(self, features: Tensor) -> Tensor:
        features -= 1
        outputs: Tensor = self.layer(features)
        return outputs


def test_what_cannot_be_marked_has_no_marks() -> None:
    """Token ids, labels that are no classes, outputs that are no logits, no gradient: none of it fails."""
    samples = samples_of(30, seed=1)
    model = initial_model(task_of(), 1)
    pair = np.stack([model + np.float32(0.1)])
    words = Samples(samples.features.round().astype(np.int64), samples.labels)
    numbers = Samples(samples.features, samples.features[:, :1])
    for blind in (words, numbers):
        assert held_out(task_of(), blind).marks(model, [*pair], MarkSearch(20)).shape == (0,)
        assert held_out(task_of(), blind).mark_slopes(model, pair[0], 20).shape == (0, len(model))
    assert TorchLearner(task_of(), samples, None, 3).marks(model, [*pair], MarkSearch(20)).shape == (0,)
    assert held_out(task_of(Blind), samples).marks(model, [*pair], MarkSearch(20)).shape == (0,)
    assert held_out(task_of(Blind), samples).mark_slopes(model, pair[0], 20).shape == (0, len(model))
    narrow = task_of(lambda: nn.Linear(FEATURES, 1))
    assert held_out(narrow, samples).marks(
        initial_model(narrow, 1), [initial_model(narrow, 1)], MarkSearch(20)
    ).shape == (0,)
    assert held_out(task_of(Careless), samples).marks(model, [*pair], MarkSearch(20)).shape == (1,)
    state = torch.get_rng_state()
    held_out(task_of(), samples).marks(model, [*pair], MarkSearch(20))
    assert held_out(task_of(), samples).mark_slopes(model, pair[0], 20).shape == (4, len(model))
    assert torch.equal(torch.get_rng_state(), state)
