"""A run on data sets that are read item by item: the same wherever it trains; resumption notices others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bcfl.config import Config
from bcfl.errors import RunError
from bcfl.federation import simulation
from tests.integration.streamed_tasks import Pictures

OPTIONS: dict[str, Any] = {"devices": 3, "miners": 2, "partition": "iid"}
PICTURES = "tests.integration.streamed_tasks:pictures"


def roots(report: Any) -> list[str]:
    return [report.initial_root, *(round_.global_root for round_ in report.rounds)]


def test_random_pictures_make_one_model_however_they_are_trained_on(tmp_path: Path) -> None:
    straight = simulation.run(Config(**OPTIONS, task=PICTURES, rounds=2, run_dir=tmp_path / "straight"))
    assert (straight.final_accuracy or 0) > 0.6
    pooled = simulation.run(Config(**OPTIONS, task=PICTURES, rounds=2, run_dir=tmp_path / "pool"), workers=2)
    assert len(set(roots(straight))) == 3
    assert roots(pooled) == roots(straight)


def test_other_items_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adversary = ("label-flip:0.3",)
    simulation.run(Config(**OPTIONS, task=PICTURES, rounds=1, run_dir=tmp_path / "run", adversary=adversary))
    read = Pictures.__getitem__

    def other(self: Pictures, index: int) -> tuple[Any, int]:
        features, label = read(self, index)
        return features, 2 if self.first == 0 and index == 70 else label

    monkeypatch.setattr(Pictures, "__getitem__", other)
    with pytest.raises(RunError, match=r"^training data, miners' data have changed since this run began"):
        simulation.resume(tmp_path / "run")
