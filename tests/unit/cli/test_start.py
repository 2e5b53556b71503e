"""`bcfl start`: whatever keeps a party from joining is one line that says what to do, and no traceback."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from bcfl.cli.node import deploy, start
from bcfl.errors import DiskError
from bcfl.federation.daemon import Daemon
from bcfl.ledger.deployment import keystore
from bcfl.ledger.devnet.server import ChainServer, serve
from bcfl.roles.common.journal import Journal
from testkit.flower_apps import write_app

from .conftest import Bcfl

MNEMONIC = "test test test test test test test test test test test junk"
SMALL = ["--task", "breast-cancer", "--max-samples", 200, "--devices", 2, "--miners", 1, "--pool", "1 ether"]
TASKS = """
from dataclasses import replace
import numpy as np
from bcfl.learning import BUILT_IN, Dataset, Samples

cancer = BUILT_IN["breast-cancer"]
whole = cancer.dataset()
none = whole.test.take(np.arange(0))

def column(folder):
    raise KeyError("column")

broken = replace(cancer, load=column)
untrained = replace(cancer, load=lambda folder: Dataset(none, whole.test))
untested = replace(cancer, load=lambda folder: Dataset(whole.train))
labels = np.array([1, 2], dtype=np.int64)
from_one = replace(cancer, load=lambda folder: Dataset(none, Samples(whole.test.features[:2], labels)))
lossless = replace(cancer, loss=lambda outputs, labels: 1 / 0, shape=(), classes=0)
"""
NETWORKS = """
[networks.local]
rpc = "{url}"
mnemonic = "{mnemonic}"

[networks.elsewhere]
rpc = "{url}"
chain_id = 1

[networks.down]
rpc = "http://127.0.0.1:9"
"""


@pytest.fixture(scope="module")
def server() -> Iterator[ChainServer]:
    addresses = [account.address for account in keystore.derive(MNEMONIC, 0, 3)]
    with serve(None, addresses, port=0) as server:
        yield server


@pytest.fixture
def place(bcfl: Bcfl, tmp_path: Path, server: ChainServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with networks, a federation, and a key that has no ether."""
    app = typer.Typer()
    deploy.register(app)
    start.register(app)
    monkeypatch.setattr("bcfl.cli.app.app", app)
    for variable in ("ETH_RPC_URL", "ETH_KEYSTORE_PASSWORD"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "bcfl.toml").write_text(NETWORKS.format(url=server.url, mnemonic=MNEMONIC))
    (tmp_path / "password").write_text("open sesame")
    (tmp_path / "wrong").write_text("close sesame")
    keystore.save(tmp_path / "keys", b"\x01" * 32, "open sesame", keystore.LIGHT)
    (tmp_path / "owner.py").write_text(TASKS)
    monkeypatch.delitem(sys.modules, "owner", raising=False)
    assert bcfl("deploy", "--network", "local", *SMALL, "--json").code == 0
    return tmp_path


