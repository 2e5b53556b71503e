"""What real processes leave on disk, under a umask that lets everybody read and write."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from testkit.modes import wrong_modes
from tests.integration.processes.test_up import TASK, environment
from tests.processes import LONG_PHASE_OPTIONS, STALL_SECONDS

PUBLIC = {"store", "deployments", "lock", "networks.toml"}


def test_all_that_parties_keep_is_private(tmp_path: Path) -> None:
    """Journals, history, keys, password, logs and chain of devices and miners."""
    (tmp_path / "tiny.py").write_text(TASK)
    folder = tmp_path / "up"
    command = [sys.executable, "-m", "bcfl", "up", "--dir", str(folder), "--port", "0", "--rounds", "1"]
    command += ["--devices", "2", "--miners", "2", "--partition", "iid", "--grace", "1"]
    command += ["--task", "tiny:task", "--no-check-quality", *LONG_PHASE_OPTIONS]
    result = subprocess.run(
        command, cwd=tmp_path, env=environment(), umask=0, timeout=STALL_SECONDS, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    state = [path for path in folder.iterdir() if path.name not in PUBLIC]
    assert {path.name for path in state} == {"chain", "journals", "keystore", "logs", "password"}
    assert len([path for path in (folder / "journals").iterdir() if path.is_dir()]) == 4
    assert wrong_modes(*state) == {}
    assert folder.stat().st_mode & 0o077 == 0
