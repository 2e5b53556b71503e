"""A federation of real processes: rounds end, whoever is killed comes back, nobody stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from bcfl.cli.node.chain import MNEMONIC
from bcfl.ledger.artifact import federation_at
from bcfl.ledger.deployment.keystore import derive
from bcfl.ledger.deployment.records import read
from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.ledger.federation import FederationLedger
from bcfl.protocol.rewards import block_hash
from tests.processes import LONG_PHASE_OPTIONS, STALL_SECONDS, until

ROOT = Path(__file__).parents[3]
ONCE = ("Committed", "VoteCommitted", "Voted", "Attested")  # an event of a round and an account
DEVICES, MINERS, ROUNDS = 4, 3, 3
OPTIONS = ["--devices", str(DEVICES), "--miners", str(MINERS), "--partition", "iid", "--grace", "1"]
OPTIONS += ["--task", "tiny:task", "--no-check-quality", *LONG_PHASE_OPTIONS]
TASK = """
import numpy as np
from torch import nn
from bcfl.learning import Dataset, Samples, Task

def load(_):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    features = (rng.normal(0, 1, (400, 4)) + labels[:, None]).astype(np.float32)
    data = Samples(features, labels)
    return Dataset(data.take(np.arange(300)), data.take(np.arange(300, 400)))

task = Task("tiny", "two clouds", load, lambda: nn.Linear(4, 2))
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


class Up:
    """`bcfl up` in a folder."""

    def __init__(self, folder: Path, rounds: int, options: Sequence[str] = OPTIONS) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "bcfl", "up", "--dir", str(folder), "--port", "0", "--json"]
        command += [*options, "--rounds", str(rounds)]
        with (folder / "errors.log").open("ab") as errors:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment(), cwd=folder
            )

    def events(self) -> Iterator[dict[str, Any]]:
        assert self.process.stdout is not None
        with (self.folder / "events.log").open("a") as log:
            for line in self.process.stdout:
                log.write(line)
                log.flush()
                yield json.loads(line)

    def close(self) -> None:
        """Kill what is left."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def pid(self, name: str) -> int:
        """The process of a party by its share, as `device 1/4`."""
        role, part = name.split()
        pids = [pid for pid, words in processes(self.folder) if role in words and part in words]
        assert len(pids) == 1
        return pids[0]


def processes(folder: Path) -> list[tuple[int, list[str]]]:
    """The processes of a federation, by the folder that their command lines name."""
    entries = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if any(word.startswith(str(folder)) for word in words):
                entries.append((int(entry.name), words))
    return entries


def gone(folder: Path) -> bool:
    """Whether no process of a federation is left, at last."""
    return until(lambda: not processes(folder))


def test_a_federation_of_processes(tmp_path: Path) -> None:
    """One test, for the processes cost more than all that is asked about them."""
    (tmp_path / "tiny.py").write_text(TASK)
    events = play(tmp_path)
    check_events(events)
    check_logs(tmp_path)
    check_chain(tmp_path)
    check_that_it_goes_on(tmp_path, events)


def test_a_full_federation_has_one_process_for_both_roles(tmp_path: Path) -> None:
    (tmp_path / "tiny.py").write_text(TASK)
    options = ["--mode", "full", "--devices", "3", *OPTIONS[4:]]
    events, parties = [], 0
    with closing(Up(tmp_path, 2, options)) as up:
        for event in up.events():
            events.append(event)
            if event["event"] == "round":
                parties = max(parties, sum("start" in words for _, words in processes(tmp_path)))
        assert up.process.wait(STALL_SECONDS) == 0
    rounds = [event for event in events if event["event"] == "round"]
    assert [(event["status"], event["engine"], event["accepted"]) for event in rounds] == [
        ("finalized", "resource", 3)
    ] * 2
    assert parties == sum(path.is_dir() for path in (tmp_path / "journals").iterdir()) == 3
    assert {event["leader"] for event in rounds} <= {path.name for path in (tmp_path / "journals").iterdir()}


def play(folder: Path) -> list[dict[str, Any]]:
    """Three rounds; in the second a device and a miner are killed at once."""
    events = []
    with closing(Up(folder, ROUNDS)) as up:
        for event in up.events():
            events.append(event)
            if event["event"] == "round" and event["round"] == 1:
                os.kill(up.pid("device 1/4"), signal.SIGKILL)
                os.kill(up.pid("miner 1/3"), signal.SIGKILL)
        assert up.process.wait(STALL_SECONDS) == 0
        assert gone(folder)
    return events


def check_events(events: list[dict[str, Any]]) -> None:
    """All rounds ended in blocks, and whoever was killed was started again."""
    assert [event["status"] for event in events if event["event"] == "round"] == ["finalized"] * ROUNDS
    assert {event["process"] for event in events if event["event"] == "died"} >= {"device 1", "miner 1"}


def check_logs(folder: Path) -> None:
    """Every line is JSON, the last says that the party ended in peace, and no secret is in any."""
    password = (folder / "password").read_text().strip()
    keys = [account.key.hex() for account in derive(MNEMONIC, 0, 1 + MINERS + DEVICES)]
    logs = list((folder / "logs").glob("*-*.log"))
    assert len(logs) == MINERS + DEVICES
    for log in logs:
        text = log.read_text()
        assert [json.loads(line)["message"] for line in text.splitlines()][-1] == "ended"
        assert not any(secret in text for secret in (password, *keys))


def check_chain(folder: Path) -> None:
    """Nothing was submitted twice, nobody was penalized, and every block follows from the one before."""
    with closing(EmbeddedChain(folder / "chain" / "chain.sqlite", read_only=True)) as chain:
        deployment = read(folder / "deployments", "rpc", "up")
        ledger = FederationLedger(federation_at(chain, deployment.address))
        history = ledger.history()
        counts: Counter[tuple[object, ...]] = Counter()
        for event in ledger.contract.events():
            if event.name in ONCE:
                account = event.args.get("miner") or event.args.get("sender")
                counts[event.name, event.args["round"], account] += 1
            if event.name in ("Announced", "MinerRegistered"):
                counts[event.name, event.args["miner"]] += 1
    assert len(history.blocks) >= 1 + ROUNDS
    assert max(counts.values()) == 1
    for number in range(1, ROUNDS + 1):
        round_ = history.rounds[number]
        devices = [item.update.device for item in round_.submissions]
        assert len(set(devices)) == len(devices) >= DEVICES // 2
        assert not round_.penalties
        assert round_.block is not None
        assert round_.block.parent == block_hash(history.blocks[number - 1])


def check_that_it_goes_on(folder: Path, earlier: list[dict[str, Any]]) -> None:
    """Started again it stands where it stood; a supervisor that is killed leaves nobody behind."""
    with closing(Up(folder, ROUNDS + 5)) as up:
        events = up.events()
        address = next(event["address"] for event in events if event["event"] == "deployed")
        assert address == next(event["address"] for event in earlier if event["event"] == "deployed")
        assert next(event["round"] for event in events if event["event"] == "round") == 1
        assert until(lambda: len(processes(folder)) == 1 + 1 + MINERS + DEVICES)
        up.process.kill()
        up.process.wait()
        assert gone(folder)
