"""Metrics: what comes with bcfl agrees with scikit-learn, one's own is asked, nothing else is accuracy."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn import metrics as reference  # type: ignore[import-untyped]
from torch import Tensor, nn

from bcfl.cli.output.printing import metric_text
from bcfl.errors import ConfigError
from bcfl.learning import Dataset, Samples, Task
from bcfl.learning.metrics import BUILT_IN, Mean, chosen
from bcfl.learning.misfits import check_fit
from bcfl.learning.training import TorchLearner, initial_model
from bcfl.ports import Evaluation

DRAWS = np.random.default_rng(0)
SAMPLES = 2500  # more than one batch of an evaluation


def evaluation(outputs: np.ndarray, labels: np.ndarray, **options: object) -> Evaluation:
    """Evaluate a model that repeats its features."""
    samples = Samples(outputs, labels)
    task = Task("t", "", lambda _: Dataset(samples, samples), identity, loss=no_loss, **options)  # type: ignore[arg-type]
    return TorchLearner(task, None, samples, 0).evaluate(initial_model(task, 0))


def identity() -> nn.Module:
    module = nn.Module()
    module.register_parameter("unused", nn.Parameter(torch.zeros(1)))
    module.forward = lambda features: features
    return module


def no_loss(outputs: Tensor, _labels: Tensor) -> Tensor:
    return outputs.double().sum() * 0 + 2


def softmax(outputs: np.ndarray) -> np.ndarray:
    shares = np.exp(outputs - outputs.max(1, keepdims=True))
    return np.asarray(shares / shares.sum(1, keepdims=True))


def test_several_classes() -> None:
    labels = DRAWS.integers(0, 4, SAMPLES)
    outputs = DRAWS.normal(size=(SAMPLES, 4))
    outputs[np.arange(SAMPLES), labels] += 1
    outputs = outputs.astype(np.float32)
    answers = outputs.argmax(1)
    found = evaluation(outputs, labels, metrics=("accuracy", "balanced accuracy", "f1", "auc")).metrics
    assert found == {
        "accuracy": pytest.approx(reference.accuracy_score(labels, answers)),
        "balanced accuracy": pytest.approx(reference.balanced_accuracy_score(labels, answers)),
        "f1": pytest.approx(reference.f1_score(labels, answers, average="macro")),
        "auc": pytest.approx(reference.roc_auc_score(labels, softmax(outputs), multi_class="ovr"), abs=1e-6),
    }
    assert list(found) == ["accuracy", "balanced accuracy", "f1", "auc"]


@pytest.mark.parametrize("shape", [(SAMPLES, 1), (SAMPLES,), (SAMPLES, 2)])
def test_two_classes(shape: tuple[int, ...]) -> None:
    """One logit says yes above 0; two are classes."""
    labels = (DRAWS.random(SAMPLES) < 0.2).astype(np.int64)
    logits = (DRAWS.normal(size=SAMPLES) + 2 * labels - 1).astype(np.float32)
    outputs = np.stack([-logits / 2, logits / 2], 1) if shape[1:] == (2,) else logits.reshape(shape)
    found = evaluation(outputs, labels, metrics=("accuracy", "balanced accuracy", "f1", "auc")).metrics
    answers = logits > 0
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(labels, answers))
    assert found["balanced accuracy"] == pytest.approx(reference.balanced_accuracy_score(labels, answers))
    assert found["f1"] == pytest.approx(reference.f1_score(labels, answers))
    assert found["auc"] == pytest.approx(reference.roc_auc_score(labels, logits))


def test_several_labels_a_sample_regression_and_tokens() -> None:
    truth = (DRAWS.random((60, 3)) < 0.5).astype(np.float32)
    logits = DRAWS.normal(size=(60, 3)).astype(np.float32)
    share = float(((logits > 0) == truth).mean())
    assert evaluation(logits, truth, metrics=["accuracy"]).accuracy == pytest.approx(share)
    numbers = DRAWS.normal(size=60)
    found = evaluation(logits[:, :1], numbers, metrics=["mae"]).metrics["mae"]
    assert found == pytest.approx(reference.mean_absolute_error(numbers, logits[:, 0]), rel=1e-5)
    tokens = DRAWS.integers(0, 5, (60, 7))
    scores = DRAWS.normal(size=(60, 7, 5)).astype(np.float32)
    right = float((scores.argmax(2) == tokens).mean())
    for outputs in (scores, scores.transpose(0, 2, 1)):
        found_now = evaluation(outputs, tokens, metrics=["accuracy", "perplexity"]).metrics
        assert found_now == {"accuracy": pytest.approx(right), "perplexity": pytest.approx(math.exp(2))}


def test_own_metrics_see_all_outputs_at_once() -> None:
    numbers = np.arange(SAMPLES, dtype=np.float32).reshape(-1, 1)

    def largest(outputs: Tensor, labels: Tensor) -> Tensor:
        assert len(outputs) == len(labels) == SAMPLES
        return outputs.max()

    spread = Mean(lambda outputs, labels: (outputs.squeeze(1) - labels).square().mean(), math.sqrt)
    found = evaluation(numbers, numbers[:, 0] - 3, metrics={"largest": largest, "rmse": spread})
    assert found.metrics == {"largest": SAMPLES - 1, "rmse": pytest.approx(3)}
    assert (found.accuracy, found.loss, found.samples) == (None, 2, SAMPLES)


def test_there_is_no_accuracy_where_nobody_asked_for_it() -> None:
    """A task with its own loss names its metrics; cross-entropy against anything but classes has none."""
    assert evaluation(np.zeros((3, 1)), np.zeros(3)).metrics == {}
    samples = Samples(np.zeros((3, 2)), np.full((3, 2), 0.5))
    task = Task("soft", "", lambda _: Dataset(samples, samples), identity)
    assert TorchLearner(task, None, samples, 0).evaluate(initial_model(task, 0)).metrics == {"accuracy": None}
    assert (task.metric, Task("own", "", task.load, identity, loss=no_loss).metric) == ("accuracy", None)


def test_what_is_undefined_is_none() -> None:
    one_class = evaluation(np.zeros((3, 1)), np.zeros(3, np.int64), metrics=("auc", "accuracy"))
    assert one_class.metrics == {"auc": None, "accuracy": 1}


def test_errors_are_one_line_and_found_before_anything_runs() -> None:
    with pytest.raises(ConfigError, match=r"^task t: unknown metric 'acuracy': did you mean 'accuracy'\?"):
        evaluation(np.zeros((3, 1)), np.zeros(3), metrics=["acuracy"])
    with pytest.raises(
        ConfigError, match=r"^task t: metric 'mine' must be a function of outputs and targets"
    ):
        evaluation(np.zeros((3, 1)), np.zeros(3), metrics={"mine": 5})
    with pytest.raises(ConfigError, match=r"metric 'accuracy': outputs \(3, 2\) and targets \(3, 3\)"):
        evaluation(np.zeros((3, 2)), np.zeros((3, 3), np.int64), metrics=["accuracy"])
    samples = Samples(np.ones((4, 2)), np.array([0, 1, 0, 1]))

    def broken(_outputs: Tensor, _labels: Tensor) -> float:
        raise KeyError("column")

    task = Task(
        "t", "", lambda _: Dataset(samples, samples), lambda: nn.Linear(2, 2), metrics={"broken": broken}
    )
    with pytest.raises(ConfigError, match=r"^task t: metric 'broken' failed: KeyError: 'column'$"):
        check_fit(task, task.dataset())
    for name in (1, "two\nlines", "", "  "):
        with pytest.raises(ConfigError, match=r"^task t: the name of a metric must be printable text"):
            replace(task, metrics={name: broken})  # type: ignore[dict-item]
    for name in ("loss", "round", "gas"):
        with pytest.raises(ConfigError, match=rf"^task t: a metric cannot be called '{name}', which stands"):
            replace(task, metrics={name: broken})


def test_the_end_of_a_mean_is_a_number_or_one_line() -> None:
    outputs, labels = np.zeros((3, 1)), np.zeros(3)
    tensor = evaluation(outputs, labels, metrics={"half": Mean(None, lambda loss: torch.tensor(loss / 2))})  # type: ignore[arg-type,return-value]
    assert type(tensor.metrics["half"]) is float
    assert tensor.metrics == {"half": 1}
    with pytest.raises(ConfigError, match=r"^task t: metric 'odd' failed: TypeError: float\(\) argument"):
        evaluation(outputs, labels, metrics={"odd": Mean(None, lambda _: None)})  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("accuracy", 0.95541, "95.54%"), ("auc", 0.93, "0.9300"), ("perplexity", 1234.5678, "1235"),
        ("mae", None, "-"), ("mae", -0.12345, "-0.1235"),
        ("mae", 0.0, "0.0000"), ("mae", 3.21e-6, "3.21e-06"), ("mae", -1e-300, "-1e-300"),
        ("mae", 1e200, "1e+200"),
    ],
)  # fmt: skip
def test_how_tables_show_them(name: str, value: float | None, text: str) -> None:
    assert metric_text(name, value) == text


def test_names_may_come_in_any_form() -> None:
    assert list(chosen("auc")) == list(chosen(["auc"])) == list(chosen({"auc": BUILT_IN["auc"]})) == ["auc"]


@pytest.mark.parametrize("name", ["accuracy", "balanced accuracy", "f1"])
@pytest.mark.parametrize("targets", [[0.5, 1.5, 2.0], [0.0, 3.0, 7.0]])
def test_metrics_of_classes_are_refused_where_numbers_are_predicted(name: str, targets: list[float]) -> None:
    with pytest.raises(ConfigError, match=rf"^task t: metric '{name}': .*: name other metrics, such as mae$"):
        evaluation(np.zeros((3, 1)), np.array(targets), metrics=[name])


def test_auc_of_several_labels_is_that_of_all_together() -> None:
    outputs, labels = (
        np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.4]]),
        np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]),
    )
    together = evaluation(outputs.reshape(6, 1), labels.reshape(6), metrics=["auc"]).metrics
    assert evaluation(outputs, labels, metrics=["auc"]).metrics == together
