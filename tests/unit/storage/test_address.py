"""From an address to a store, and what happens when the first of two stores fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bcfl.errors import CidError, ConfigError, Corrupt, StoreError, Unavailable
from bcfl.protocol import cid as cids
from bcfl.storage import DirectoryStore, FallbackStore, GatewayStore, KuboStore, Pins, Retries, open_store
from tests.ipfs.fake import Server, reply

DATA = b"weights of a model"
CID = cids.compute(DATA)
ONCE = Retries(times=0)
AWAY = KuboStore("/ip4/127.0.0.1/tcp/1", retries=ONCE)


def test_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for address in (str(tmp_path / "a"), "~/a"):
        store = open_store(address)
        assert isinstance(store, DirectoryStore)
        assert store.path == tmp_path / "a"


def test_a_daemon() -> None:
    store = open_store("ipfs:/ip4/127.0.0.1/tcp/5001")
    assert isinstance(store, KuboStore)
    assert store.address == "/ip4/127.0.0.1/tcp/5001"
    assert isinstance(store, Pins)


def test_a_gateway_to_fall_back_on(tmp_path: Path) -> None:
    store = open_store(str(tmp_path), "https://gateway.invalid")
    assert isinstance(store, FallbackStore)
    assert isinstance(store.primary, DirectoryStore)
    assert isinstance(store.fallback, GatewayStore)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ipfs:",
        "ipfs:5001",
        "ipfs://host",
        "ipfs:http://127.0.0.1:5001",
        "http://x",
        "/ip4/127.0.0.1/tcp/5001",
        "a\0b",
    ],
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(ConfigError) as error:
        open_store(address)
    assert "/ip4/127.0.0.1/tcp/5001" in str(error.value)  # what it could look like


def test_a_gateway_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no URL of a gateway"):
        open_store(str(tmp_path), "gateway")


def test_no_client_of_a_daemon_is_loaded_without_need() -> None:
    code = "import sys, bcfl.storage; sys.exit('ipfshttpclient' in sys.modules or 'requests' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_first_store_is_asked_first(tmp_path: Path) -> None:
    with Server(lambda _: reply(DATA)) as server:
        fallback = FallbackStore(DirectoryStore(tmp_path), GatewayStore(server.url))
        assert fallback.put(DATA) == CID
        assert fallback.get(CID, 99) == DATA
        assert fallback.has(CID)
        assert server.requests == []


@pytest.mark.parametrize("ailment", ["absent", "corrupt", "oversized", "away"])
def test_the_second_helps_out(tmp_path: Path, ailment: str) -> None:
    folder = DirectoryStore(tmp_path)
    if ailment in ("corrupt", "oversized"):
        folder.put(DATA)
        (tmp_path / CID[-3:-1] / CID).write_bytes(b"rot" * (1 if ailment == "corrupt" else 99))
    with Server(lambda _: reply(DATA)) as server:
        fallback = FallbackStore(AWAY if ailment == "away" else folder, GatewayStore(server.url))
        assert fallback.get(CID, 99) == DATA
        assert fallback.has(CID)


def test_when_both_fail_the_first_decides_and_both_are_named(tmp_path: Path) -> None:
    with Server(lambda _: reply(b"rot")) as server:
        gateway = GatewayStore(server.url, retries=ONCE)
        with pytest.raises(Unavailable, match=f"does not hold {CID}; and gateway") as error:
            FallbackStore(DirectoryStore(tmp_path), gateway).get(CID, 99)
        assert error.value.cid == CID
        with pytest.raises(StoreError, match="connection refused") as away_error:
            FallbackStore(AWAY, gateway).get(CID, 99)
    assert not isinstance(away_error.value, Unavailable | Corrupt)


def test_whether_either_holds_it(tmp_path: Path) -> None:
    empty = DirectoryStore(tmp_path)
    with Server(lambda _: reply(b"", 404)) as server:
        assert not FallbackStore(empty, GatewayStore(server.url)).has(CID)
        assert not FallbackStore(AWAY, GatewayStore(server.url)).has(CID)
    assert not FallbackStore(empty, AWAY).has(CID)
    with pytest.raises(StoreError, match="does not answer"):
        FallbackStore(AWAY, AWAY).has(CID)


def test_no_cid_is_no_reason_to_ask_another(tmp_path: Path) -> None:
    with Server(lambda _: reply(DATA)) as server:
        with pytest.raises(CidError):
            FallbackStore(DirectoryStore(tmp_path), GatewayStore(server.url)).get("../x", 99)
        assert server.requests == []


def test_pins_go_to_the_first_store_alone(tmp_path: Path) -> None:
    paths: list[str] = []

    def script(request: object) -> list[bytes]:
        paths.append(getattr(request, "path", ""))
        return reply({"Version": "0.29.0", "Pins": [CID]})

    gateway = GatewayStore("http://127.0.0.1:1")
    with Server(script) as server:
        fallback = FallbackStore(KuboStore(server.address), gateway)
        fallback.pin(CID)
        fallback.unpin(CID)
    assert paths == ["/api/v0/version", "/api/v0/pin/add", "/api/v0/pin/rm"]
    FallbackStore(DirectoryStore(tmp_path), gateway).pin(CID)
    FallbackStore(DirectoryStore(tmp_path), gateway).unpin(CID)
