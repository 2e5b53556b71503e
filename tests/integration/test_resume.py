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
from bcfl.protocol.rounds import History
from tests.local_federation import LocalFederation
from tests.processes import PATIENCE

ROUNDS = 2
ROOT = Path(__file__).parents[2]


def process(folder: Path, kill_at: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.killed", str(folder), str(ROUNDS), str(kill_at)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)


def outcome(folder: Path) -> tuple[list[bytes], History]:
    local = LocalFederation(folder, kept=True)
    local.chain.close()  # type: ignore[union-attr]
    return [block.root for block in local.history.blocks], local.history


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, list[bytes]]:
    """How many writes an uninterrupted run takes, and the models that come of it."""
    folder = tmp_path_factory.mktemp("straight")
    ended = process(folder, 0)
    assert ended.returncode == 0, ended.stderr
    return int(ended.stdout), outcome(folder)[0]


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_run_goes_on(tmp_path: Path, straight: tuple[int, list[bytes]], seed: int) -> None:
    total, roots = straight
    rng = random.Random(seed)
    left = total
    for _ in range(2):
        kill_at = rng.randrange(1, max(2, left))
        killed = process(tmp_path, kill_at)
        assert killed.returncode in (-signal.SIGKILL, 0), killed.stderr
        left = max(2, left - kill_at)
    ended = process(tmp_path, 0)
    assert ended.returncode == 0, ended.stderr
    found, history = outcome(tmp_path)
    assert found == roots
    for number in range(1, ROUNDS + 1):
        played = history.rounds[number]
        assert Counter(item.update.device for item in played.submissions) == Counter(range(4))
        assert Counter(vote.voter.account for vote in played.votes) == Counter(list(history.miners))
        assert played.penalties == []
        assert played.status == "finalized"


def small(tmp_path: Path, **changes: object) -> Config:
    options = {"devices": 4, "miners": 3, "rounds": 3, "task": "breast-cancer", "runs": tmp_path}
    return Config(**options | changes)  # type: ignore[arg-type]


def roots(report: Report) -> list[str]:
    return [found.global_root for found in report.rounds]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return simulation.run(small(tmp_path_factory.mktemp("uninterrupted")))


@pytest.mark.parametrize("stop", [(1, "commit"), (1, "vote"), (2, "reveal"), (2, "finalized")])
def test_ctrl_c_leaves_a_run_that_goes_on(
    tmp_path: Path, uninterrupted: Report, stop: tuple[int, str]
) -> None:
    def interrupt(progress: Progress) -> None:
        if (progress.round, progress.phase) == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulation.run(small(tmp_path), on_progress=interrupt)
    resumed = simulation.resume(runs=tmp_path)
    assert roots(resumed) == roots(uninterrupted)
    assert [found.status for found in resumed.rounds] == ["finalized"] * 3


def test_a_run_that_has_ended_is_told_again(uninterrupted: Report) -> None:
    assert simulation.resume(Path(uninterrupted.run_dir)).rounds == uninterrupted.rounds
