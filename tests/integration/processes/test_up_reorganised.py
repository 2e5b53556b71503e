"""A federation of real processes on an anvil that takes back one to three blocks, several times a round.

Runs with WALK=all: tests/integration/test_reorganisations.py shows the same in the gate, in one process.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from bcfl.errors import BcflError
from bcfl.ledger.rpc import RpcChain
from tests import foundry
from tests.integration.processes.test_up import TASK, environment, gone
from tests.processes import LONG_PHASE_OPTIONS

ROUNDS, BEGUN, BETWEEN = 4, 16, 7  # blocks before the first reorganisation, and between two


@pytest.mark.skipif(os.environ.get("WALK") != "all", reason="WALK=all runs it")
def test_processes_go_on_over_reorganisations(tmp_path: Path) -> None:
    if foundry.find("anvil") is None:
        pytest.skip(foundry.absence("anvil"))
    (tmp_path / "tiny.py").write_text(TASK)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "bcfl", "up", "--anvil", "--json", "--port", str(port)]
    command += ["--dir", str(tmp_path)]
    command += [
        "--devices",
        "3",
        "--miners",
        "3",
        "--rounds",
        str(ROUNDS),
        "--partition",
        "iid",
        "--grace",
        "1",
    ]
    command += ["--task", "tiny:task", "--no-check-quality", *LONG_PHASE_OPTIONS]
    env = environment() | {"PATH": os.pathsep.join([os.environ["PATH"], str(foundry.FOLDER)])}
    with (tmp_path / "events.log").open("wb") as output, (tmp_path / "errors.log").open("wb") as errors:
        process = subprocess.Popen(command, env=env, cwd=tmp_path, stdout=output, stderr=errors)
        try:
            depths = reorganise(process, f"http://127.0.0.1:{port}")
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 0
    assert set(depths) == {1, 2, 3}
    events = [json.loads(line) for line in (tmp_path / "events.log").read_text().splitlines()]
    assert [event["status"] for event in events if event["event"] == "round"] == ["finalized"] * ROUNDS
    assert not [event for event in events if event["event"] == "died"]
    assert gone(tmp_path)


def reorganise(process: subprocess.Popen[bytes], url: str) -> list[int]:
    """Take blocks back every now and then until the process ends; returns how many each time."""
    depths: list[int] = []
    last = BEGUN
    while process.poll() is None:
        time.sleep(0.3)
        try:
            with closing(RpcChain(url)) as chain:
                block = int(chain.request("eth_blockNumber"), 16)
                if block >= last + BETWEEN:
                    last = block
                    depths.append(1 + len(depths) % 3)
                    chain.request("anvil_reorg", depths[-1], [])
        except BcflError:
            continue  # anvil is not up yet, or down already
    return depths
