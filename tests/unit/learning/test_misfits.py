"""Model, loss and data that do not fit are found before anything begins, and the sample is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn, tensor

from bcfl.errors import ConfigError
from bcfl.learning import BUILT_IN, Dataset, Samples, Task
from bcfl.learning.datasets import NO_SAMPLES
from bcfl.learning.misfits import check_fit, check_model
from tests.unit.learning.toy import CLASSES, FEATURES, linear, restless, samples_of, task_of

LAYER = linear()


def test_every_built_in_model_fits_its_data() -> None:
    for name in ("digits", "breast-cancer"):
        check_fit(BUILT_IN[name], BUILT_IN[name].dataset())
    check_fit(BUILT_IN["digits"].with_options(model="cnn"), BUILT_IN["digits"].dataset())


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            task_of(lambda: nn.Linear(FEATURES + 1, CLASSES)),
            r"do not fit: training sample 0 \(label 2\): RuntimeError: mat1",
        ),
        (task_of(lambda: nn.Linear(FEATURES, 1)), "model, loss and data do not fit: .*: IndexError"),
        (task_of(loss=lambda outputs, _labels: outputs), "do not fit: .*: (ValueError|RuntimeError): "),
        (task_of(lambda: 3), "build must return a torch module, not int"),  # type: ignore[arg-type,return-value]
        (task_of(lambda: nn.Linear(1 // 0, 1)), "its model cannot be built: ZeroDivisionError"),
        (task_of(nn.ReLU), "^task test: the model has nothing to train"),
        (task_of(lambda: nn.LazyLinear(CLASSES)), "^task test: the model has lazy layers"),
        (task_of(lambda: nn.Linear(FEATURES, CLASSES, device="meta")), "device meta"),
        (
            replace(task_of(), shared=lambda name, tensor: name == "weight" or bool(tensor[0] > 0)),
            "other tensors",
        ),
        (
            task_of(lambda: nn.Linear(FEATURES, CLASSES - 1)),
            "do not fit: .*: IndexError: Target 2 is out of bounds",
        ),
        (task_of(lambda: LAYER), "build must return a new module each time"),
        (task_of(lambda: nn.Sequential(LAYER)), "build must return a new module each time"),
    ],
)
def test_a_task_that_does_not_fit_is_one_line(task: Task, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        check_fit(task, task.dataset())
    assert "\n" not in str(error.value)


def check_data(train: Samples, test: Samples = NO_SAMPLES, **options: Any) -> str:
    """Return the one line with which data are refused."""
    task = replace(task_of(), **options)
    with pytest.raises(ConfigError) as error:
        check_fit(task, Dataset(train, test))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_sample_that_does_not_fit_is_found_among_all() -> None:
    good, bad = samples_of(2_500), samples_of(2_500)
    bad.labels[2_222] = 7
    place = "training sample 2222 (label 7): IndexError: Target 7 is out of bounds"
    assert place in check_data(bad)
    assert place.replace("training", "test") in check_data(good, bad)
    check_fit(task_of(), Dataset(good, good))


def test_labels_that_count_from_one_are_told_so() -> None:
    data = samples_of(60)
    assert check_data(Samples(data.features, data.labels + 1)).endswith(
        "labels count from 0, and these begin at 1"
    )
    assert "begin at" not in check_data(data, build=lambda: nn.Linear(FEATURES + 1, CLASSES))


def test_batches_too_small_for_the_model_are_found() -> None:
    alone = "training on 1 samples failed: ValueError: Expected more than 1 value per channel"
    assert alone in check_data(samples_of(1), build=restless)
    assert alone in check_data(samples_of(9), build=restless, batch_size=1)
    check_fit(task_of(restless), Dataset(samples_of(9)))  # batches of four and of five, not of one


def test_batches_of_one_are_taken() -> None:
    check_fit(replace(task_of(), batch_size=1), Dataset(samples_of(9), samples_of(3)))
    check_fit(task_of(), Dataset(samples_of(1), samples_of(1)))


def test_a_loss_that_spreads_its_target_is_found() -> None:
    def squares(outputs: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.mse_loss(outputs, labels.float())

    assert "UserWarning: Using a target size" in check_data(
        samples_of(9), build=lambda: nn.Linear(FEATURES, 1), loss=squares
    )


def test_a_model_is_checked_without_data_where_the_task_tells_its_shape() -> None:
    def squares(outputs: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.mse_loss(outputs, labels.float())

    task = replace(task_of(), shape=(FEATURES,), classes=CLASSES + 1)
    with pytest.raises(ConfigError, match=r"blank sample 3 \(label 3\): IndexError"):
        check_model(task)
    check_model(replace(task, classes=CLASSES))
    check_model(replace(task_of(), loss=squares))


def sum_of_squares(outputs: Tensor, labels: Tensor) -> Tensor:
    return ((outputs - labels[:, None]) ** 2).sum()


def spread_squares(outputs: Tensor, labels: Tensor) -> Tensor:
    return ((outputs - labels) ** 2).mean()


def test_a_loss_of_ones_own_that_spreads_outputs_is_found() -> None:
    small, large = samples_of(9), Samples(samples_of(9).features, samples_of(9).labels * 1000)
    for data in (small, large):
        line = check_data(data, build=lambda: nn.Linear(FEATURES, 1), loss=spread_squares)
        assert "the loss spreads outputs (8, 1) and labels (8,) over one another: give both one shape" in line
    fitting = replace(
        task_of(lambda: nn.Linear(FEATURES, 1)), loss=lambda o, y: spread_squares(o.squeeze(1), y)
    )
    check_fit(fitting, Dataset(samples_of(9)))
    check_fit(replace(fitting, build=lambda: nn.Sequential(nn.Linear(FEATURES, 1), nn.Flatten(0)),
                      loss=spread_squares), Dataset(samples_of(9)))  # fmt: skip


@pytest.mark.parametrize(
    "reduce", [Tensor.sum, lambda each: each.mean().sqrt(), lambda each: each.mean().log1p()]
)
def test_a_loss_that_spreads_outputs_is_found_however_it_sums_up(reduce: Callable[[Tensor], Tensor]) -> None:
    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        return reduce((outputs - labels).square())

    assert "over one another" in check_data(samples_of(9), build=lambda: nn.Linear(FEATURES, 1), loss=loss)


def ranking(outputs: Tensor, labels: Tensor) -> Tensor:
    """Compare each output with each, (n, n), as their labels compare."""
    signs = (labels[:, None] - labels[None, :]).sign()
    return nn.functional.softplus(-(outputs - outputs.T) * signs).mean()


def energy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return how far the outputs' distribution is from that of the labels, in whatever order they are."""
    labels = labels.float()
    apart, own = (outputs - labels).abs().mean(), (outputs - outputs.T).abs().mean()
    return 2 * apart - own - (labels[:, None] - labels).abs().mean()


