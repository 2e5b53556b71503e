"""What parties keep on disk: nobody else may read it, and nothing lies there longer than it is needed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bcfl.config import Config
from bcfl.errors import ConfigError, DiskError, RunError
from bcfl.federation import fingerprint, local_processes
from bcfl.federation.node import Node, NodeOptions
from bcfl.federation.runs import Run
from bcfl.federation.supervisor import Supervisor
from bcfl.federation.workers import WorkerPool
from bcfl.ledger.checkpoint import Checkpoint
from bcfl.ledger.deployment import keystore
from bcfl.ledger.devnet.database import Database
from bcfl.ledger.devnet.server import serve
from bcfl.protocol.types import Phase
from bcfl.roles.common.journal import Journal
from bcfl.roles.device.trainer import RECORD, SEALED, SETTLED
from testkit.modes import mode, open_to_all, umask, wrong_modes
from tests.daemons import client_of
from tests.local_federation import LAYOUT, LocalFederation, Quadratic
from tests.unit.roles.test_trainer import snapshot_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_umask() -> Iterator[None]:
    """Let everybody read and write whatever is made without a mode."""
    with umask(0):
        yield


def state_of(local: LocalFederation) -> list[Path]:
    return [local.path / "journal", *local.path.glob("chain.sqlite*")]


def test_default_behavior(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, on_disk=True)
    local.play(2)
    assert {path.suffix for path in state_of(local)} > {".sqlite", ".sqlite-wal", ".sqlite-shm"}
    assert len(list((tmp_path / "journal").iterdir())) == len(local.device_accounts + local.miner_accounts)
    assert wrong_modes(*state_of(local)) == {}
    assert mode(next((tmp_path / "store").rglob("b*"))) == 0o666, "stores are public"


def test_what_was_open_to_others_is_tightened_by_the_next_start(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, on_disk=True)
    local.play()
    assert local.chain is not None
    local.chain.close()
    open_to_all(*state_of(local))
    local = LocalFederation(tmp_path, on_disk=True)
    local.play()
    assert wrong_modes(*(tmp_path / "journal").iterdir(), *tmp_path.glob("chain.sqlite*")) == {}


def test_files_are_private_before_they_have_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renames = []
    rename = Path.replace

    def watched(self: Path, target: Path) -> Path:
        renames.append((target.name, mode(self)))
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    local = LocalFederation(tmp_path)
    local.play()
    private = {name for name, found in renames if found == 0o600}
    assert private >= {"update", "update.json", "carry.pending", "vote.json", "batch.json", "inclusion.json"}
    assert {name[:3] for name, found in renames if found != 0o600} == {"baf"}, "and contents of the store"


def test_a_crash_leaves_nothing_open(tmp_path: Path) -> None:
    """A process that is killed between two writes to its journal, or within one."""
    folder = tmp_path / "run"
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for last in ("40", "21"):
        command = [sys.executable, "-m", "tests.killed", str(folder), "2", last]
        result = subprocess.run(
            command, cwd=ROOT, env=environment, umask=0, capture_output=True, text=True, check=False
        )
        assert result.returncode == -signal.SIGKILL, result.stderr
    state = [folder / "journal", *folder.glob("chain.sqlite*")]
    assert len(state) > 1
    assert wrong_modes(*state) == {}


def test_a_party_of_a_deployed_federation(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    client, _ = client_of(local)
    node = Node(client, local.device_accounts[0], LAYOUT, local.store, NodeOptions(tmp_path / "state"))
    node.client.ledger.keep_in(tmp_path / "state")
    node._device(local.learners[0], local.relay)
    node.client.ledger.history()
    assert {path.name[:5] for path in (tmp_path / "state").rglob("*")} >= {
        "0x" + node.account.address[2:5],
        "lock",
    }
    assert wrong_modes(tmp_path / "state") == {}


def refuse(*_: object, **__: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def test_a_journal_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = LocalFederation(tmp_path)
    client, _ = client_of(local)
    account = local.device_accounts[0]
    (tmp_path / "state" / account.address).mkdir(parents=True)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    monkeypatch.setattr(Path, "chmod", refuse)
    node = Node(client, account, LAYOUT, local.store, NodeOptions(tmp_path / "state"))
    with pytest.raises(RunError, match="cannot be written: it belongs to another user, who could read it"):
        node.device(local.learners[0])
    with pytest.raises(DiskError, match="cannot be kept: it belongs to another user"):
        Journal(tmp_path / "state" / account.address)


def make_run(folder: Path) -> list[Path]:
    with Run.create(Config(run_dir=folder / "run")) as run:
        run.set_contract("0x" + "12" * 20)
        fingerprint.check(run.path, {"model": "1"})
        assert mode(run.path) == 0o755, "its store is public"
        return list(run.path.iterdir())


def make_keystore(folder: Path) -> list[Path]:
    keystore.save(folder / "keys", bytes(31) + b"\1", "open sesame", keystore.LIGHT)
    open_to_all(folder / "keys")
    keystore.save(folder / "keys", bytes(31) + b"\2", "open sesame", keystore.LIGHT)
    return [folder / "keys"]


def make_checkpoint(folder: Path) -> list[Path]:
    checkpoint = Checkpoint(folder / "state", 1, "0x12", 0)
    assert checkpoint.read() == []
    checkpoint.close()
    assert wrong_modes(folder / "state") == {}
    open_to_all(folder / "state")
    Checkpoint(folder / "state", 1, "0x12", 0).close()
    return [folder / "state"]


def make_local_processes(folder: Path) -> list[Path]:
    local_processes.make_folders(folder / "up")
    names = [folder / "up" / name for name in ("logs", "journals", "keystore", "password")]
    open_to_all(*names)
    (folder / "up" / "logs" / "miner-1.log").touch()
    words = (folder / "up" / "password").read_text()
    local_processes.make_folders(folder / "up")
    assert (folder / "up" / "password").read_text() == words
    return names


def make_log(folder: Path) -> list[Path]:
    supervisor = Supervisor({**os.environ})
    child = supervisor.add("version", ["version"], folder / "version.log")
    assert child.process is not None
    child.process.wait()
    supervisor.stop()
    return [folder / "version.log"]


def make_chain(folder: Path) -> list[Path]:
    with serve(folder / "chain", ["0x" + "12" * 20], port=0):
        assert {path.suffix for path in (folder / "chain").iterdir()} >= {".json", ".sqlite", ".sqlite-wal"}
        assert wrong_modes(folder / "chain") == {}
    return [folder / "chain"]


def make_worker_files(folder: Path) -> list[Path]:
    del folder
    with WorkerPool(1) as pool:
        path = pool.write(np.zeros(3, np.float32))
        assert wrong_modes(pool._path) == {}
        assert path.exists()
    return []


@pytest.mark.parametrize(
    "make",
    [
        make_run, make_keystore, make_checkpoint, make_local_processes, make_log, make_chain,
        make_worker_files,
    ],
)  # fmt: skip
def test_all_that_holds_secrets_is_private(make: Callable[[Path], list[Path]], tmp_path: Path) -> None:
    assert wrong_modes(*make(tmp_path)) == {}


def test_what_sqlite_makes_beside_a_chain_is_private(tmp_path: Path) -> None:
    """Also what a process that was killed has left there, by a version that left it open."""
    (tmp_path / "killed").mkdir()
    database = Database(tmp_path / "chain.sqlite")
    database[b"key"] = b"value"
    database.commit()
    for path in tmp_path.glob("chain.sqlite*"):
        shutil.copy(path, tmp_path / "killed")
    database.close()
    open_to_all(tmp_path)
    database = Database(tmp_path / "killed" / "chain.sqlite")
    reader = Database(tmp_path / "killed" / "chain.sqlite", read_only=True)
    assert reader[b"key"] == b"value"
    assert len(list((tmp_path / "killed").iterdir())) == 4
    assert wrong_modes(*(tmp_path / "killed").iterdir()) == {}
    reader.close()
    database.close()
    assert wrong_modes(*(tmp_path / "killed").iterdir()) == {}


def sealed(local: LocalFederation) -> list[Path]:
    """The files with a plain update in them, of all devices."""
    return sorted(path for path in (local.path / "journal").rglob(f"*{SEALED}*") if path.suffix != ".json")


def test_an_update_is_removed_when_its_round_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by a device that trains no more."""
    local = LocalFederation(tmp_path)
    local.until(Phase.VOTE)
    assert len(sealed(local)) == local.devices, "a restart may have to publish it"
    local.play()

    def fail(*_: object) -> None:
        raise ConfigError("no data")

    monkeypatch.setattr(Quadratic, "train", fail)
    for device in local.restart().device_parties:
        assert device.act() == "sits out the round"
    assert sealed(local) == []
    assert all(device.journal.read_json(RECORD) for device in local.device_parties)


