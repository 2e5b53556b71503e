"""Records on disk: whole, damaged, and where the disk refuses."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest

from bcfl.errors import DiskError
from bcfl.roles.common.journal import DAMAGED, SEAL, Journal

MUTATIONS = int(os.environ.get("MUTATED_JOURNALS", "300"))
CONTENT = {"round": 7, "verdicts": [3, 3, 5], "wish": 0}


def test_default_behavior(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    assert journal.read("vote.json") is None
    journal.write_json("vote.json", CONTENT)
    journal.write("sealed", b"\nsha256:" * 3)
    again = Journal(tmp_path / "journal")
    assert again.read_json("vote.json") == CONTENT
    assert again.read("sealed") == b"\nsha256:" * 3
    assert sorted(file.name for file in (tmp_path / "journal").iterdir()) == ["sealed", "vote.json"]


def test_no_damage_is_taken_for_a_record(tmp_path: Path) -> None:
    """`MUTATED_JOURNALS=10000` plays a campaign: bits, bytes, ends, and pages of another file."""
    random, journal = Random(5), Journal(tmp_path)
    journal.write_json("vote.json", CONTENT)
    file = tmp_path / "vote.json"
    whole = file.read_bytes()
    for number in range(MUTATIONS):
        data, place = bytearray(whole), random.randrange(len(whole))
        kind = number % 5
        if kind == 0:
            data[place] ^= 1 << random.randrange(8)
        elif kind == 1:
            del data[place:]
        elif kind == 2:
            data[place:] = bytes(len(data) - place)
        elif kind == 3:
            data += random.randbytes(random.randrange(1, 64))
        else:
            data[place : place + 8] = random.randbytes(8)
        file.write_bytes(data)
        assert journal.read_json("vote.json") == (CONTENT if data == whole else None)
        aside = tmp_path / f"vote.json{DAMAGED}"
        assert data == whole or aside.read_bytes() == data


@pytest.mark.parametrize("path", [None, Path("0x12")])
def test_a_record_of_another_version_is_set_aside(
    path: Path | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is made again, as what is damaged: the party would else stand still until somebody comes.

    What cannot be made again, the tensors that are a device's own, is not read by `reading`, and still ends
    the party: `test_shared.py` and `test_flower.py`.
    """
    journal = Journal(None if path is None else tmp_path / path)
    journal.write("vote.json", b"[]")
    assert journal.read_json("vote.json") is None
    journal.write_json("vote.json", CONTENT)
    record = journal.read_json("vote.json") or {}
    with journal.reading("vote.json"):
        int(record["round of later"])
    assert journal.read("vote.json") is None
    if path is not None:
        assert "vote.json is of another version: it is kept as vote.json.damaged" in caplog.text
        assert (tmp_path / path / f"vote.json{DAMAGED}").exists()
    with pytest.raises(DiskError), journal.reading("vote.json"):
        raise DiskError("full")


@pytest.mark.parametrize("place", ["0x12/update.json", "0x34/vote.json"])
def test_a_record_of_another_place_is_set_aside(place: str, tmp_path: Path) -> None:
    """Of another name or another account: its bytes are whole, and say what this one has never done."""
    Journal(tmp_path / "0x12").write_json("vote.json", CONTENT)
    (tmp_path / "0x34").mkdir()
    shutil.copy(tmp_path / "0x12" / "vote.json", tmp_path / place)
    assert Journal(tmp_path / place.split("/")[0]).read(place.split("/")[1]) is None
    assert (tmp_path / f"{place}{DAMAGED}").exists()
    assert Journal(tmp_path / "0x12").read_json("vote.json") == CONTENT


def test_a_record_of_before_places_were_recorded_is_read(tmp_path: Path) -> None:
    data = json.dumps(CONTENT).encode()
    (tmp_path / "vote.json").write_bytes(data + SEAL + sha256(data).hexdigest().encode())
    assert Journal(tmp_path).read_json("vote.json") == CONTENT


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_record_before(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path)
    journal.write_json("vote.json", CONTENT)

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"os.{call}" if call == "fsync" else f"pathlib.Path.{call}", refuse)
        with pytest.raises(DiskError, match="No space left"):
            journal.write_json("vote.json", {"round": 8})
    assert journal.read_json("vote.json") == CONTENT
    assert [file.name for file in tmp_path.iterdir()] == ["vote.json"]
    journal.write_json("vote.json", {"round": 8})
    assert journal.read_json("vote.json") == {"round": 8}


@pytest.mark.parametrize("sync", [True, False])
def test_a_record_is_synced_before_it_has_its_name(
    sync: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, fsync, replace = list[str](), os.fsync, Path.replace

    def note_fsync(number: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(number).st_mode) else "file")
        fsync(number)

    def note_replace(path: Path, target: Path) -> Path:
        calls.append("name")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    journal = Journal(tmp_path, sync=sync)
    journal.write_json("vote.json", CONTENT)
    assert calls == (["file", "name", "folder"] if sync else ["name"])
    assert journal.read_json("vote.json") == CONTENT


def test_a_disk_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "vote.json").mkdir()
    with pytest.raises(DiskError, match="cannot read the journal"):
        Journal(tmp_path).read("vote.json")