def every_pair(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs.reshape(-1, 1) - labels.reshape(1, -1)).square().mean()


def concordance(outputs: Tensor, labels: Tensor) -> Tensor:
    outputs, labels = outputs.flatten(), labels.float()
    moments = outputs.var() + labels.var() + (outputs.mean() - labels.mean()).square()
    return 1 - 2 * ((outputs - outputs.mean()) * (labels - labels.mean())).mean() / moments


@pytest.mark.parametrize(
    "loss",
    [
        ranking,
        energy,
        every_pair,
        concordance,
        lambda o, y: (o[:, 0] - y).square().mean(),
        lambda o, y: (o.mean(-1) - y).square().mean(),
        lambda o, y: (o - y[:, None]).square().sum(),
        lambda o, _: o.square().mean(),
    ],
)
def test_a_loss_that_compares_samples_on_purpose_is_taken(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    data = Samples(samples_of(40).features, samples_of(40).features[:, 0])
    task = replace(task_of(loss=loss), learning_rate=1e-3)
    for build in (lambda: nn.Linear(FEATURES, 1), lambda: nn.Sequential(nn.Linear(FEATURES, 1), nn.ReLU())):
        check_fit(replace(task, build=build), Dataset(data))
    check_fit(replace(task, build=lambda: nn.Linear(FEATURES, 1)), Dataset(samples_of(40)))


def test_a_loss_that_is_no_mean_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    def weighted(outputs: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, labels, weight=tensor([1.0, 5.0, 20.0]))

    for loss in (weighted, lambda o, y: nn.functional.mse_loss(o.mean(1), y.float())):
        check_fit(task_of(loss=loss), Dataset(samples_of(40)))
    check_fit(task_of(restless), Dataset(samples_of(40)))
    assert caplog.messages == []
    check_fit(task_of(loss=sum_of_squares), Dataset(samples_of(40)))
    assert len(caplog.messages) == 1
    assert "task test: its loss is no mean over the batch: " in caplog.text


@pytest.mark.parametrize(
    "build", [lambda: nn.Linear(FEATURES, 1), lambda: nn.Sequential(nn.Linear(FEATURES, 1), nn.Flatten(0))]
)
@pytest.mark.parametrize("axes", [1, 2])
def test_cross_entropy_of_one_output_is_refused(build: Callable[[], nn.Module], axes: int) -> None:
    data = samples_of(9)
    labels = data.labels.astype(np.float32)
    line = check_data(Samples(data.features, labels if axes == 1 else labels[:, None]), build=build)
    assert "cross-entropy of one output is always 0: for numbers to predict state loss=" in line
