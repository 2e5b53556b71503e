"""Each round of a run is written to where people look: a table, lines of JSON, TensorBoard."""

from __future__ import annotations

import csv
import json
import math
import sys
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bcfl.errors import ConfigError, RunError
from bcfl.federation.logbooks import MISSING, open_logbooks, parse, scalars, several
from bcfl.federation.reports import Progress
from tests.unit.cli.test_run import VOID, round_report

FIRST = round_report(1, metrics={"accuracy": 0.5, "=auc": None}, loss=math.nan)
SECOND = round_report(2, **VOID, metrics={"accuracy": 0.75, "=auc": 0.25}, false_rejects=2)


def play(observers: list[object]) -> None:
    observe = several(*observers)  # type: ignore[arg-type]
    observe(Progress(1, 2, "commit", ()))
    observe(Progress(1, 2, "finalized", (), FIRST))
    observe(Progress(2, 2, "void", (), SECOND))


def test_a_table_and_lines_of_json_have_every_round(tmp_path: Path) -> None:
    table, lines = tmp_path / "new" / "run.csv", tmp_path / "run.jsonl"
    with open_logbooks([f"csv:{table}", f"jsonl:{lines}"]) as observers:
        play(list(observers))
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [(row["round"], row["status"], row["accepted"], row["rejected"]) for row in rows] == [
        ("1", "finalized", "2", "2"),
        ("2", "void", "0", "0"),
    ]
    assert [row["accuracy"] for row in rows] == ["0.5", "0.75"]
    assert [row["'=auc"] for row in rows] == ["", "0.25"]
    objects = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [item["round"] for item in objects] == [1, 2]
    assert objects[0]["loss"] is None  # JSON has no nan
    assert objects[1]["reason"] == "few_accepted"


def test_a_file_of_another_run_is_not_overwritten_but_that_of_a_resumed_one_is_made_whole(
    tmp_path: Path,
) -> None:
    text = f"jsonl:{tmp_path / 'run.jsonl'}"
    with open_logbooks([text]) as observers:
        play(list(observers))
    with pytest.raises(ConfigError, match="exists: name another file"), open_logbooks([text]):
        pass
    with open_logbooks([text], resumed=True) as observers:
        play(list(observers))
    assert len((tmp_path / "run.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("text", ["csv", "csv:", "xml:a", "", ":a", "run.csv"])
def test_what_is_no_logbook_is_told_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match="write tensorboard:PATH, csv:PATH, jsonl:PATH"):
        parse(text)


def test_a_place_that_cannot_be_written_is_told_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="cannot be written"), open_logbooks([f"csv:{tmp_path}/file/a.csv"]):
        pass


def test_a_full_disk_ends_a_run_in_one_line() -> None:
    with pytest.raises(RunError, match="/dev/full cannot be written: No space left"):  # noqa: SIM117
        with open_logbooks(["jsonl:/dev/full"]) as observers:
            play(list(observers))


def test_curves_have_finite_numbers_alone() -> None:
    numbers = scalars(replace(FIRST, attack_success=0.5))
    assert numbers == {
        "metrics/accuracy": 0.5, "updates/accepted": 2, "updates/rejected": 2, "gas": 1_234_567, "void": 0,
        "attack/attack_success": 0.5,
    }  # fmt: skip


def test_tensorboard_has_the_curves(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra bcfl[tensorboard] is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with open_logbooks([f"tensorboard:{tmp_path}"]) as observers:
        play(list(observers))
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(item.step, item.value) for item in events.Scalars("metrics/accuracy")] == [(1, 0.5), (2, 0.75)]


def test_a_missing_tensorboard_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    with pytest.raises(ConfigError) as caught, open_logbooks([f"tensorboard:{tmp_path}"]):
        pass
    assert str(caught.value) == MISSING


def example() -> Any:
    """Return examples/callbacks.py as a module."""
    spec = spec_from_file_location("callbacks", Path(__file__).parents[3] / "examples" / "callbacks.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "words"), [("wandb", "pip install wandb"), ("mlflow", "pip install mlflow")]
)
def test_the_example_says_which_package_is_missing(
    name: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SystemExit, match=words):
        example().CALLBACKS[name]()


class Tracker(ModuleType):
    """Stands for both packages, as far as the example calls them; keeps what is logged."""

    def __init__(self) -> None:
        super().__init__("tracker")
        self.points: list[tuple[int, dict[str, float]]] = []
        self.offline = False

    def init(self, *, project: str, mode: str, dir: Path) -> Tracker:
        self.offline = (project, mode) == ("bcfl", "offline") and dir.name == "tracked"
        return self

    def set_tracking_uri(self, uri: str) -> None:
        self.offline = uri.startswith("file:")

    def set_experiment(self, name: str) -> None:
        assert name == "bcfl"

    def start_run(self) -> None:
        assert self.offline

    def log(self, numbers: dict[str, float], step: int) -> None:
        self.points.append((step, numbers))

    log_metrics = log


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_the_example_logs_each_round_offline(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = Tracker()
    monkeypatch.setitem(sys.modules, name, tracker)
    play([example().CALLBACKS[name]()])
    assert [(step, numbers["updates/accepted"]) for step, numbers in tracker.points] == [(1, 2), (2, 0)]
    assert tracker.offline
