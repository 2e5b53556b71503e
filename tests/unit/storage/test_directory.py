"""The directory store: whole or not at all, and nothing but the bytes of the CID."""

from __future__ import annotations

import errno
import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from bcfl.errors import CidError, Corrupt, StoreError, Unavailable
from bcfl.protocol import cid as cids
from bcfl.storage import DirectoryStore

DATA = b"weights of a model"
CID = cids.compute(DATA)


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "a" / "store")


def files(store: DirectoryStore) -> list[Path]:
    return [path for path in store.path.rglob("*") if not path.is_dir()]


def test_put_then_get(store: DirectoryStore) -> None:
    assert store.put(DATA) == CID
    assert store.get(CID, len(DATA)) == DATA
    assert store.has(CID)


@pytest.mark.parametrize("size", [0, 262_144, 262_145, 1_000_000])
@pytest.mark.parametrize("sync", [False, True])
def test_every_size_comes_back(tmp_path: Path, size: int, sync: bool) -> None:
    data = os.urandom(size)
    DirectoryStore(tmp_path, sync=sync).put(data)
    assert DirectoryStore(tmp_path).get(cids.compute(data), size) == data


def test_the_same_bytes_are_kept_once(store: DirectoryStore) -> None:
    assert store.put(DATA) == store.put(DATA)
    assert files(store) == [store.path / CID[-3:-1] / CID]


def test_absent_content_is_unavailable(store: DirectoryStore) -> None:
    assert not store.has(CID)
    with pytest.raises(Unavailable, match=CID) as error:
        store.get(CID, 100)
    assert error.value.cid == CID


@pytest.mark.parametrize("bad", [b"", b"weights of a modem", DATA + b"!", DATA[:-1]])
def test_corrupt_content_names_its_cid_and_put_repairs_it(store: DirectoryStore, bad: bytes) -> None:
    store.put(DATA)
    files(store)[0].write_bytes(bad)
    with pytest.raises(Corrupt, match=CID):
        store.get(CID, 100)
    store.put(DATA)
    assert store.get(CID, 100) == DATA


def test_more_than_expected_is_refused_before_it_is_read(store: DirectoryStore) -> None:
    store.put(DATA)
    with files(store)[0].open("r+b") as stream:
        stream.truncate(1 << 40)  # sparse: reading it would not end
    with pytest.raises(StoreError, match=f"{CID} has {1 << 40} bytes, more than the 18 expected"):
        store.get(CID, len(DATA))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "../../etc/passwd",
        f"../{CID}",
        f"{CID}/..",
        CID + "\n",
        CID.upper(),
        CID[:-1],
        "/etc/passwd",
        "\0",
        "QmXo",
    ],
)
def test_cid_pasted_into_a_path(store: DirectoryStore, text: str) -> None:
    with pytest.raises(CidError):
        store.get(text, 100)
    with pytest.raises(CidError):
        store.has(text)


def test_a_folder_or_a_pipe_in_a_contents_place(store: DirectoryStore) -> None:
    store.put(DATA)
    path = files(store)[0]
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Corrupt, match="not a file"):
        store.get(CID, 100)
    assert not store.has(CID)
    path.unlink()
    path.mkdir()
    with pytest.raises(Corrupt, match="not a file"):
        store.get(CID, 100)
    with pytest.raises(StoreError, match=f"cannot keep {CID}"):
        store.put(DATA)


def test_disk_full(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        """A file on a full disk: takes three bytes, then no more."""

        def __init__(self, stream: IO[bytes]) -> None:
            self.stream = stream

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.stream.close()

        def write(self, data: bytes) -> int:
            self.stream.write(data[:3])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    original_open: Callable[[Path, str], IO[bytes]] = Path.open
    store.put(b"kept before")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda path, mode: Full(original_open(path, mode)))
        with pytest.raises(
            StoreError, match=f"cannot keep {CID}: No space left on device; free some"
        ) as error:
            store.put(DATA)
    assert "\n" not in str(error.value)
    assert [path.name for path in files(store)] == [cids.compute(b"kept before")]
    assert store.get(store.put(DATA), 100) == DATA


def test_a_file_too_large_for_its_place_leaves_nothing(store: DirectoryStore) -> None:
    """The kernel itself cuts the write short here."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(StoreError, match="File too large; free some space"):
            store.put(bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(store) == []


def test_a_place_that_cannot_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be made"):
        DirectoryStore(tmp_path / "file")
    with pytest.raises(StoreError, match="cannot be made"):
        DirectoryStore(tmp_path / "file" / "below")


def test_a_place_that_vanishes(store: DirectoryStore) -> None:
    store.path.rmdir()
    store.path.write_text("in the way")
    with pytest.raises(StoreError, match=f"cannot keep {CID}: Not a directory"):
        store.put(DATA)
    with pytest.raises(StoreError, match=f"cannot read {CID}: Not a directory"):
        store.get(CID, 100)
    assert not store.has(CID)


def test_many_writers_of_the_same_bytes(store: DirectoryStore) -> None:
    data = os.urandom(300_000)
    writers = [threading.Thread(target=store.put, args=(data,)) for _ in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert store.get(cids.compute(data), 300_000) == data
    assert len(files(store)) == 1
