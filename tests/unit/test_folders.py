"""Folders and files of secrets are their owner's alone, whatever the umask and whatever was there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bcfl import folders
from bcfl.folders import make_folder, private_file, private_folder
from testkit.modes import mode, umask, wrong_modes

MASKS = [0o000, 0o022, 0o077, 0o777]


@pytest.mark.parametrize("mask", MASKS)
def test_default_behavior(mask: int, tmp_path: Path) -> None:
    state = tmp_path / "a" / "b" / "state"
    with umask(mask):
        private_folder(state)
        private_file(state / "key").write_text("secret")
    assert wrong_modes(tmp_path / "a") == {}
    assert private_file(state / "key").read_text() == "secret"


def test_what_was_open_to_others_is_tightened(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "below").mkdir()
    (state / "link").symlink_to(tmp_path / "outside")
    for path in (state / "key", tmp_path / "outside"):
        path.write_text("secret")
        path.chmod(0o664)
    state.chmod(0o777)
    private_folder(state)
    assert (mode(state), mode(state / "key")) == (0o700, 0o600)
    assert mode(tmp_path / "outside") == 0o664, "what only a link is in the folder of is somebody else's"


def test_a_file_that_was_open_to_others_is_tightened_before_it_is_opened(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("first")
    file.chmod(0o666)
    with private_file(file).open("a") as log:
        assert mode(file) == 0o600
        log.write(", second")
    assert file.read_text() == "first, second"


def test_what_only_its_owner_may_read_stays_as_it_is(tmp_path: Path) -> None:
    """An owner who lets nobody write, itself included, means it."""
    file = private_file(tmp_path / "key")
    file.chmod(0o400)
    tmp_path.chmod(0o500)
    private_file(file)
    private_folder(tmp_path)
    assert (mode(file), mode(tmp_path)) == (0o400, 0o500)
    tmp_path.chmod(0o700)


def test_a_folder_that_a_user_shares_stays_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "holiday.jpg").touch(0o644)
    tmp_path.chmod(0o755)
    private_folder(tmp_path, ("UTC--",))
    assert (mode(tmp_path), mode(tmp_path / "holiday.jpg")) == (0o755, 0o644)
    assert not caplog.messages
    tmp_path.chmod(0o777)
    private_folder(tmp_path, ("UTC--",))
    assert mode(tmp_path) == 0o777
    assert [line.partition(" in /")[0] for line in caplog.messages] == [
        "others may put files in the place of yours"
    ]


def test_a_folder_for_everybody_stays_as_it_is(tmp_path: Path) -> None:
    """Such as /tmp, which may be empty."""
    tmp_path.chmod(0o1777)
    private_folder(tmp_path)
    assert mode(tmp_path) == 0o777


def test_a_folder_that_was_made_before_stays_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_folder(tmp_path / "below")
    make_folder(tmp_path)
    assert (mode(tmp_path), mode(tmp_path / "below")) == (0o755, 0o700)


@pytest.mark.parametrize("make", [private_folder, private_file])
def test_what_belongs_to_another_user_is_refused(
    make: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    path.mkdir() if make is private_folder else path.touch()
    path.chmod(0o755)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(PermissionError, match="another user, who could read it: make it yours"):
        make(path)


def test_a_file_system_without_permissions_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(Path, "chmod", lambda *_: None)
    monkeypatch.setattr(folders, "_warned", set())
    private_folder(tmp_path / "one")
    private_folder(tmp_path / "two")
    assert len(caplog.messages) == 1
    assert "its file system keeps no permissions; name a folder on another one" in caplog.messages[0]


def test_a_file_in_the_place_of_a_folder_is_told_as_ever(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file")
    with pytest.raises(NotADirectoryError):
        make_folder(tmp_path / "file" / "below")


def test_the_place_for_what_is_temporary_is_private() -> None:
    """What `Spool` and `WorkerPool` stand on."""
    with umask(0), tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as file:
        assert mode(Path(folder)) == 0o700
        assert os.fstat(file.fileno()).st_mode & 0o777 == 0o600
