"""The client scripts of examples/, run as they stand against a served chain."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bcfl.config import Config
from bcfl.federation.client import connect
from bcfl.federation.genesis import deploy_genesis
from bcfl.federation.registration import open_first_round
from bcfl.ledger.deployment import networks
from bcfl.ledger.deployment.deploy import register
from bcfl.ledger.deployment.keystore import derive
from bcfl.ledger.devnet.server import serve
from bcfl.storage import open_store
from tests.processes import LONG_PHASES, STALL_SECONDS

ROOT = Path(__file__).parents[3]
MNEMONIC = "test test test test test test test test test test test junk"
DEVICES = 1
NETWORK = """
[networks.local]
rpc = "{url}"
"""


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder whose bcfl.toml names a served chain, on which the wine federation is deployed."""
    folder = tmp_path_factory.mktemp("examples")
    accounts = derive(MNEMONIC, 0, 2 + DEVICES)
    options: dict[str, Any] = {
        "partition": "iid",
        "grace": 1,
        "check_quality": False,
        **LONG_PHASES,
    }
    with pytest.MonkeyPatch.context() as patch, serve(None, [a.address for a in accounts], port=0) as server:
        patch.chdir(ROOT)
        (folder / "bcfl.toml").write_text(NETWORK.format(url=server.url))
        network = networks.resolve("local", folder / "bcfl.toml")
        config = Config(task="examples.device:task", devices=DEVICES, miners=1, max_samples=142, **options)
        chain = networks.connect(network)
        contract, _ = deploy_genesis(
            config, chain, accounts[0], network, open_store(str(folder / "store")), "federation",
            folder / "deployments",
        )  # fmt: skip
        register(contract, accounts[0], [a.address for a in accounts[2:]])
        chain.close()
        yield folder


def run(place: Path, script: str, *arguments: str) -> subprocess.Popen[bytes]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "examples" / script), *arguments]
    with log_of(place, script).open("wb") as log:
        return subprocess.Popen(command, cwd=place, env=env, stdout=log, stderr=log)


def log_of(place: Path, script: str) -> Path:
    return place / f"{script}.log"


def test_the_scripts_train_together_and_the_query_tells(place: Path) -> None:
    network = networks.resolve("local", place / "bcfl.toml")
    owner = derive(MNEMONIC, 0, 1)[0]
    parties = [run(place, "miner.py", "1", "1")]
    parties += [run(place, "device.py", str(2 + i), str(i), "1") for i in range(DEVICES)]
    try:
        with connect(network, "federation", place / "deployments") as client:
            while not client.ledger.history().endpoints:
                assert parties[0].poll() is None
                time.sleep(0.1)
            assert open_first_round(client, owner)
            assert not open_first_round(client, owner)
        codes = [party.wait(STALL_SECONDS) for party in parties]
    finally:
        for party in parties:
            party.kill()
            party.wait()
    assert codes == [0] * len(parties)
    assert run(place, "query.py").wait(STALL_SECONDS) == 0
    output = log_of(place, "query.py").read_text()
    assert "round 1: finalized, led by 0x7099" in output
    assert float(output.rsplit("accuracy: ", 1)[1]) > 0.5


def test_a_device_of_ones_own_takes_less_than_forty_lines() -> None:
    assert len((ROOT / "examples" / "device.py").read_text().splitlines()) < 41


@pytest.mark.parametrize("script", ["query.py", "miner.py", "deploy.py"])
def test_an_error_of_bcfl_is_one_line_from_any_folder(tmp_path: Path, script: str) -> None:
    (tmp_path / "bcfl.toml").write_text(NETWORK.format(url="http://127.0.0.1:1"))
    arguments = {"miner.py": ["0"], "deploy.py": ["--network", "local"]}.get(script, [])
    assert run(tmp_path, script, *arguments).wait(STALL_SECONDS) == 1
    lines = log_of(tmp_path, script).read_text().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
