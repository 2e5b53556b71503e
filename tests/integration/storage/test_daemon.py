"""The store on a real IPFS daemon: the same CIDs as in a folder, and a daemon that comes and goes."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from bcfl.errors import Corrupt, Oversized, StoreError, Unavailable
from bcfl.protocol import cid as cids
from bcfl.storage import DirectoryStore, FallbackStore, GatewayStore, KuboStore, Retries
from tests.ipfs.fake import Request, Server, reply
from tests.ipfs.ipfs import Daemon
from tests.processes import ANSWER, STALL_SECONDS

CHUNK = cids.CHUNK_BYTES
RETRIES = Retries(times=20, first_seconds=0.1, longest_seconds=30.0)


@pytest.fixture
def store(daemon: Daemon) -> KuboStore:
    return KuboStore(daemon.address, timeout=ANSWER)


def test_default_behavior(store: KuboStore) -> None:
    data = os.urandom(1_000_000)
    cid = store.put(data)
    assert store.get(cid, len(data)) == data
    assert store.has(cid)


def test_it_says_what_it_is(store: KuboStore) -> None:
    assert store.check() == "js-ipfs 0.18.1"


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 174 * CHUNK + 1])
def test_the_same_cids_as_in_a_folder(store: KuboStore, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    folder = DirectoryStore(tmp_path)
    assert store.put(data) == folder.put(data)
    assert store.get(cids.compute(data), size) == data


def test_equal_chunks(store: KuboStore) -> None:
    data = bytes(5 * CHUNK + 7)
    assert store.get(store.put(data), len(data)) == data


def test_put_twice(store: KuboStore) -> None:
    assert store.put(b"twice") == store.put(b"twice")


def test_more_than_expected_is_refused(store: KuboStore) -> None:
    cid = store.put(bytes(1_000_000))
    with pytest.raises(Oversized, match=f"{cid} has more than the 999999 bytes expected"):
        store.get(cid, 999_999)


def test_what_nobody_has(daemon: Daemon) -> None:
    """The daemon asks its peers, of which there are none, until the time is over."""
    store = KuboStore(daemon.address, timeout=0.7)
    absent = cids.compute(b"nobody has this")
    assert not store.has(absent)
    with pytest.raises(Unavailable, match=absent):
        store.get(absent, 100)
    with pytest.raises(Unavailable, match=absent):
        store.pin(absent)


def test_a_part_that_nobody_has(daemon: Daemon) -> None:
    store = KuboStore(daemon.address, timeout=1.5)
    data = os.urandom(3 * CHUNK)
    cid = store.put(data)
    store.unpin(cid)
    daemon.post(f"block/rm?arg={cids.compute(data[CHUNK : 2 * CHUNK])}&force=true")
    with pytest.raises(Unavailable, match=cid):
        store.get(cid, len(data))
    store.put(data)
    assert store.get(cid, len(data)) == data


def test_what_is_unpinned_goes_and_what_is_pinned_stays(daemon: Daemon, store: KuboStore) -> None:
    old, new = store.put(os.urandom(CHUNK + 1)), store.put(os.urandom(CHUNK + 1))
    for _ in range(2):
        store.pin(old)
        store.pin(new)
    for _ in range(2):  # the second time there is nothing to do
        store.unpin(old)
    store.unpin(cids.compute(b"never seen"))
    daemon.post("repo/gc")
    assert not store.has(old)
    assert store.has(new)
    assert len(store.get(new, CHUNK + 1)) == CHUNK + 1


def test_what_is_held_but_not_pinned(store: KuboStore) -> None:
    cid = store.put(b"held for a while")
    store.unpin(cid)
    assert store.has(cid)


def test_a_folder_is_not_a_payload(daemon: Daemon, store: KuboStore) -> None:
    daemon.post("files/mkdir?arg=/folder&cid-version=1")
    folder = str(cids.Cid(cids.DAG_PB, hashlib.sha256(b"\x0a\x02\x08\x01").digest()))
    with pytest.raises(Corrupt, match=f"{folder} is not a file"):
        store.get(folder, 100)


def test_a_daemon_that_is_killed_and_comes_back(daemon: Daemon) -> None:
    data = os.urandom(CHUNK + 1)
    store = KuboStore(daemon.address, timeout=STALL_SECONDS, retries=RETRIES)
    cid = store.put(data)
    daemon.kill()
    with pytest.raises(StoreError, match=r"does not answer: connection refused; is `ipfs daemon` running"):
        KuboStore(daemon.address, retries=Retries(times=1, first_seconds=0.01)).put(b"away")
    back = threading.Thread(target=daemon.start)
    back.start()
    try:
        assert store.get(cid, len(data)) == data
    finally:
        back.join()
    assert store.has(store.put(b"after"))


def test_its_gateway_gives_the_file_itself(daemon: Daemon, store: KuboStore) -> None:
    data = os.urandom(2 * CHUNK + 5)
    small, large = store.put(b"small"), store.put(data)
    gateway = GatewayStore(daemon.gateway)
    assert gateway.get(small, 5) == b"small"
    assert gateway.get(large, len(data)) == data
    assert gateway.has(large)


def test_archives_as_a_daemon_makes_them(daemon: Daemon, store: KuboStore) -> None:
    """A trustless gateway in front of the daemon: its archives, equal chunks and two levels included."""
    contents = [os.urandom(3 * CHUNK), bytes(3 * CHUNK + 1), bytes(175 * CHUNK)]

    def script(request: Request) -> list[bytes]:
        cid = request.path.removeprefix("/ipfs/")
        return reply(daemon.post(f"dag/export?arg={cid}"), Content_Type="application/vnd.ipld.car")

    with Server(script) as server:
        gateway = GatewayStore(server.url)
        for data in contents:
            assert gateway.get(store.put(data), len(data)) == data


def test_falling_back_while_the_daemon_is_away(daemon: Daemon, store: KuboStore) -> None:
    cid = store.put(b"only in the daemon")
    away = KuboStore("/ip4/127.0.0.1/tcp/1", retries=Retries(times=0))
    assert FallbackStore(away, GatewayStore(daemon.gateway)).get(cid, 100) == b"only in the daemon"
