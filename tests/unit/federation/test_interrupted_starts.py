"""What a full disk, a kill or a power cut leaves of a first start is in the way of no later one."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bcfl.config import Config
from bcfl.errors import ConfigError, RunError
from bcfl.federation import fingerprint
from bcfl.federation.local_processes import PASSWORD, make_folders
from bcfl.federation.noise_secret import run_secret
from bcfl.federation.runs import FILE, LOCK, Run
from bcfl.ledger.deployment import keystore
from bcfl.ledger.devnet import server
from testkit.modes import mode


def make_run(folder: Path) -> None:
    Run.create(Config(run_dir=folder)).close()


STARTS: list[Callable[[Path], object]] = [
    make_folders,
    make_run,
    run_secret,
    lambda folder: fingerprint.check(folder, {"model": "1"}),
    lambda folder: server._genesis_time(folder, []),
    lambda folder: keystore.save(folder, bytes(31) + b"1", "password", keystore.LIGHT),
]


@pytest.mark.parametrize("start", STARTS)
def test_a_full_disk_leaves_nothing_in_the_way(
    start: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises((RunError, ConfigError), match="No space left on device"):
            start(tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_file()]
    start(tmp_path)


def test_an_empty_password_that_was_not_the_users_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / PASSWORD).touch()
    make_folders(tmp_path)
    assert keystore.read_password(tmp_path / PASSWORD)
    assert mode(tmp_path / PASSWORD) == 0o600


@pytest.mark.parametrize("name", [LOCK, f".{FILE}.12345678"])
def test_the_folder_of_a_run_that_was_killed_at_its_start_takes_a_run(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    make_run(tmp_path)
    with pytest.raises(RunError, match="holds a run"):
        make_run(tmp_path)


def test_the_folder_of_a_chain_that_was_killed_at_its_start_takes_a_chain(tmp_path: Path) -> None:
    (tmp_path / f".{server.FILE}.12345678").touch()
    began = server._genesis_time(tmp_path, [])
    assert server._genesis_time(tmp_path, []) == began
