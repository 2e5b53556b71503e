"""What models, samples and seeds could do to tell of a sample that noise hides, and cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bcfl.errors import ConfigError
from bcfl.learning import Dataset, Samples, Task, private
from bcfl.learning.misfits import check_fit
from bcfl.learning.training import TorchLearner, initial_model
from bcfl.ports import Vector
from tests.unit.learning.toy import CLASSES, FEATURES, linear, samples_of, task_of

pytest.importorskip("opacus")
WHOLE = "level=sample,noise=1,clip=0.1,batch=30,epochs=1"  # one step of all 30 samples
SECRET, OTHER = b"a" * 32, b"b" * 32


class Layered(nn.Module):
    """A linear model whose way from features to scores is a function of the layer and the features."""

    def __init__(self, way: Callable[[Layered, Tensor], Tensor], width: int = FEATURES) -> None:
        super().__init__()
        self.layer, self.way = nn.Linear(width, CLASSES), way

    def forward(self, features: Tensor) -> Tensor:
        return self.way(self, features)


def folded(module: Layered, features: Tensor) -> Tensor:
    """Give two rows a sample to the layer: each row would be bounded, and a sample by twice the clip."""
    return module.layer(features.reshape(2 * len(features), -1)).reshape(len(features), 2, -1).mean(1)  # type: ignore[no-any-return]


def turned(module: Layered, features: Tensor) -> Tensor:
    """Give the rows to the layer in another order: a row would be the gradient of another sample."""
    return module.layer(features.flip(0)).flip(0)  # type: ignore[no-any-return]


def centred_in_training(module: Layered, features: Tensor) -> Tensor:
    """Mix samples in training alone, as BatchNorm does: one changes the gradients of all."""
    return module.layer(features - features.mean(dim=0) if module.training else features)  # type: ignore[no-any-return]


def plain(module: Layered, features: Tensor) -> Tensor:
    return module.layer(nn.functional.dropout(features, 0.5, module.training))  # type: ignore[no-any-return]


def task_with(build: Callable[[], nn.Module], text: str = WHOLE) -> Task:
    return replace(task_of(), build=build).with_agreement((("noise", text),))


def change(task: Task, secret: bytes | None, samples: Samples, model: Vector | None = None) -> Vector:
    learner = TorchLearner(task, samples, None, 3)
    if secret is not None:
        learner.blind(secret)
    before = initial_model(task, 1) if model is None else model
    return learner.train(before, 1).vector - before


@pytest.mark.parametrize(
    ("way", "width", "words"),
    [
        (folded, FEATURES // 2, "8 gradients for 4 samples"),
        (turned, FEATURES, "not the sample's own"),
        (centred_in_training, FEATURES, "depends on the others of a batch"),
    ],
)
def test_a_model_in_which_a_row_is_not_a_sample_is_refused(
    way: Callable[[Layered, Tensor], Tensor], width: int, words: str
) -> None:
    task = task_with(lambda: Layered(way, width))
    with pytest.raises(ConfigError, match=words):
        check_fit(task, Dataset(samples_of(30), samples_of(20)))


def test_rows_that_are_no_samples_are_refused_in_training_too() -> None:
    task = task_with(lambda: Layered(folded, FEATURES // 2))
    with pytest.raises(ConfigError, match="60 gradients for 30 samples"):
        change(task, SECRET, samples_of(30))


def test_layers_that_are_shared_used_twice_or_scaled_are_still_taken() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, FEATURES)
            self.second.weight = self.first.weight
            self.last = nn.Linear(FEATURES, CLASSES)

        def forward(self, features: Tensor) -> Tensor:
            hidden = torch.tanh(self.second(torch.tanh(self.first(features))))
            return self.last(hidden)  # type: ignore[no-any-return]

    class Scaled(Layered):
        def __init__(self) -> None:
            super().__init__(lambda module, features: module.layer(features) * module.scale)
            self.scale = nn.Parameter(torch.tensor(1.0))

    def twice(module: Layered, features: Tensor) -> Tensor:
        again = torch.tanh(module.layer(features))
        return module.layer(torch.cat([again, again], dim=1))  # type: ignore[no-any-return]

    for build in (Tied, Scaled, lambda: Layered(twice), lambda: Layered(plain)):
        check_fit(task_with(build), Dataset(samples_of(30), samples_of(20)))


def test_masks_of_dropout_are_nobodys_to_know() -> None:
    """Known masks move with each sample in front: who knows the seed tells a sample by all after it."""
    masks: list[Tensor] = []

    def masked(module: Layered, features: Tensor) -> Tensor:
        masks.append(torch.rand(len(features)))
        return module.layer(features)  # type: ignore[no-any-return]

    task, drawn = task_with(lambda: Layered(masked)), []
    for secret in (SECRET, SECRET, OTHER, None, None):
        change(task, secret, samples_of(30))
        drawn.append(masks[-1])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[3])
    assert torch.equal(drawn[3], drawn[4])  # a miner's, of which nothing leaves it


def test_a_sample_whose_gradient_is_no_number_does_not_stop_a_device() -> None:
    """Else a model that makes one sample's gradient no number would tell by silence that it is there."""
    task, samples = task_with(linear, WHOLE.replace("clip=0.1", "clip=100")), samples_of(30)
    model = initial_model(task, 1)
    model[0] = 1e30  # by which a sample's first feature counts: that of one sample alone is large
    features = samples.features.copy()
    features[7, 0] = 1e30
    hostile = change(task, None, Samples(features, samples.labels), model)
    rest = samples.take(np.delete(np.arange(30), 7))
    fewer = task_with(linear, WHOLE.replace("clip=0.1,batch=30", "clip=100,batch=29"))
    assert np.allclose(hostile, change(fewer, None, rest, model) * 29 / 30, atol=1e-6)
    assert np.isfinite(change(task, SECRET, Samples(features, samples.labels), model)).all()


def test_gradients_in_parts_are_those_of_a_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    task, samples = task_with(linear), samples_of(30)
    whole = change(task, None, samples)
    monkeypatch.setattr(private, "MOST_ENTRIES", 7 * len(whole))
    assert np.allclose(change(task, None, samples), whole, atol=1e-6)


def test_the_order_of_samples_and_of_labels_draws_other_noise() -> None:
    """One gradient of two sets of data would show the difference of noises, not of data, if they differ."""
    task, samples = task_with(linear), samples_of(30)
    turned_ = Samples(samples.features[::-1].copy(), samples.labels[::-1].copy())
    difference = change(task, SECRET, samples) - change(task, SECRET, turned_)
    assert np.linalg.norm(difference) * 30 / task.learning_rate > 0.1  # of two noises of 0.1 on 21 values
