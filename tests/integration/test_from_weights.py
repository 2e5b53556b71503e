"""A run goes on from what another has learned: exported, and given to `--from`."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch

from bcfl.cli import main
from bcfl.config import Config
from bcfl.federation.genesis import set_up_data
from bcfl.federation.party_learners import TaskLearners
from bcfl.learning import Split, Task
from bcfl.learning.tasks import BUILT_IN
from bcfl.learning.training import build as build_module
from bcfl.learning.training import initial_model

SMALL = [
    "--task",
    "breast-cancer",
    "--devices",
    "4",
    "--miners",
    "3",
    "--partition",
    "iid",
    "--quiet",
    "--json",
]


def run(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["run", *SMALL, *options]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report


def test_a_run_starts_where_another_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = run(capsys, "--rounds", "2")
    assert main(["export", "--output", "learned.safetensors"]) == 0
    slow = ["--rounds", "1", "--learning-rate", "0.000001", "--no-check-min-norm"]
    anew, going_on = run(capsys, *slow), run(capsys, *slow, "--from", "learned.safetensors")
    learned, unlearned, kept = (report["final_accuracy"] for report in (first, anew, going_on))
    assert isinstance(learned, float)
    assert isinstance(unlearned, float)
    assert isinstance(kept, float)
    assert kept == pytest.approx(learned, abs=0.01)
    assert unlearned < learned - 0.1


def test_resume_needs_the_file_no_more_and_notices_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights are those of the genesis model, wherever the run is resumed from."""
    monkeypatch.chdir(tmp_path)
    run(capsys, "--rounds", "1")
    assert main(["export", "--output", "learned.safetensors"]) == 0
    straight = run(capsys, "--rounds", "3", "--from", "learned.safetensors")
    run(capsys, "--rounds", "1", "--from", "learned.safetensors", "--run-dir", "mine")
    capsys.readouterr()

    def resume(rounds: int, *options: str) -> int:
        return main(
            ["run", "--resume", str(tmp_path / "mine"), "--rounds", f"{rounds}", "-q", "--json", *options]
        )

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert resume(2) == 0
    file = tmp_path / "learned.safetensors"
    other = {name: value * 2 for name, value in load_file(file).items()}
    file.unlink()
    capsys.readouterr()
    assert resume(3) == 0
    resumed = json.loads(capsys.readouterr().out)
    assert [item["global_root"] for item in resumed["rounds"]] == [
        item["global_root"] for item in straight["rounds"]
    ]

    for content in (other, {"weight": next(iter(other.values()))}):  # of this layout, and of another
        save_file(content, file)
        assert resume(4) == 2
        error = capsys.readouterr().err
        assert f"file of weights {file} has changed since this run began: put back what was there" in error
        assert "or take it away" in error
    assert resume(4, "--from", str(file)) == 2
    assert "--from cannot be given with --resume" in capsys.readouterr().err


def test_a_deployment_names_no_file_of_its_owner() -> None:
    assert "weights" not in Config(weights=Path("owners.safetensors")).recorded_options()


def test_a_file_that_does_not_fit_is_told_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.pt").write_bytes(b"PK\x03\x04")
    assert main(["run", *SMALL, "--from", "model.pt"]) == 2
    assert "model.pt is a pickle" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_workers_need_no_file_of_weights(tmp_path: Path) -> None:
    """It may change while a run goes on, and a machine of a Ray cluster does not have it."""
    file = tmp_path / "learned.safetensors"
    module = build_module(BUILT_IN["breast-cancer"], 5)
    save_torch({name: value.contiguous() for name, value in module.state_dict().items()}, file)
    config = Config(task="breast-cancer", weights=file, devices=4, miners=3)
    task, shares = set_up_data(config)
    assert isinstance(task, Task)
    assert isinstance(shares, Split)
    builder = TaskLearners(config, task, shares, shares, "cpu")
    packed = pickle.dumps(builder)
    file.unlink()
    model = initial_model(replace(task, weights=None), 0)
    first, second = (each(("device", 1)).train(model, 1) for each in (builder, pickle.loads(packed)))
    assert np.array_equal(first.vector, second.vector)
