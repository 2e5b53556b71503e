"""A run that was stopped, by Ctrl-C or by kill -9 at any write, goes on where its chain stands."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from bcfl.config import Config
from bcfl.federation import simulation
from bcfl.federation.reports import Progress, Report
from bcfl.federation.runs import Run
from bcfl.protocol.rounds import History
from tests.local_federation import LocalFederation
from tests.processes import STALL_SECONDS

ROUNDS = 2
ROOT = Path(__file__).parents[2]


def process(folder: Path, kill_at: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.killed", str(folder), str(ROUNDS), str(kill_at)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=STALL_SECONDS, check=False
    )


def outcome(folder: Path) -> tuple[list[bytes], History]:
    local = LocalFederation(folder, on_disk=True)
    local.chain.close()  # type: ignore[union-attr]
    return [block.root for block in local.history.blocks], local.history


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, list[bytes]]:
    """Return how many writes an uninterrupted run takes, and the models that come of it."""
    folder = tmp_path_factory.mktemp("reference")
    run = process(folder, 0)
    assert run.returncode == 0, run.stderr
    return int(run.stdout), outcome(folder)[0]


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_run_goes_on(tmp_path: Path, reference: tuple[int, list[bytes]], seed: int) -> None:
    total, roots = reference
    rng = random.Random(seed)
    writes = total
    for _ in range(2):
        kill_at = rng.randrange(1, max(2, writes))
        crash = process(tmp_path, kill_at)
        assert crash.returncode in (-signal.SIGKILL, 0), crash.stderr
        writes = max(2, writes - kill_at)
    run = process(tmp_path, 0)
    assert run.returncode == 0, run.stderr
    models, history = outcome(tmp_path)
    assert models == roots
    for number in range(1, ROUNDS + 1):
        round_ = history.rounds[number]
        assert Counter(item.update.device for item in round_.submissions) == Counter(range(4))
        assert Counter(vote.voter.account for vote in round_.votes) == Counter(list(history.miners))
        assert round_.penalties == []
        assert round_.status == "finalized"


def small(tmp_path: Path, **changes: object) -> Config:
    options = {"devices": 4, "miners": 3, "rounds": 3, "task": "breast-cancer", "runs": tmp_path}
    return Config(**options | changes)  # type: ignore[arg-type]


def roots(report: Report) -> list[str]:
    return [round_.global_root for round_ in report.rounds]


@pytest.fixture(scope="module")
def full_report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return simulation.run(small(tmp_path_factory.mktemp("uninterrupted")))


@pytest.mark.parametrize("stop", [(1, "commit"), (1, "vote"), (2, "reveal"), (2, "finalized")])
def test_ctrl_c_leaves_a_run_that_goes_on(tmp_path: Path, full_report: Report, stop: tuple[int, str]) -> None:
    def interrupt(progress: Progress) -> None:
        if (progress.round, progress.phase) == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulation.run(small(tmp_path), on_progress=interrupt)
    report = simulation.resume(runs=tmp_path)
    assert roots(report) == roots(full_report)
    assert [round_.status for round_ in report.rounds] == ["finalized"] * 3


def test_a_run_that_has_ended_is_told_again(full_report: Report) -> None:
    assert simulation.resume(Path(full_report.run_dir)).rounds == full_report.rounds


def test_a_resumed_run_is_summed_up_whole(tmp_path: Path) -> None:
    config = Config(run_dir=tmp_path / "run", devices=4, miners=3, rounds=1, pool=None)
    first = simulation.run(config)
    assert (first.earlier_rounds, first.unpaid_rounds, first.pay_warning) == (0, 0, None)
    with Run.open(tmp_path / "run") as run:
        run.set_rounds(3)
    longer = simulation.resume(tmp_path / "run")
    assert (len(longer.rounds), longer.earlier_rounds) == (3, 1)
    assert longer.pay_warning is None  # the pool was topped up
    with Run.open(tmp_path / "run") as run:
        run.set_rounds(2)
    shorter = simulation.resume(tmp_path / "run")
    assert (len(shorter.rounds), shorter.earlier_rounds) == (3, 3)
    assert shorter.final_metrics == longer.final_metrics
    assert Run.open(tmp_path / "run", read_only=True).config.rounds == 3


def test_an_empty_pool_is_told(tmp_path: Path) -> None:
    reward = Config().reward
    report = simulation.run(
        Config(run_dir=tmp_path / "run", devices=4, miners=3, rounds=2, pool=reward * 3 // 2)
    )
    assert report.unpaid_rounds == 1
    assert report.pay_warning is not None
    assert report.pay_warning.startswith("the pool was empty in 1 of 2 rounds")
