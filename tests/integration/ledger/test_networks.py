"""Which chain a name means: the files, the environment, who signs, and that it is the chain it should be."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bcfl.errors import ConfigError, LedgerError, Unreachable
from bcfl.ledger.deployment import networks
from bcfl.ledger.deployment.networks import connect, resolve, signer
from bcfl.ledger.devnet.server import serve
from bcfl.ledger.rpc import RpcChain
from tests import foundry
from tests.processes import ANSWER, STALL_SECONDS

from .conftest import Account

FIRST = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"  # of the mnemonic that everybody knows


@pytest.fixture(autouse=True)
def empty_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No bcfl.toml and no URL but the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ETH_RPC_URL", raising=False)


def toml(text: str, name: str = "bcfl.toml") -> Path:
    path = Path(name)
    path.write_text(text)
    return path


def refusal(name: str | None, *files: Path, env: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as excinfo:
        resolve(name, *files, env=env)
    assert "\n" not in str(excinfo.value)
    return str(excinfo.value)


def test_default_behavior() -> None:
    local = resolve(None)
    assert (local.name, local.rpc, local.chain_id) == ("local", "http://127.0.0.1:8545", 31337)
    assert signer(local, None, lambda: "").address == FIRST
    assert signer(local, "1", lambda: "").address == "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


def test_users_file_adds_and_changes() -> None:
    toml('rounds = 3\n[networks.lab]\nrpc = "http://lab:1"\n[networks.local]\nrpc = "http://127.0.0.1:9"\n')
    assert resolve("lab") == networks.Network("lab", "http://lab:1")
    assert resolve("local").rpc == "http://127.0.0.1:9"
    assert resolve("local").chain_id == 31337


def test_first_file_is_the_strongest() -> None:
    strong = toml('[networks.lab]\nrpc = "http://strong"\n', "strong.toml")
    weak = toml('[networks.lab]\nrpc = "http://weak"\nchain_id = 5\n', "weak.toml")
    assert resolve("lab", strong, weak) == networks.Network("lab", "http://strong", 5)


@pytest.mark.parametrize(("text", "expected"), [("true", True), ("false", False)])
def test_a_network_says_whether_its_miners_may_be_in_private_networks(text: str, expected: bool) -> None:
    toml(f'[networks.lab]\nrpc = "http://10.0.0.1"\nprivate_endpoints = {text}\n')
    assert resolve("lab").private_endpoints is expected
    assert not resolve("local").private_endpoints


def test_name_of_the_environment() -> None:
    env = {"BCFL_NETWORK": "sepolia", "ETH_RPC_URL": "http://node:1"}
    explorer = "https://sepolia.etherscan.io"
    assert resolve(None, env=env) == networks.Network("sepolia", "http://node:1", 11155111, explorer=explorer)
    assert resolve("local", env=env).name == "local"
    assert "there is no network 'sepolla'" in refusal(None, env={"BCFL_NETWORK": "sepolla"})


def test_url_of_the_environment() -> None:
    env = {"ETH_RPC_URL": "http://node:1/$ecret"}
    assert resolve(None, env=env) == networks.Network("rpc", "http://node:1/$ecret")
    assert resolve("local", env=env).rpc == "http://node:1/$ecret"
    assert resolve("sepolia", env=env).chain_id == 11155111
    toml('[networks.local]\nrpc = "http://mine"\n[networks.bare]\nchain_id = 7\n')
    assert resolve("local", env=env).rpc == "http://mine"
    assert resolve("bare", env=env).rpc == "http://node:1/$ecret"
    assert resolve(None, env={"ETH_RPC_URL": ""}).name == "local"
    assert "set ETH_RPC_URL" in refusal("bare", env={})


def test_variables() -> None:
    toml('[networks.lab]\nrpc = "https://${HOST}/$KEY/$$5"\nkeystore = "$HOME/keys"\nmnemonic = "$WORDS"\n')
    env = {"HOST": "h", "KEY": "k", "HOME": "/me", "WORDS": "a b"}
    lab = resolve("lab", env=env)
    assert (lab.rpc, lab.keystore, lab.mnemonic) == ("https://h/k/$5", Path("/me/keys"), "a b")
    assert not any(secret in repr(lab) for secret in ("https", "a b"))
    del env["KEY"]
    assert refusal("lab", env=env) == "rpc of network lab takes $KEY from the environment: set it"
    assert resolve("local", env={}).rpc  # whose variables are not needed need not be set
    toml('[networks.lab]\nrpc = "https://host/5$"\n')
    assert "write $$ for a $" in refusal("lab", env={})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("networks = 3", "networks are tables"),
        ("[networks]\nlocal = 3", "networks are tables"),
        ("[networks.local]\nprc = 'x'", "'prc' is not a key of a network: did you mean rpc?"),
        ("[networks.local]\nchain_id = '5'", "chain_id must be a whole number above 0"),
        ("[networks.local]\nchain_id = true", "chain_id must be a whole number above 0"),
        ("[networks.local]\nchain_id = -1", "chain_id must be a whole number above 0"),
        ("[networks.local]\nprivate_endpoints = 1", "private_endpoints must be true or false"),
        ("[networks.local]\nrpc = ''", "rpc must be a text"),
        ("[networks.local]\nrpc = 8545", "rpc must be a text"),
        ("[networks.'../x']\nrpc = 'x'", "cannot name a network"),
        ("[networks.local", "is not TOML"),
    ],
)
def test_file_that_cannot_be_used(text: str, words: str) -> None:
    assert words in refusal("local", toml(text))


def test_name_that_is_none() -> None:
    assert refusal("locl") == "there is no network 'locl': did you mean local?"
    assert "there is hoodi, local, sepolia" in refusal("zzzzzzzz")
    assert "cannot be read" in refusal("local", Path("absent.toml"))
    Path("binary.toml").write_bytes(b"\xff")
    assert "not UTF-8" in refusal("local", Path("binary.toml"))


def test_signer_needs_a_name_and_a_place() -> None:
    bare = networks.Network("bare", "http://x", keystore=Path("keys"))
    for name, words in (
        (None, "nobody signs on network bare"),
        ("3", "has no mnemonic"),
        (FIRST, "no account"),
    ):
        with pytest.raises(ConfigError, match=words):
            signer(bare, name, lambda: "")


def test_wrong_chain(device: Account) -> None:
    with serve(None, [device.address], port=0) as server:
        connect(networks.Network("lab", server.url, 31337)).close()
        connect(networks.Network("lab", server.url)).close()
        with pytest.raises(
            ConfigError, match=r"network lab is chain 5, and .* serves chain 31337"
        ) as excinfo:
            connect(networks.Network("lab", server.url, 5))
        assert "\n" not in str(excinfo.value)
    with pytest.raises(Unreachable):
        connect(networks.Network("lab", server.url), timeout=1)


# Other ways to a node


@pytest.fixture
def sockets(tmp_path: Path) -> Iterator[list[str]]:
    """anvil by WebSocket and by Unix socket, and the process that answers there."""
    binary = foundry.find("anvil")
    if binary is None:
        pytest.skip(foundry.absence("anvil"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = str(tmp_path / "node.ipc")
    process = subprocess.Popen([binary, "--port", str(port), "--silent", "--ipc", path])
    try:
        deadline = time.monotonic() + STALL_SECONDS
        while not Path(path).exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        yield [f"ws://127.0.0.1:{port}", path]
    finally:
        process.kill()
        process.wait()


def test_websocket_and_unix_socket(sockets: list[str], device: Account) -> None:
    for url in sockets:
        chain = RpcChain(url, timeout=ANSWER)
        assert (chain.chain_id, chain.view) == (31337, "pending")
        assert chain.w3.eth.get_balance(device.address) > 0  # type: ignore[arg-type]
        chain.warp(chain.now() + 100)
        with pytest.raises(LedgerError):
            chain.request("eth_getBalance", "nonsense")
        assert chain.request("eth_chainId") == "0x7a69"
        chain.close()


@pytest.mark.parametrize("url", ["ws://127.0.0.1:9", "ws://[bad", "wss://", "ws://alice:secret@127.0.0.1:9"])
def test_websocket_that_is_none(url: str) -> None:
    with pytest.raises(Unreachable) as excinfo:
        RpcChain(url, timeout=1)
    assert "secret" not in str(excinfo.value)
