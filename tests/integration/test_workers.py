"""Training in several processes: the same models whatever their number, and whatever becomes of them."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bcfl.config import Config
from bcfl.errors import ConfigError, RunError
from bcfl.federation import simulation
from bcfl.federation.reports import Report
from tests.processes import STALL_SECONDS, until

ROOT = Path(__file__).parents[2]
TASKS = "tests.integration.worker_tasks"
SMALL = {"devices": 4, "miners": 2, "rounds": 2, "partition": "iid", "check_time": False}


def play(tmp_path: Path, workers: int, task: str, **changes: object) -> Report:
    options = SMALL | {"runs": tmp_path, "task": task if ":" in task else f"{TASKS}:{task}"} | changes
    return simulation.run(Config(**options), workers=workers)  # type: ignore[arg-type]


def outcome(report: Report) -> list[tuple[object, ...]]:
    """What follows from the seed, whatever computes it."""
    return [(r.global_root, r.loss, r.accepted, r.rejected) for r in report.rounds]


@pytest.fixture
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "marks"
    folder.mkdir()
    monkeypatch.setenv("TEST_WORKERS_FOLDER", str(folder))
    return folder


def lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_models_are_the_same_whatever_the_number_of_workers(tmp_path: Path) -> None:
    """Dropout, statistics that stay at home, a loop of one's own, and colluders who know all trainings."""
    colluders = {"adversary": "minmax:0.25"}
    alone, two, three = (outcome(play(tmp_path, workers, "own", **colluders)) for workers in (1, 2, 3))
    assert len({root for root, *_ in alone}) == 2
    assert alone == two == three


def test_every_device_is_a_miner_and_some_are_away(tmp_path: Path) -> None:
    options = {"mode": "full", "miners": 4, "adversary": "dropout:0.25"}
    alone, two = (outcome(play(tmp_path, workers, "plain", **options)) for workers in (1, 2))
    assert alone == two


def test_a_run_goes_on_with_another_number_of_workers(tmp_path: Path) -> None:
    def stop(progress: object) -> None:
        if getattr(progress, "round", 0) == 2:
            raise KeyboardInterrupt

    whole = outcome(play(tmp_path / "whole", 1, "own", rounds=3))
    config = Config(**SMALL | {"run_dir": tmp_path / "mine", "task": f"{TASKS}:own", "rounds": 3})  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        simulation.run(config, workers=2, on_progress=stop)
    assert outcome(simulation.resume(tmp_path / "mine")) == whole


def test_a_worker_that_is_killed_is_replaced_and_its_work_done_again(
    tmp_path: Path, marks: Path, caplog: pytest.LogCaptureFixture
) -> None:
    killed = outcome(play(tmp_path, 2, "dying_once"))
    assert (marks / "died").exists()
    assert "a worker process has ended: it is replaced, and its work is done again" in caplog.text
    assert killed == outcome(play(tmp_path, 1, "own"))


def test_workers_that_end_again_and_again_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bcfl.federation.workers.MAX_ENDS", 1)
    with pytest.raises(RunError, match=r"workers ended 2 times with nothing done.*give fewer --workers"):
        play(tmp_path, 2, "dying")


def test_what_a_partys_own_code_raises_is_told_as_by_one_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = []
    for workers in (1, 2):
        caplog.clear()
        report = play(tmp_path, workers, "failing", devices=6, partition="dirichlet", min_updates=1)
        warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        told.append((outcome(report), sorted(warnings)))
    assert told[0] == told[1]
    assert any("sits out round 1: " in text and "failed: ValueError: so few" in text for text in told[0][1])


def test_an_interruption_that_a_partys_own_code_raises_is_not_the_persons(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    play(tmp_path, 2, "interrupting", devices=6, partition="dirichlet", min_updates=1, rounds=1)
    assert "sits out round 1: train has raised KeyboardInterrupt, in the party's own code" in caplog.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_workers_end_with_the_run(tmp_path: Path, marks: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "bcfl", "run", "--workers", "2", "--task", f"{TASKS}:waiting"]
    command += ["--devices", "4", "--miners", "2", "--run-dir", str(tmp_path / "mine"), "--quiet"]
    folders = tmp_path / "temporary"
    folders.mkdir()
    own = {"TMPDIR": str(folders), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "torch")}
    env = os.environ | own
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # `nohup` has it ignored, also by what it starts
    try:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert until(lambda: len(list(marks.iterdir())) == 2 or process.poll() is not None)
    workers = [int(path.name) for path in marks.iterdir()]
    assert len(workers) == 2
    process.send_signal(number)
    _, errors = process.communicate(timeout=STALL_SECONDS)
    assert until(lambda: not any(map(lives, workers)))
    if number is not signal.SIGKILL:
        assert process.returncode == 130
        assert errors.splitlines() == [f"interrupted: go on with `bcfl run --resume {tmp_path / 'mine'}`"]
        assert not list(folders.iterdir())


def test_what_workers_cannot_do_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--workers 0: 1 to 1024 processes"):
        play(tmp_path, 0, "own")
    with pytest.raises(ConfigError, match="which no worker imports: put it into a module of its own"):
        play(tmp_path, 2, "__main__:task")
    assert not list(tmp_path.iterdir())
