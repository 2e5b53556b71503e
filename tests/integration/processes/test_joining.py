"""How a party joins a deployed federation: what has to fit, and what is said on chain."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bcfl.cli.node import start
from bcfl.errors import ConfigError, DiskError, RunError
from bcfl.federation.client import FederationClient
from bcfl.federation.node import FEDERATION, MinerOptions, Node, NodeOptions
from bcfl.federation.registration import open_first_round, register_miner
from bcfl.protocol.types import Layout, Mode, TensorSpec
from bcfl.protocol.wishes import parse
from tests.daemons import client_of
from tests.local_federation import LAYOUT, TERMS, LocalFederation


def test_the_first_round_waits_for_its_miners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    local = LocalFederation(tmp_path)
    client, _ = client_of(local)
    coming = iter(local.miner_parties)

    def sleep(_: float) -> None:
        register_miner(client, next(coming).account, "http://127.0.0.1:1", None)

    monkeypatch.setattr("bcfl.cli.node.start.time.sleep", sleep)
    start._await_miners(client, 2)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"waiting: {ready} of 2 miners can be reached" for ready in (0, 1)]
    assert next(coming) is local.miner_parties[2]


def test_another_model_is_refused(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    client, _ = client_of(local)
    other = Layout((TensorSpec("bias", (4,)),))
    with pytest.raises(ConfigError, match="another layout"):
        client.archive(other, local.store)
    assert client.archive(LAYOUT, local.store).layout == LAYOUT


def test_two_processes_do_not_share_a_journal(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    client, _ = client_of(local)
    options = NodeOptions(tmp_path / "journal")

    def start() -> None:
        Node(client, local.device_accounts[0], LAYOUT, local.store, options).device(local.learners[0])

    start()
    with pytest.raises(ConfigError, match="runs already"):
        start()


def join(client: FederationClient, local: LocalFederation, role: str, **options: Any) -> None:
    """Join as the first device, or the first miner, of a local federation."""
    account = (local.miner_accounts if role == "miner" else local.device_accounts)[0]
    learner = local.learners[0]
    node = Node(client, account, LAYOUT, local.store, NodeOptions(None))
    if role == "device":
        node.device(learner)
    elif role == "miner":
        with node.miner(learner, MinerOptions(**options)):
            pass
    else:
        with node.peer(learner, learner, MinerOptions(**options)):
            pass


def test_in_full_mode_every_party_is_both(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, dual_accounts=4, terms=replace(TERMS, mode=Mode.FULL))
    client, _ = client_of(local)
    for role in ("device", "miner"):
        with pytest.raises(ConfigError, match=r"demo is of mode full, where every .* join as both"):
            join(client, local, role)
    join(client, local, "peer")
    me = local.device_accounts[0].address
    assert client.ledger.history().endpoints[me].startswith("http://127.0.0.1:")
    local.device_accounts[0] = local.owner
    with pytest.raises(ConfigError, match="is no device of demo: its owner registers devices first"):
        join(client, local, "peer")


def test_in_other_modes_nobody_is(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    client, _ = client_of(local)
    with pytest.raises(ConfigError, match="demo is not of mode full: join as a device or as a miner"):
        join(client, local, "peer")
    with pytest.raises(ConfigError, match="demo is of mode partial: only hybrid changes its engine"):
        join(client, local, "miner", wishes=(parse("pow"),))


def test_a_miner_enrols_once_and_announces_what_is_new(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    client, _ = client_of(local)
    account = local.miner_parties[0].account
    blocks = []
    for endpoint in ("http://127.0.0.1:1", "http://127.0.0.1:1", "https://miner.example"):
        register_miner(client, account, endpoint, None)
        blocks.append(local.chain.request("eth_blockNumber"))  # type: ignore[union-attr]
    assert blocks[0] == blocks[1] != blocks[2]
    assert client.ledger.history().endpoints[account.address] == "https://miner.example"
    with pytest.raises(ConfigError, match="join with --stake, at least 1 ether"):
        register_miner(client, local.device_accounts[0], "http://127.0.0.1:1", None)
    assert not open_first_round(client, local.owner)
    assert replace(client, name="x").address == client.address


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, DiskError), (errno.EIO, DiskError), (errno.EACCES, RunError)]
)
def test_a_journal_on_a_full_disk_is_another_thing_than_one_that_is_refused(
    number: int, kind: type[RunError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = LocalFederation(tmp_path)
    client, _ = client_of(local)
    node = Node(client, local.owner, LAYOUT, local.store, NodeOptions(tmp_path / "new"))

    def refuse(_: Path) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr("bcfl.federation.node.private_folder", refuse)
        with pytest.raises(RunError, match="cannot be written") as caught:
            _ = node.journal
    assert type(caught.value) is kind
    assert node.journal.read(FEDERATION) is not None


def test_a_journal_is_free_again_once_its_node_is_closed(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    client, _ = client_of(local)
    one, other = (
        Node(client, local.owner, LAYOUT, local.store, NodeOptions(tmp_path / "new")) for _ in range(2)
    )
    first = one.journal
    with pytest.raises(ConfigError, match="is in use"):
        _ = other.journal
    one.close()
    assert other.journal is not first
