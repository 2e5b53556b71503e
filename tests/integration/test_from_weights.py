"""A run goes on from what another has learned: exported, and given to `--from`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bcfl.cli import main
from bcfl.config import Config

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


def run(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, object]:
    capsys.readouterr()
    assert main(["run", *SMALL, *options]) == 0
    report: dict[str, object] = json.loads(capsys.readouterr().out)
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
