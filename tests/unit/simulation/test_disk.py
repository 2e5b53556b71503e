"""The disk of the simulation: what a power cut leaves of what was synced, and of what was not."""

from __future__ import annotations

from contextlib import suppress
from itertools import count

import pytest

from bcfl.errors import DiskError
from bcfl.roles.common.journal import Journal
from tests.simulation.disk import Disk, DiskCalls, DiskPath


class PowerCut(BaseException):
    """The machine is off."""


def most(limit: int, what: str) -> int:
    """Let the disk have done as much as it can."""
    del what
    return limit


def least(limit: int, what: str) -> int:
    """Let the disk have done as little as it can."""
    del limit, what
    return 0


def half(limit: int, what: str) -> int:
    """Let the disk have done half of it."""
    del what
    return limit // 2


def cut_at(disk: Disk, operation: int, error: BaseException | None = None) -> None:
    """Let the power fail, or an error be met, before an operation of the disk, counted from now."""
    numbers, failure = count(), error or PowerCut()

    def before(*_: str) -> None:
        if next(numbers) == operation:
            raise failure

    disk.before = before


def heal(disk: Disk) -> None:
    """Let nothing fail any more."""
    disk.before = lambda *_: None


@pytest.mark.parametrize("draw", [most, least, half])
def test_a_record_is_the_old_or_the_new_one_whenever_the_power_fails(draw: object) -> None:
    calls = DiskCalls()
    with calls.beneath_journals():
        for operation in range(8):
            disk = Disk()
            with calls.on(disk):
                Journal(DiskPath(disk)).write("vote", b"old " * 20)  # type: ignore[arg-type]
                cut_at(disk, operation)
                try:
                    Journal(DiskPath(disk)).write("vote", b"new " * 20)  # type: ignore[arg-type]
                    is_written = True
                except PowerCut:
                    is_written = False
                heal(disk)
                disk.cut_power(draw)  # type: ignore[arg-type]
                content = Journal(DiskPath(disk)).read("vote")  # type: ignore[arg-type]
            assert content in ((b"new " * 20,) if is_written else (b"old " * 20, b"new " * 20))
        assert is_written  # there are fewer operations than were tried


@pytest.mark.parametrize("is_killed", [False, True], ids=["error", "killed"])
@pytest.mark.parametrize("draw", [most, least, half])
def test_what_was_read_is_not_gone_after_a_power_cut(draw: object, is_killed: bool) -> None:
    """A party signs what it has read: after an error in writing it, too, and in the process that follows."""
    calls, last = DiskCalls(), list[bytes]()
    with calls.beneath_journals():
        for operation in range(8):
            disk = Disk()
            with calls.on(disk):
                journal = Journal(DiskPath(disk))  # type: ignore[arg-type]
                journal.write("vote", b"old " * 20)
                cut_at(disk, operation, PowerCut() if is_killed else OSError(5, "Input/output error"))
                with suppress(PowerCut, DiskError):
                    journal.write("vote", b"new " * 20)
                heal(disk)
                if is_killed:
                    journal = Journal(DiskPath(disk))  # type: ignore[arg-type]
                content = journal.read("vote")
                disk.cut_power(draw)  # type: ignore[arg-type]
                assert Journal(DiskPath(disk)).read("vote") == content  # type: ignore[arg-type]
            assert content is not None
            last.append(content)
    assert set(last) == {b"old " * 20, b"new " * 20}


def test_nothing_is_read_that_cannot_be_made_safe() -> None:
    disk, calls = Disk(), DiskCalls()

    def refuse(operation: str, what: str) -> None:
        if (operation, what) == ("fsync", "folder"):
            raise OSError(28, "No space left on device")

    with calls.beneath_journals(), calls.on(disk):
        journal = Journal(DiskPath(disk))  # type: ignore[arg-type]
        disk.before = refuse
        with pytest.raises(DiskError, match="No space left"):
            journal.write("vote", b"new")
        with pytest.raises(DiskError, match="No space left"):
            journal.read("vote")
        heal(disk)
        assert journal.read("vote") == b"new"


def test_what_is_not_synced_may_be_lost_torn_or_whole() -> None:
    contents = set()
    for choice in range(4):
        disk = Disk()
        DiskPath(disk, "a").open("wb").write(b"0123456789")
        disk.durable = dict(disk.names)
        disk.cut_power(lambda limit, what, choice=choice: choice if what == "bytes a" else limit // 2)  # type: ignore[misc]
        contents.add(DiskPath(disk, "a").read_bytes())
    assert contents == {b"", b"0123", b"0123" + bytes(6), b"0123456789"}


def test_a_rename_that_is_not_synced_may_be_undone() -> None:
    disk, calls = Disk(), DiskCalls()
    (DiskPath(disk) / "new").open("wb").write(b"1")
    with calls.on(disk):
        calls.fsync(calls.open(DiskPath(disk), 0))
    disk.rename("new", "old")
    disk.cut_power(least)
    assert list(disk.names) == ["new"]
    disk.rename("new", "old")
    disk.cut_power(most)
    assert list(disk.names) == ["old"]


def test_a_full_disk_is_foreseen_and_leaves_the_old_record() -> None:
    disk, calls = Disk(), DiskCalls()
    with calls.beneath_journals(), calls.on(disk):
        journal = Journal(DiskPath(disk))  # type: ignore[arg-type]
        journal.write("vote", b"old")

        def refuse(operation: str, _: str) -> None:
            if operation == "write":
                raise OSError(28, "No space left on device")

        disk.before = refuse
        with pytest.raises(DiskError, match="No space left"):
            journal.write("vote", b"new")
        heal(disk)
        assert journal.read("vote") == b"old"
        assert list(disk.names) == ["vote"]


def test_a_rotten_record_is_set_aside() -> None:
    disk, calls = Disk(), DiskCalls()
    with calls.beneath_journals(), calls.on(disk):
        journal = Journal(DiskPath(disk))  # type: ignore[arg-type]
        journal.write("vote", b"content")
        assert disk.rot(least) == "vote"
        assert journal.read("vote") is None
        assert list(disk.names) == ["vote.damaged"]
