"""Training with noise: every sample's part is bounded, and the noise follows from a secret alone."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bcfl.errors import ConfigError
from bcfl.learning import Dataset, Samples, Task
from bcfl.learning.context import FitContext
from bcfl.learning.misfits import check_fit, check_model
from bcfl.learning.private import normal
from bcfl.learning.training import TorchLearner, initial_model
from bcfl.ports import Vector
from bcfl.protocol.gaussian import Stream
from tests.unit.learning.toy import CLASSES, FEATURES, linear, restless, samples_of, task_of

pytest.importorskip("opacus")
SECRET, OTHER = b"a" * 32, b"b" * 32
WHOLE = "level=sample,noise=1,clip=1,batch=30,epochs=1"  # one step of all 30 samples


def private(task: Task, text: str = WHOLE) -> Task:
    return task.with_agreement((("noise", text),))


def trained(
    task: Task, secret: bytes | None, samples: Samples | None = None, round_: int = 1
) -> tuple[Vector, Vector]:
    """Return the model before and after a training."""
    learner = TorchLearner(task, samples or samples_of(30), None, 3)
    if secret is not None:
        learner.blind(secret)
    model = initial_model(task, 1)
    return model, learner.train(model, round_).vector


def change(task: Task, secret: bytes | None, samples: Samples | None = None, round_: int = 1) -> Vector:
    model, vector = trained(task, secret, samples, round_)
    return vector - model


def gradients(task: Task, samples: Samples) -> list[Vector]:
    """Return the gradient of each sample by torch alone."""
    model, result = initial_model(task, 1), []
    for i in range(len(samples)):
        module = linear()
        weights = torch.tensor(model[:-CLASSES]).view(CLASSES, FEATURES)
        module.load_state_dict({"weight": weights, "bias": torch.tensor(model[-CLASSES:])})
        labels = torch.tensor(samples.labels[i : i + 1])
        task.loss(module(torch.tensor(samples.features[i : i + 1])), labels).backward()  # type: ignore[no-untyped-call]
        parts = [each.grad.numpy().ravel() for each in module.parameters() if each.grad is not None]
        result.append(np.concatenate(parts))
    return result


def test_without_a_secret_it_is_the_mean_of_shortened_gradients() -> None:
    task, samples = private(task_of(), WHOLE.replace("clip=1", "clip=2")), samples_of(30)
    each = gradients(task, samples)
    shortened = [g * min(1.0, 2 / float(np.linalg.norm(g))) for g in each]
    assert {bool(np.linalg.norm(g) > 2) for g in each} == {True, False}
    expected = -task.learning_rate * np.sum(shortened, axis=0) / 30
    assert np.allclose(change(task, None), expected, atol=1e-6)


def test_a_sample_changes_the_sum_by_the_clip_at_most() -> None:
    """Whatever it is: that is what the noise is measured by."""
    task, samples = private(task_of()), samples_of(30)
    features = samples.features.copy()
    features[7] = 1e6
    other = Samples(features, samples.labels)
    difference = np.linalg.norm(change(task, None, samples) - change(task, None, other))
    assert difference <= 2 * task.learning_rate / 30 + 1e-6


def test_the_noise_has_the_deviation_of_the_terms() -> None:
    def wide() -> nn.Module:
        return nn.Sequential(nn.Linear(FEATURES, 2000), nn.Linear(2000, CLASSES))

    task = private(replace(task_of(), build=wide), WHOLE.replace("noise=1,clip=1", "noise=3,clip=0.5"))
    noise = (change(task, SECRET) - change(task, None)) * 30 / task.learning_rate
    assert noise.std() == pytest.approx(1.5, rel=0.03)
    assert abs(noise.mean()) < 0.05


def test_training_again_comes_to_the_same_and_another_secret_to_something_else() -> None:
    task = private(task_of(), "level=sample,noise=1,clip=1,batch=8,epochs=2")
    first = change(task, SECRET)
    assert (first == change(task, SECRET)).all()
    assert np.linalg.norm(first - change(task, OTHER)) > 0.05
    assert np.linalg.norm(first - change(task, SECRET, round_=2)) > 0.05


def test_other_data_have_other_noise() -> None:
    """Else the difference of two updates would be that of the data alone."""
    task, samples = private(task_of()), samples_of(30)
    features = samples.features.copy()
    features[0, 0] += 1e-3
    difference = change(task, SECRET, samples) - change(task, SECRET, Samples(features, samples.labels))
    assert np.linalg.norm(difference) * 30 / task.learning_rate > 1  # of two noises, not of 1e-3


def test_another_learning_rate_has_other_noise_from_the_second_step_on() -> None:
    steps = "level=sample,noise=1,clip=1,batch=30,steps="
    task, faster = task_of(), replace(task_of(), learning_rate=0.2)
    one, two = (
        [change(private(each, steps + count), SECRET) / each.learning_rate for count in "12"]
        for each in (task, faster)
    )
    assert np.allclose(one[0], two[0], atol=1e-4)  # the same release twice
    assert np.linalg.norm((one[1] - one[0]) - (two[1] - two[0])) > 0.05


def test_the_run_seed_says_nothing_of_the_noise() -> None:
    task = private(task_of())
    model = initial_model(task, 1)
    vectors = []
    for secret in (SECRET, OTHER):
        learner = TorchLearner(task, samples_of(30), None, 3)  # the same seed
        learner.blind(secret)
        vectors.append(learner.train(model, 1).vector)
    noises = [vector - model - change(task, None) for vector in vectors]
    assert np.abs(np.corrcoef(noises)[0, 1]) < 0.7
    assert not np.allclose(noises[0], noises[1], atol=1e-3)


def test_a_task_brings_its_optimizer_and_its_loss() -> None:
    def squares(outputs: Tensor, labels: Tensor) -> Tensor:
        return (outputs - nn.functional.one_hot(labels, CLASSES)).square().mean()

    task = replace(
        task_of(loss=squares),
        metrics=None,
        optimizer=lambda each: torch.optim.SGD(each, lr=0.1),
        batch_size=30,
    )
    assert np.allclose(change(private(task), None), change(private(task_of(loss=squares)), None), atol=1e-6)


def test_a_loss_that_mixes_samples_is_taken_sample_by_sample() -> None:
    def contrast(outputs: Tensor, labels: Tensor) -> Tensor:
        return (outputs - outputs.mean(dim=0)).square().mean() + nn.functional.cross_entropy(outputs, labels)

    task, plain = private(task_of(loss=contrast)), private(task_of())
    assert np.allclose(change(task, None), change(plain, None), atol=1e-6)


def test_the_module_is_as_it_was_afterwards() -> None:
    task = private(task_of())
    learner = TorchLearner(task, samples_of(30), samples_of(20), 3)
    learner.train(initial_model(task, 1), 1)
    assert not any(hasattr(each, "grad_sample") for each in learner._flat.module.parameters())
    gradients_ = learner.slopes(initial_model(task, 1), 2, 20).gradients
    plain = TorchLearner(task_of(), samples_of(30), samples_of(20), 3)
    assert np.allclose(gradients_, plain.slopes(initial_model(task, 1), 2, 20).gradients)


def test_a_step_without_any_sample_is_noise_alone() -> None:
    task = private(task_of(), "level=sample,noise=1,clip=1,batch=1,steps=1")
    for round_ in range(1, 9):
        assert np.linalg.norm(change(task, SECRET, round_=round_)) > 0.05


def mixed() -> nn.Module:
    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(FEATURES, CLASSES)

        def forward(self, features: Tensor) -> Tensor:
            return self.layer(features - features.mean(dim=0))  # type: ignore[no-any-return]

    return Centred()


def counting() -> nn.Module:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(FEATURES, CLASSES)
            self.register_buffer("seen", torch.zeros(1))

        def forward(self, features: Tensor) -> Tensor:
            if self.training:
                self.get_buffer("seen").add_(features.sum())
            return self.layer(features)  # type: ignore[no-any-return]

    return Counting()


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (restless, "layer 1 is a BatchNorm1d.*GroupNorm"),
        (mixed, "depends on the others of a batch"),
        (counting, "buffers|without noise"),
    ],
)
def test_a_model_that_noise_does_not_hide_a_sample_in_is_refused(
    build: Callable[[], nn.Module], words: str
) -> None:
    task = private(replace(task_of(), build=build))
    with pytest.raises(ConfigError, match=words):
        check_fit(task, Dataset(samples_of(30), samples_of(20)))


def test_a_loop_of_ones_own_is_refused() -> None:
    def fit(module: nn.Module, data: object, context: FitContext) -> None:
        raise AssertionError((module, data, context))

    with pytest.raises(ConfigError, match="leave fit out"):
        check_model(private(replace(task_of(), fit=fit)))


def test_without_opacus_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opacus.grad_sample", None)
    with pytest.raises(ConfigError, match=r"pip install 'bcfl\[dp\]'"):
        change(private(task_of()), SECRET)


def test_noise_on_whole_updates_leaves_the_training_alone() -> None:
    task = task_of()
    hidden = task.with_agreement((("noise", "level=participant,noise=1,clip=1"),))
    assert (change(task, None) == change(hidden, SECRET)).all()


def test_normal_draws_are_normal() -> None:
    values = normal(Stream(b"normal"), 99_999)
    assert values.shape == (99_999,)
    assert abs(values.mean()) < 0.02
    assert values.var() == pytest.approx(1, abs=0.03)
    for place, share in ((1, 0.8413), (2, 0.9772), (3, 0.99865)):
        assert (values < place).mean() == pytest.approx(share, abs=0.005)
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.02
    assert math.isfinite(float(np.abs(values).max()))