@pytest.fixture(scope="module")
def busy_port() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_refusals(bcfl: Bcfl, place: Path, busy_port: int) -> None:
    """One test, for the deployment costs more than all refusals."""
    poor = keystore.list_entries(place / "keys")[0].address
    by_key = ["--account", poor, "--keystore", "keys", "--password-file"]
    local, busy = ["--network", "local"], f"127.0.0.1:{busy_port}"
    (place / "file").write_text("")
    share = ["--account", 2, "--share", "1/8"]
    cases: list[tuple[list[object], str]] = [
        (["device", "--network", "elsewhere", "--account", 2], "network elsewhere is chain 1"),
        (["device", "--network", "nowhere"], "there is no network 'nowhere'"),
        (["device", *local, "--deployment", "other"], "other"),
        (["device", *local, "--deployment", "0x" + "11" * 20, "--account", 2], "0x1111"),
        (["device", *local, *by_key, "wrong"], "not the password"),
        (["device", *local, *by_key, "absent"], "absent cannot be read"),
        (["device", *local, *share, "--task", "digits"], "another layout"),
        (["device", *local, "--account", 2], "456 training samples are more than the 200 that a device of"),
        (["device", *local, "--account", 2], "--cap-samples trains on all of them and claims 200"),
        (["device", *local, "--account", 2, "--task", "owner:broken"], "be loaded: KeyError: 'column'"),
        (["device", *local, *share, "--store", "/dev/null/x"], "cannot be made"),
        (["device", *local, *share, "--store", "ipfs:nonsense"], "no address of an IPFS daemon"),
        (["device", *local, *share, "--gateway", "nonsense"], "no URL of a gateway"),
        (["device", *local, *share, "--journal", "file"], "cannot be written"),
        (["device", *local, "--account", 2, "--task", "owner:untrained"], "returned no training samples"),
        (["miner", *local, "--account", 1, "--task", "owner:untested"], "load returned no test samples"),
        (["miner", *local, "--account", 1, "--task", "owner:from_one"], "sample 1 (label 2): IndexError"),
        (["device", *local, "--account", 2, "--task", "owner:lossless"], "ZeroDivisionError: division by"),
        (["device", *local, "--account", 2, "--data", "x"], "takes no --data: leave it out"),
        (["miner", *local, "--account", 1], "join with --stake, at least"),
        (["miner", *local, *by_key, "password", "--stake", "1 ether"], "insufficient funds"),
        (["miner", *local, "--account", 1, "--journal", "j", "--listen", busy], "is taken"),
        (["round", *local, "--account", 0], "no miner has joined yet"),
    ]  # fmt: skip
    for arguments, words in cases:
        assert words in bcfl("start", *arguments).refusal, arguments


@pytest.mark.parametrize("role", ["device", "miner"])
def test_a_full_disk_at_the_start_is_waited_for(
    role: str, bcfl: Bcfl, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next try finds the journal free, and does not ask for the password again."""
    errors, asked, pauses, runs = [DiskError("the journal is full")] * 2, list[object](), list[float](), 0
    write = Journal.write

    def write_later(journal: Journal, name: str, data: bytes) -> None:
        if errors:
            raise errors.pop()
        write(journal, name, data)

    def password(file: Path | None) -> str:
        asked.append(file)
        return "open sesame"

    def run(_: Daemon, rounds: int | None = None) -> None:
        nonlocal runs
        del rounds
        runs += 1

    monkeypatch.setattr(Journal, "write", write_later)
    monkeypatch.setattr(Daemon, "run", run)
    monkeypatch.setattr(keystore, "read_password", password)
    monkeypatch.setattr("bcfl.cli.node.patience.time", SimpleNamespace(sleep=pauses.append))
    poor = keystore.list_entries(place / "keys")[0].address
    options: list[object] = ["--account", poor, "--keystore", "keys", "--share", "1/8"]
    if role == "miner":
        options = ["--account", 1, "--stake", "1 ether"]
    answer = bcfl("start", role, "--network", "local", *options)
    assert (answer.code, pauses, len(asked), runs) == (0, [1, 2], role == "device", 1)
    assert "not begun: the journal is full; the next try is in 2 s, Ctrl-C ends it" in answer.err


def test_refusals_of_flower_apps(bcfl: Bcfl, place: Path) -> None:
    """An app of another layout, and a federation of an app without its folder."""
    for kind in ("sklearn", "message"):
        write_app(place / kind, kind, f"start_{kind}")
    local = ["--network", "local", "--account"]
    other = bcfl("start", "device", *local, 2, "--flower", "message").refusal
    assert "another layout than the federation's" in other
    sizes = ["--devices", 2, "--miners", 1, "--pool", "1 ether", "--max-samples", 500]
    named = ["--name", "app", "--flower", "sklearn", "--node-config", "partition-id=0 num-partitions=3"]
    assert bcfl("deploy", "--network", "local", *named, *sizes, "--json").code == 0
    join = ["--deployment", "app", *local]
    assert (
        "learns a Flower app, sklearn: name its folder with --flower"
        in bcfl("start", "device", *join, 2).refusal
    )
    assert (
        "--flower absent: there is no such folder"
        in bcfl("start", "miner", *join, 1, "--flower", "absent").refusal
    )
    assert "another layout than" in bcfl("start", "device", *join, 2, "--flower", "message").refusal
    assert "join with --stake" in bcfl("start", "miner", *join, 1, "--flower", "sklearn").refusal
