"""A federation of real processes on a node and a store of another make: anvil, and a real IPFS daemon."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.integration.processes.test_up import TASK, environment, gone
from tests.ipfs import ipfs
from tests.processes import LONG_PHASE_OPTIONS, STALL_SECONDS

DEVICES, ROUNDS = 2, 2
SEALED = ("--privacy", "confidential", "--model-access", "members")


def test_on_anvil_and_a_real_ipfs_daemon(tmp_path: Path) -> None:
    if shutil.which("anvil") is None:
        pytest.skip("anvil is not on PATH (npm package @foundry-rs/anvil-linux-amd64)")
    if reason := ipfs.absence():
        pytest.skip(reason)
    (tmp_path / "ipfs").mkdir()
    daemon = ipfs.Daemon(tmp_path / "ipfs")
    daemon.start()
    roots = []
    try:
        for name, options in (("public", ()), ("sealed", SEALED)):
            folder = tmp_path / name
            folder.mkdir()
            (folder / "tiny.py").write_text(TASK)
            events = up(folder, f"ipfs:{daemon.address}", options)
            rounds = [event for event in events if event["event"] == "round"]
            assert [event["status"] for event in rounds] == ["finalized"] * ROUNDS
            assert not (folder / "store").exists()  # every model and update went through the daemon
            if all(event["accepted"] == DEVICES for event in rounds):  # nobody was too slow on a busy machine
                roots.append([event["root"] for event in rounds])
    finally:
        daemon.kill()
    assert all(each == roots[0] for each in roots)  # what is sealed changes no model


def up(folder: Path, store: str, more: Sequence[str]) -> list[dict[str, object]]:
    """What `bcfl up` says of a few rounds until it ends."""
    options = ["--devices", str(DEVICES), "--miners", "2", "--rounds", str(ROUNDS), "--partition", "iid"]
    options += ["--task", "tiny:task", "--no-check-quality", "--anvil", "--port", "0", "--store", store]
    options += [*LONG_PHASE_OPTIONS, *more]
    command = [sys.executable, "-m", "bcfl", "up", "--dir", str(folder), "--json", *options]
    log = folder / "events.log"
    with log.open("wb") as out, (folder / "errors.log").open("wb") as errors:
        env = environment() | {"PATH": os.environ["PATH"]}
        process = subprocess.run(
            command, env=env, cwd=folder, stdout=out, stderr=errors, timeout=STALL_SECONDS, check=False
        )
    assert process.returncode == 0
    assert gone(folder)
    return [json.loads(line) for line in log.read_text().splitlines()]
