"""`bcfl up` that is killed while it deploys starts again; two of them do not share a folder."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bcfl.errors import ConfigError
from bcfl.federation.local_processes import locked
from bcfl.ledger.deployment.networks import Network
from bcfl.ledger.deployment.records import reserve
from tests.integration.processes.test_up import OPTIONS, ROOT, TASK, environment
from tests.processes import until


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bcfl", "up", "--dir", str(folder), "--port", "0", "--json", *OPTIONS]
    with (folder / "errors.log").open("ab") as errors:
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment(), cwd=folder
        )


def events_until(process: subprocess.Popen[str], kind: str) -> list[dict[str, Any]]:
    """What it says up to an event of a kind, or up to its end."""
    assert process.stdout is not None
    events = []
    for line in process.stdout:
        events.append(json.loads(line))
        if events[-1]["event"] == kind:
            break
    return events


def test_killed_while_it_deploys(tmp_path: Path) -> None:
    assert ROOT.is_dir()
    (tmp_path / "tiny.py").write_text(TASK)
    process = start(tmp_path)
    lock = tmp_path / "deployments" / "rpc" / ".up.deploying"
    try:
        assert until(lambda: lock.exists() or process.poll() is not None)
        assert process.poll() is None, (tmp_path / "errors.log").read_text()
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    assert not lock.with_name("up.json").exists()
    again = start(tmp_path)
    try:
        kinds = [event["event"] for event in events_until(again, "deployed")]
        assert kinds[-1:] == ["deployed"], (tmp_path / "errors.log").read_text()
        assert lock.with_name("up.json").exists()
        with pytest.raises(ConfigError, match="another bcfl up keeps"), locked(tmp_path):
            pass
    finally:
        again.terminate()
        again.communicate()
    assert again.returncode == 0
    with locked(tmp_path):
        pass


def test_a_deployment_is_locked_while_it_lasts_and_no_longer(tmp_path: Path) -> None:
    network = Network("local", "http://127.0.0.1:1")
    with reserve(tmp_path, network, "federation") as path:
        with (
            pytest.raises(ConfigError, match="is being deployed on local: wait"),
            reserve(tmp_path, network, "federation"),
        ):
            pass
        path.write_text("")
    with pytest.raises(ConfigError, match="is deployed on local already"):
        reserve(tmp_path, network, "federation").__enter__()
    path.unlink()
    with reserve(tmp_path, network, "federation"):
        pass
