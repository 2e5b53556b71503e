"""Follow docs/walk.md as a reader does: every line, in one shell, from an empty folder.

On two chains and two stores: WALK=all walks all four combinations, the gate one of them, with anvil and an
IPFS daemon where they are installed. Without cast its lines are left out.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest

from tests import foundry
from tests.ipfs import ipfs

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "walk.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = "\x1e"  # before the number of a line, on stdout
PORT = "8545"
ROUNDS = 5
SECONDS = 1_800
CHAINS, STORES = ("embedded", "anvil"), ("folder", "ipfs")
ALL = list(product(CHAINS, STORES))
GATE = [(CHAINS[foundry.find("anvil") is not None], STORES[ipfs.absence() is None])]


def lines_of(language: str) -> list[str]:
    return [line for name, text in FENCE.findall(PAGE) if name == language for line in text.splitlines()]


LINES = lines_of("sh")
ALTERNATIVES = {"anvil": "bcfl chain up --anvil", "ipfs": "export BCFL_STORE=ipfs:"}  # begins of lines
ORIGINALS = {"anvil": "bcfl chain up", "ipfs": "export BCFL_STORE="}


@dataclass(frozen=True)
class Walk:
    """The folder of a walk, and the output of each line."""

    folder: Path
    outputs: dict[str, str]

    def output(self, prefix: str) -> str:
        """The output of the only line that begins with `prefix`."""
        texts = [text for line, text in self.outputs.items() if line.startswith(prefix)]
        assert len(texts) == 1, prefix
        return texts[0]


def page_lines(chain: str, store: str) -> list[str]:
    """The lines of the page for a chain and a store."""
    lines = LINES
    for kind in (chain, store):
        if kind in ALTERNATIVES:
            replacement = next(line for line in lines_of("text") if line.startswith(ALTERNATIVES[kind]))
            lines = [replacement if line.startswith(ORIGINALS[kind]) else line for line in lines]
            assert replacement in lines
    return lines if foundry.find("cast") else [line for line in lines if not line.startswith("cast ")]


def test_the_short_version_is_made_of_these_lines() -> None:
    texts = [text for _, text in FENCE.findall((ROOT / "docs" / "processes.md").read_text(encoding="utf-8"))]
    short = next(text for text in texts if text.startswith(LINES[0])).splitlines()
    assert [line for line in LINES if line in short] == short


def run_walk(folder: Path, lines: list[str], ports: dict[str, str]) -> Walk:
    """Run the lines in one shell, with ports that are free here; each must succeed."""
    script = ["set -eu"]
    for number, line in enumerate(lines):
        script += [f"printf '{MARK}%s\\n' {number}", re.sub(r"\b(8545|5001)\b", lambda m: ports[m[1]], line)]
    (folder / "walk.sh").write_text("\n".join(script) + "\n")
    code = run_script(folder)
    output = (folder / "out").read_text(encoding="utf-8")
    assert code == 0, f"{output[-1500:]}\n{(folder / 'err').read_text()[-1500:]}\n{logs(folder)}"
    parts = [part.split("\n", 1) for part in output.split(MARK)[1:]]
    assert len(parts) == len(lines)
    return Walk(folder, {lines[int(number)]: text for number, text in parts})


def run_script(folder: Path) -> int | None:
    """The exit code of the script; None if it takes too long. All its processes are killed."""
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        shell = subprocess.Popen(
            ["bash", "walk.sh"], cwd=folder, env=environment(folder), stdin=subprocess.DEVNULL,
            stdout=out, stderr=err, start_new_session=True,
        )  # fmt: skip
        try:
            return shell.wait(SECONDS)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()


def environment(folder: Path) -> dict[str, str]:
    """The environment of somebody who has installed bcfl and has no settings yet."""
    command = folder / "bin" / "bcfl"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m bcfl "$@"\n')
    command.chmod(0o755)
    path = os.pathsep.join([str(command.parent), os.environ["PATH"], str(foundry.FOLDER)])
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("BCFL_", "ETH_"))}
    return {**variables, "PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(folder), "OMP_NUM_THREADS": "1"}


def logs(folder: Path) -> str:
    return "\n".join(f"{log.name}: {log.read_text()[-500:]}" for log in sorted(folder.glob("*.log")))


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@contextmanager
def daemon_port(store: str, folder: Path) -> Iterator[str]:
    """The port of an IPFS daemon, if one is wanted."""
    if store == "folder":
        yield "5001"
        return
    (folder / "daemon").mkdir()
    daemon = ipfs.Daemon(folder / "daemon")
    daemon.start()
    try:
        yield daemon.address.rpartition("/")[2]
    finally:
        daemon.kill()


@pytest.mark.parametrize(("chain", "store"), ALL if os.environ.get("WALK") == "all" else GATE)
def test_every_line_of_the_walk(tmp_path: Path, chain: str, store: str) -> None:
    if chain == "anvil" and foundry.find("anvil") is None:
        pytest.skip(foundry.absence("anvil"))
    if store == "ipfs" and (reason := ipfs.absence()):
        pytest.skip(reason)
    folder = tmp_path / "walk"
    folder.mkdir()
    with daemon_port(store, tmp_path) as port:
        walk = run_walk(folder, page_lines(chain, store), {PORT: free_port(), "5001": port})
        check_rounds(walk)
        check_answers(walk)
        if foundry.find("cast"):
            check_cast(walk)
        check_files_and_processes(walk, store)


def check_rounds(walk: Walk) -> None:
    """Five rounds ended in blocks."""
    report = walk.output("bcfl watch")
    assert [f"round {number} is final" in report for number in range(1, ROUNDS + 1)] == [True] * ROUNDS
    assert " is void" not in report


def check_answers(walk: Walk) -> None:
    """Every query answers, and with the same block."""
    for line, text in walk.outputs.items():
        assert bool(text.strip()) == (line.startswith(("bcfl", "cast", "echo")) and ">" not in line), line
    assert "finalized" in walk.output("bcfl round 5")
    assert "led" in walk.output("bcfl leader 5")
    block = field(walk.output("bcfl model 5"), "block")
    assert block == field(walk.output("bcfl round 5"), "block")
    assert block in walk.output("bcfl events")
    assert "submitted" in field(walk.output("bcfl device 0"), "updates")
    assert "nothing stands in the way" in walk.output("bcfl doctor")
    assert walk.output("bcfl call").startswith("phase")


def check_cast(walk: Walk) -> None:
    """What cast reads is what bcfl reads."""
    address = field(walk.output("bcfl deploy"), "address")
    assert walk.output("cast call $federation 'ledger").strip() == field(walk.output("bcfl model 5"), "block")
    assert int(walk.output("cast call $federation 'round_clock").splitlines()[2]) > ROUNDS
    assert len(walk.output("cast call $federation 'model").split()) == 2
    stake = walk.output("cast call $federation 'miner").splitlines()[2]
    assert stake.split()[0] == str(2 * 10**18)
    assert walk.output("cast logs").count(f"address: {address}") >= ROUNDS
    assert "1 (success)" in walk.output("cast send")
    assert walk.output("cast call $federation 'pool").split()[0].isdecimal()
    assert float(walk.output("cast balance")) > 6


def check_files_and_processes(walk: Walk, store: str) -> None:
    """A record, a model and clean logs; no folder that nobody named; no process."""
    folder = walk.folder
    record = json.loads((folder / "deployments" / "local" / "federation.json").read_text())
    assert record["address"] == field(walk.output("bcfl deploy"), "address")
    assert (folder / "model.safetensors").stat().st_size > 0
    assert (folder / "store").exists() == (store == "folder")
    parties = sorted(folder.glob("device-*.log")) + sorted(folder.glob("miner-*.log"))
    assert len(parties) == 11
    for log in [*parties, folder / "chain.log", folder / "err"]:
        assert "Traceback" not in log.read_text(), log
    assert [log.name for log in parties if not log.read_text().splitlines()[-1].endswith("ended")] == []


def field(text: str, name: str) -> str:
    """The value of a line `name  value`."""
    match = re.search(rf"^{name} {{2,}}(.+)$", text, re.MULTILINE)
    assert match is not None, name
    return match[1]
