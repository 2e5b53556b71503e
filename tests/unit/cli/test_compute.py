"""`--device`, `--workers` and `--ray`: where commands compute, which is no option of the federation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bcfl.config import Config
from bcfl.errors import DataError
from bcfl.federation import simulation
from bcfl.federation.reports import Report
from bcfl.federation.runs import Run
from tests.unit.cli.conftest import Bcfl


def test_they_are_told_to_the_run_and_not_recorded(bcfl: Bcfl, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    def play(source: Config | Path, *, on_progress: object, **compute: object) -> Report:
        del on_progress
        calls.append(compute)
        if isinstance(source, Config):
            Run.create(source).close()
        raise DataError("no further")

    monkeypatch.setattr(simulation, "run", play)
    monkeypatch.setattr(simulation, "resume", play)
    bcfl("run", "--run-dir", "mine", "--device", "auto", "--workers", 3, "--ray", "node:6379", "--quiet")
    bcfl("run", "--resume", "mine", "--device", "cpu", "--quiet")
    assert calls == [
        {"device": "auto", "workers": 3, "ray": "node:6379"},
        {"device": "cpu", "workers": None, "ray": None},
    ]
    recorded = json.loads((Path("mine") / "run.json").read_text())["config"]
    assert not {"device", "workers", "ray"} & set(recorded)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
@pytest.mark.parametrize("command", [("run", "--quiet"), ("up",), ("evaluate",)])
def test_a_device_that_is_not_there_is_refused_before_anything_is_made(bcfl: Bcfl, command: Any) -> None:
    assert "--device cuda: there is none here; there is " in bcfl(*command, "--device", "cuda").refusal
    assert not list(Path().iterdir())
