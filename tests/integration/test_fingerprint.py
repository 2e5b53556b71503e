"""A run that goes on with other data, another model or options is refused, and what changed is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from bcfl.config import Config
from bcfl.errors import RunError
from bcfl.federation import fingerprint, simulation
from bcfl.learning import Dataset, Samples, Task
from bcfl.learning.metrics import Mean

THIS = "tests.integration.test_fingerprint"


def clouds(count: int = 120) -> Dataset:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, count)
    features = rng.normal(size=(count, 4)) + labels[:, None]
    whole = Samples(features, labels)
    return Dataset(whole.take(np.arange(0, count * 3 // 4)), whole.take(np.arange(count * 3 // 4, count)))


def narrow() -> nn.Module:
    return nn.Linear(4, 3)


def with_bias_of_one() -> nn.Module:
    model = nn.Linear(4, 3)
    nn.init.ones_(model.bias)
    return model


def squares(outputs: Any, labels: Any) -> Any:
    return ((outputs.argmax(1) - labels) ** 2).float().mean() + outputs.square().mean()


def longer(outputs: Any, labels: Any) -> Any:
    return ((outputs.argmax(1) - labels) ** 2).float().mean() + 2 * outputs.square().mean()


task = Task("clouds", "", lambda _: clouds(), narrow, epochs=1, loss=squares)


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    options: dict[str, Any] = {"task": f"{THIS}:task", "devices": 3, "miners": 2, "rounds": 1}
    simulation.run(Config(**options, partition="iid", run_dir=tmp_path / "run"))
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"load": lambda _: clouds(124)}, "training data, miners' data, test data have changed"),
        ({"build": with_bias_of_one}, "model has changed"),
        ({"learning_rate": 0.3, "epochs": 2}, "option epochs, option learning_rate have changed"),
        ({"loss": longer}, "option loss has changed"),
        ({"metrics": ("accuracy",)}, "option metrics has changed"),
    ],
)
def test_what_has_changed_is_named(
    begun: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], named: str
) -> None:
    monkeypatch.setattr(f"{THIS}.task", replace(task, **changes))
    with pytest.raises(RunError, match=f"^{named} since this run began: put back what was there"):
        simulation.resume(begun)


def test_no_address_stands_for_a_function() -> None:
    """Another process has others."""
    metrics = {"mine": squares, "mean": Mean(squares), "names": ("accuracy",)}
    text = fingerprint._text(metrics)
    assert "0x" not in text
    assert text != fingerprint._text(metrics | {"mean": Mean(longer)})


def test_the_same_goes_on(begun: Path) -> None:
    assert len(simulation.resume(begun).rounds) == 1
    file = begun / fingerprint.FILE
    assert set(json.loads(file.read_text())) >= {"training data", "model", "option loss"}
    file.unlink()  # of a run of an earlier version
    assert len(simulation.resume(begun).rounds) == 1
    file.write_text("{")
    with pytest.raises(RunError, match="damaged: remove it to go on"):
        simulation.resume(begun)
