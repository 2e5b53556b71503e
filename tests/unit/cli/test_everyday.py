"""Everyday machines: files from other systems and tools, no home, numbers that JSON does not have."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bcfl.cli.output.printing import json_text
from bcfl.errors import ConfigError, StoreError, Unreachable
from bcfl.folders import expanded
from bcfl.ledger.deployment import keystore, networks
from bcfl.ledger.rpc import RpcChain
from bcfl.protocol.cid import compute as cid_of
from bcfl.storage.kubo import KuboStore
from bcfl.storage.rpc import AUTHORIZATION
from bcfl.toml import read_toml

KEY = b"\x11" * 32


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def test_json_has_no_infinity() -> None:
    content = {"loss": float("inf"), "list": [float("nan"), (1.5, -float("inf"))], "bytes": b"\x01"}
    text = json_text(content)
    assert json.loads(text, parse_constant=refuse) == {
        "loss": None,
        "list": [None, [1.5, None]],
        "bytes": "0x01",
    }


def test_files_from_windows_are_read(tmp_path: Path) -> None:
    (tmp_path / "bcfl.toml").write_bytes(b"\xef\xbb\xbfdevices = 3\r\n")
    assert read_toml(tmp_path / "bcfl.toml", "") == {"devices": 3}
    (tmp_path / "key").write_bytes(b"\xef\xbb\xbf" + KEY.hex().encode() + b"\r\n")
    assert keystore.parse_key(keystore.read_secret(tmp_path / "key")) == KEY
    assert networks.resolve(None, env={"ETH_RPC_URL": "http://127.0.0.1:1\r"}).rpc == "http://127.0.0.1:1"


def test_a_url_without_a_scheme_is_told() -> None:
    with pytest.raises(Unreachable, match="no scheme: write http://"):
        RpcChain("alice:secret@127.0.0.1:8545")


def test_a_keystore_file_that_names_no_address(tmp_path: Path) -> None:
    """`cast wallet` leaves it out."""
    account = keystore.save(tmp_path, KEY, "pw", keystore.LIGHT)
    content = json.loads(account.path.read_text())
    del content["address"]
    account.path.unlink()
    (tmp_path / "7c0e3a52").write_text(json.dumps(content))
    (tmp_path / "notes").write_text("{}")
    (entry,) = keystore.list_entries(tmp_path)
    assert (entry.address, entry.path.name) == ("", "7c0e3a52")
    assert keystore.unlock(tmp_path, "7c0e3a52", lambda: "pw").address == account.address
    with pytest.raises(ConfigError, match="not the password of this file"):
        keystore.unlock(tmp_path, "7c0e3a52", lambda: "no")
    with pytest.raises(ConfigError, match="keystore file and no key"):
        keystore.parse_key((tmp_path / "7c0e3a52").read_text())


def test_who_has_no_home_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", fail)
    with pytest.raises(ConfigError, match="no home directory; set HOME"):
        expanded(Path("~/.bcfl"))


@pytest.fixture
def locked_daemon() -> Iterator[tuple[str, list[str | None]]]:
    """An IPFS daemon behind a lock: its address, and the Authorization headers that it gets."""
    seen: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.append(self.headers["Authorization"])
            self.send_response(403)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"/ip4/127.0.0.1/tcp/{http.server_port}", seen
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def test_a_daemon_behind_a_lock(
    locked_daemon: tuple[str, list[str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, seen = locked_daemon
    cid = cid_of(b"bytes")
    with pytest.raises(StoreError, match=r"HTTP status 403.* set IPFS_AUTHORIZATION"):
        KuboStore(address).get(cid, 100)
    monkeypatch.setenv(AUTHORIZATION, "Bearer token\n")
    with pytest.raises(StoreError, match="403"):
        KuboStore(address).get(cid, 100)
    assert (seen[0], seen[-1]) == (None, "Bearer token")
