"""JSON of a task that has no accuracy and prints all the time: strict, alone on stdout, its own metrics."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from bcfl.cli import main
from bcfl.cli.output.printing import metric_text

ROOT = Path(__file__).parents[2]
PARTS = ("load", "build", "fit", "metrics")
QUERIES = (
    ["ls"], ["round", "2"], ["votes", "2"], ["device", "0"], ["miner", "0"], ["leader"], ["model"],
    ["model", "0"], ["evaluate"], ["evaluate", "--rounds"], ["events"], ["audit"],
    ["report", "--format", "json"],
)  # fmt: skip


def strict(text: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


def bcfl(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "bcfl", *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loud")


@pytest.fixture(scope="module")
def report(folder: Path) -> dict[str, Any]:
    """What a run says on stdout, whose task prints in this process and in two others."""
    options = ["--task", "tests.integration.loud_tasks:loud", "--devices", "3", "--miners", "2"]
    process = bcfl(folder, "run", *options, "--rounds", "2", "--no-check-time", "--workers", "2", "--json")
    assert process.returncode == 0, process.stderr
    for part in PARTS:
        assert f"printed by {part}\n" in process.stderr
        assert f"written by {part}\n" in process.stderr
    content: dict[str, Any] = strict(process.stdout)
    return content


def test_a_report_has_the_metrics_of_the_task(report: dict[str, Any]) -> None:
    assert list(report["final_metrics"]) == ["error", "endless", "undefined"]
    assert report["final_metrics"]["error"] > 0
    assert (report["final_metrics"]["endless"], report["final_metrics"]["undefined"]) == (None, None)
    assert (report["final_accuracy"], {item["accuracy"] for item in report["rounds"]}) == (None, {None})
    assert report["final_metrics"] == report["rounds"][-1]["metrics"]


@pytest.mark.parametrize("query", QUERIES, ids=" ".join)
def test_queries_are_strict_json_and_know_no_accuracy(
    folder: Path, report: dict[str, Any], query: list[str], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(folder)
    assert main([*query, *([] if query[0] == "report" else ["--json"])]) == 0
    output = capsys.readouterr().out
    content = strict(output)
    assert "accuracy" not in output
    if query == ["evaluate"]:
        assert content["rounds"][0] == pytest.approx(
            content["rounds"][0] | report["final_metrics"] | {"loss": report["final_loss"]}
        )
        assert main(query) == 0
        assert metric_text("error", report["final_metrics"]["error"]) in capsys.readouterr().out
