"""examples/lora.py with a model of some thousand parameters: adapters alone are shared, each party gains."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

import bcfl
from bcfl.learning.training import layout
from examples import lora

STEPS = 300
ROOT = Path(__file__).parents[2]
SMALL = {"= 128, 64, 384, 6, 6, 4": "= 128, 64, 24, 1, 1, 4", "WINDOWS = 160": "WINDOWS = 8"}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Make the example's model and texts small; return its folder."""
    ticks = count()  # a second takes STEPS steps, whatever else the machine does
    monkeypatch.setattr(lora, "time", SimpleNamespace(monotonic=lambda: next(ticks) / STEPS))
    for name, value in {"WIDTH": 24, "LAYERS": 1, "HEADS": 2, "WINDOWS": 24, "FOLDER": tmp_path}.items():
        monkeypatch.setattr(lora, name, value)
    lora.pretrain(1.0)
    return tmp_path


def test_eight_parties_adapt_a_frozen_model_to_texts_of_their_own(small: Path) -> None:
    config = bcfl.Config(
        task="examples.lora:task",
        devices=8,
        miners=2,
        rounds=2,
        partition="pathological",
        classes_per_device=1,
        run_dir=small / "run",
    )
    report = bcfl.run(config)
    assert [len(round_.accepted) for round_ in report.rounds] == [8, 8]
    assert list(report.final_metrics) == ["perplexity", "accuracy"]
    before, after = (lora.perplexities(small / "run", round_) for round_ in (0, 2))
    gains = [first - last for first, last in zip(before, after, strict=True) if first and last]
    assert len(gains) == 8
    assert min(gains) > 0
    shape = layout(lora.task)
    assert {tensor.name.rsplit(".", 1)[1] for tensor in shape.tensors} == {"lora_a", "lora_b"}
    assert len(shape.base) == 32


def test_another_base_model_has_another_hash(small: Path) -> None:
    first = layout(lora.task).base
    assert layout(lora.task).base == first
    (small / "base.safetensors").unlink()
    lora.pretrain(0.0)
    assert layout(lora.task).base != first


@pytest.mark.parametrize(("folder", "place"), [("mine", ""), ("my-examples", ""), ("mine", "elsewhere")])
def test_the_script_runs_in_any_folder_and_from_any(tmp_path: Path, folder: str, place: str) -> None:
    source = (ROOT / "examples" / "lora.py").read_text()
    for old, new in SMALL.items():
        assert old in source
        source = source.replace(old, new)
    for name in (folder, place):
        (tmp_path / name).mkdir(exist_ok=True)
    (tmp_path / folder / "lora.py").write_text(source)
    result = run(tmp_path / folder / "lora.py", tmp_path / place)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(" before, ") == len(lora.PACKAGES)


def test_an_error_is_one_line_and_comes_before_the_training(tmp_path: Path) -> None:
    source = (ROOT / "examples" / "lora.py").read_text()
    (tmp_path / "lora.py").write_text(source.replace("task = Task(", "adapted = Task("))
    result = run(tmp_path / "lora.py", tmp_path)
    assert result.returncode == 1
    assert result.stderr == "error: task 'lora:task': lora has no task: known: adapted\n"
    assert not (tmp_path / "runs").exists()


def run(script: Path, place: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), "0"]
    return subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, check=False)
