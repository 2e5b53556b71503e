"""Machines whose floats differ in their last bits agree on every root: what integers in aggregation are for.

Instruction sets that torch, MKL and numpy have to do without, and numbers of threads, stand in for machines.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bcfl.ledger.artifact import federation_at
from bcfl.ledger.deployment.records import read
from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.ledger.federation import FederationLedger
from bcfl.protocol.rounds import History
from tests.processes import LONG_PHASE_OPTIONS, STALL_SECONDS

ROOT = Path(__file__).parents[3]
PLAIN = "NPY_DISABLE_CPU_FEATURES"
DISPATCHED = " ".join(np._core._multiarray_umath.__cpu_dispatch__)  # type: ignore[attr-defined]
MACHINES: dict[str, dict[str, str]] = {
    "as it is": {},
    "no vectors": {"ATEN_CPU_CAPABILITY": "default", PLAIN: DISPATCHED},
    "another MKL": {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "COMPATIBLE"},
}
THREADS = (1, 2)
ROUNDS, DEVICES, MINERS = 2, 3, 3


def machine(settings: dict[str, str], threads: int, *arguments: object) -> Any:
    """Return what a machine prints."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.machine", str(threads), *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads), **settings}
    process = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_training_differs_and_aggregation_does_not(tmp_path: Path) -> None:
    outputs = {name: machine(settings, 1, tmp_path) for name, settings in MACHINES.items()}
    if outputs["as it is"]["capability"] == outputs["no vectors"]["capability"]:
        pytest.skip("this machine has no vector instructions that torch could do without")
    assert len({output["trained"] for output in outputs.values()}) > 1
    assert len({output["update"] for output in outputs.values()}) > 1
    # Parties train on one thread, whatever torch is told: a machine agrees with itself.
    assert machine({}, 2, tmp_path)["trained"] == outputs["as it is"]["trained"]
    roots = [
        machine(settings, threads, tmp_path, len(MACHINES))
        for settings, threads in zip(MACHINES.values(), (1, 2, 1), strict=True)
    ]
    assert all(output == roots[0] for output in roots)
    assert len({output[0] for output in roots[0].values()}) > 1  # the rules are different ones


def test_miners_on_different_machines_all_attest(tmp_path: Path) -> None:
    """A federation of processes, each pretending to be another machine: three miners of one vote each."""
    with federation(tmp_path) as bcfl:
        bcfl("start", "round", "--miners", MINERS)
        bcfl("watch", "--all", "--rounds", ROUNDS)
        history = history_of(tmp_path)
    for number in range(1, ROUNDS + 1):
        round_ = history.rounds[number]
        assert round_.status == "finalized"
        assert len(round_.proposals) == 1
        assert len(round_.proposals[0].attested) == MINERS


@contextmanager
def federation(folder: Path) -> Iterator[Any]:
    """Start chain, devices and miners as processes; yields a function that runs `bcfl` to its end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "BCFL_NETWORK": "local"}
    env |= {"ETH_RPC_URL": f"http://127.0.0.1:{port}", "HOME": str(folder)}
    command = [sys.executable, "-W", "ignore", "-m", "bcfl"]
    running: list[subprocess.Popen[bytes]] = []

    def start(settings: dict[str, str], *arguments: object) -> None:
        with (folder / f"{len(running)}.log").open("wb") as log:
            words = [*command, *map(str, arguments)]
            running.append(subprocess.Popen(words, env=env | settings, cwd=folder, stdout=log, stderr=log))

    def run(*arguments: object) -> None:
        words = [*command, *map(str, arguments)]
        result = subprocess.run(
            words, env=env, cwd=folder, capture_output=True, timeout=STALL_SECONDS, check=False
        )
        assert result.returncode == 0, result.stderr.decode()

    try:
        start({}, "chain", "up", "--port", port)
        run("chain", "wait")
        deploy(folder, run)
        settings = list(MACHINES.values())
        for i in range(MINERS):
            share, threads = f"{1 + i}/{MINERS}", {"OMP_NUM_THREADS": str(THREADS[i % 2])}
            arguments = ("--account", 1 + i, "--share", share, "--stake", "1ether")
            start(settings[i] | threads, "start", "miner", *arguments)
        for i in range(DEVICES):
            share = f"{1 + i}/{DEVICES}"
            start(settings[i], "start", "device", "--account", 1 + MINERS + i, "--share", share)
        yield run
    finally:
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            process.wait(STALL_SECONDS)


def deploy(folder: Path, run: Callable[..., None]) -> None:
    """Deploy the federation; with the engine `stake` all three miners are needed."""
    accounts = [f"{account}\n" for account in addresses(1 + MINERS, DEVICES)]
    (folder / "devices.txt").write_text("".join(accounts))
    options = [
        "--devices",
        DEVICES,
        "--miners",
        MINERS,
        "--engine",
        "stake",
        "--grace",
        1,
    ]
    options += ["--max-samples", 1500, "--partition", "iid", *LONG_PHASE_OPTIONS]
    options += ["--propose-seconds", "10", "--challenge-seconds", "20"]  # within them all three attest
    run("deploy", *options, "--register", "devices.txt")


def addresses(first: int, count: int) -> list[str]:
    from bcfl.cli.node.chain import MNEMONIC
    from bcfl.ledger.deployment.keystore import derive

    return [account.address for account in derive(MNEMONIC, first, count)]


def history_of(folder: Path) -> History:
    """Return what the chain records."""
    with closing(EmbeddedChain(folder / "chain" / "chain.sqlite", read_only=True)) as chain:
        record = read(folder / "deployments", "local", "federation")
        return FederationLedger(federation_at(chain, record.address)).history()