def test_an_update_of_a_void_round_is_removed(tmp_path: Path) -> None:
    """After a restart, and with what damage and a crash have left of it."""
    local = LocalFederation(tmp_path)
    local.until(Phase.REVEAL)
    folder = tmp_path / "journal" / local.device_accounts[0].address
    for name in (f"{SEALED}.damaged", f".{SEALED}.new"):
        (folder / name).write_bytes(b"a part of it")
    local.remove(*local.device_parties)
    assert local.play().status == "void"
    assert len(sealed(local)) == local.devices + 2
    local = local.restart()
    for device in local.device_parties:
        device.trainer.forget(snapshot_of(local))
    assert sealed(local) == []


def test_a_restart_before_the_end_of_the_round_has_its_update(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    for phase in (Phase.REVEAL, Phase.VOTE, Phase.PROPOSE):
        local.until(phase)
        local = local.restart()
        for device in local.device_parties:
            device.act()
        assert len(sealed(local)) == local.devices
    round_ = local.play()
    assert len(round_.accepted_submissions()) == local.devices
    assert [learner.trainings for learner in local.learners] == [1] * local.devices


def test_a_node_that_is_behind_takes_no_update_away(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    first = snapshot_of(local)
    local.play()
    local.until(Phase.REVEAL)
    device = local.restart().device_parties[0]
    device.trainer.forget(first)
    assert (device.journal.read(SEALED) or b"")[:8] == (2).to_bytes(8, "big")
    device.trainer.forget(snapshot_of(local))
    assert device.journal.read(SEALED)


def test_residuals_stay(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    local.play(2)
    local.until(Phase.REVEAL)
    assert all(device.journal.read(SETTLED) for device in local.device_parties)


def test_a_record_that_cannot_be_removed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path)
    journal.write("update", b"1")
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(DiskError, match="cannot remove the journal record"):
        journal.remove("update")
    Journal(None).remove("update")


SPOOL = """
import os, signal, sys
from pathlib import Path
import numpy as np
from bcfl.roles.watchtower.spool import Spool
folder = Path(sys.argv[1])
with Spool(folder) as spool:
    vectors = [spool.add(np.arange(1000, dtype=np.int32) + n) for n in range(3)]
    assert [int(vector[5:6][0]) for vector in vectors] == [5, 6, 7]
    assert len(vectors[0][4:4]) == 0
    print(sorted(path.name for path in folder.iterdir()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_spool_is_gone_with_its_process(tmp_path: Path) -> None:
    """It has no name while it is in use, either, so that there is nothing for anybody to open."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SPOOL, str(tmp_path)]
    result = subprocess.run(
        command, cwd=ROOT, env=environment, umask=0, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (-signal.SIGKILL, "[]\n"), result.stderr
    assert list(tmp_path.iterdir()) == []
