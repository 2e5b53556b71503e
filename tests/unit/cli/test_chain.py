"""`bcfl chain up` as a process: what it serves, how it ends, what it refuses; and anvil in its stead."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from bcfl.cli.node import chain
from bcfl.ledger.devnet.anvil import find_anvil
from tests.certificates import Authority
from tests.processes import ANSWER, STALL_SECONDS

from .conftest import Bcfl, install

ROOT = Path(__file__).parents[3]
COMMAND = """
import sys, typer
import bcfl.cli.app
from bcfl.cli import main
from bcfl.cli.node import chain
bcfl.cli.app.app = app = typer.Typer()
chain.register(app)
sys.exit(main())
"""
ERRORS = Path("errors.log")  # in the folder of the test
FIRST = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
OTHER_WORDS = "legal winner thank year wave sausage worth useful legal winner thank yellow"


@pytest.fixture(autouse=True)
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, chain.register)
    monkeypatch.chdir(tmp_path)


@contextmanager
def up(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command in a process of its own, once it answers, and its URL."""
    with ERRORS.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, "chain", "up", *options],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().split()[-1]
        if url.startswith(
            "http:"
        ):  # an encrypted one is believed by its pin, which requests knows nothing of
            wait_for(url)
        yield process, url
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def output_of(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What a process that has ended wrote to stdout, after its first line, and to stderr."""
    assert process.stdout is not None
    return process.stdout.read(), ERRORS.read_text()


def wait_for(url: str) -> None:
    until = time.monotonic() + STALL_SECONDS
    while time.monotonic() < until:
        try:
            assert ask(url, "eth_chainId") == "0x7a69"
        except requests.ConnectionError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"nothing answers at {url}")


def ask(url: str, method: str, *params: Any) -> Any:
    request: Any = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return requests.post(url, json=request, timeout=ANSWER).json()["result"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serves_until_a_signal(number: signal.Signals) -> None:
    with up("--port", "0", "--accounts", "12") as (process, url):
        assert ask(url, "eth_accounts")[0] == FIRST
        ask(url, "evm_mine")
        process.send_signal(number)
        assert process.wait(STALL_SECONDS) == 0
        output, warnings = output_of(process)
    assert FIRST in output
    assert "and 2 more" in output
    assert warnings.startswith("warning: everybody knows the keys")
    assert warnings.count("\n") == 1
    with up("--port", "0", "--accounts", "12") as (_, url):
        assert ask(url, "eth_blockNumber") == "0x1"


def test_a_served_chain_counts_for_prometheus_what_it_is_asked() -> None:
    hostile = 'x"} 1\nbcfl_chain_block 9'
    with up("--port", "0", "--metrics", "127.0.0.1:0") as (process, url):
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        place = next(line.split()[-1] for line in lines if line.startswith("metrics"))
        before = requests.get(place, timeout=ANSWER).text
        for _ in range(3):
            ask(url, "evm_mine")
        for method, params in ((hostile, []), ("eth_getBalance", ["nobody"]), ("\u202e", [])):
            body: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            assert "error" in requests.post(url, json=body, timeout=ANSWER).json()
        text = requests.get(place, timeout=ANSWER).text
        health = requests.get(place.replace("metrics", "healthz"), timeout=ANSWER).json()
    assert "bcfl_chain_block 0\n" in before
    assert "bcfl_chain_block 3\n" in text
    assert 'bcfl_chain_requests_total{method="evm_mine",result="ok"} 3\n' in text
    assert 'bcfl_chain_requests_total{method="unknown",result="error"} 2\n' in text
    assert 'bcfl_chain_requests_total{method="eth_getBalance",result="error"} 1\n' in text
    assert "# TYPE bcfl_chain_file_bytes gauge\n" in text
    assert "bcfl_head_age_seconds " in text
    assert (health["ok"], health["block"]) == (True, 3)


def test_mnemonic_of_ones_own_is_not_shown() -> None:
    with up("--port", "0", "--mnemonic", OTHER_WORDS, "--time", "simulated") as (process, url):
        (first, *_) = ask(url, "eth_accounts")
        assert int(ask(url, "eth_getBalance", first, "latest"), 16) == 10**24
        head = int(ask(url, "eth_getBlockByNumber", "latest", False)["timestamp"], 16)
        ask(url, "evm_mine")
        assert int(ask(url, "eth_getBlockByNumber", "latest", False)["timestamp"], 16) == head + 1
        process.terminate()
        process.wait(STALL_SECONDS)
        output, warnings = output_of(process)
    assert first != FIRST
    assert warnings == ""
    assert "sausage" not in output


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_refusals(bcfl: Bcfl, busy_port: int, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").write_text("mine")
    for options, words in (
        (["--port", busy_port], f"port {busy_port} of 127.0.0.1 is taken"),
        (["--port", 0, "--dir", "full"], "full holds something else than a chain"),
        (["--port", 0, "--dir", "full/notes"], "cannot be the folder of a chain"),
        (["--port", 0, "--mnemonic", "some words"], "the mnemonic is not one"),
        (["--port", 70_000], "Invalid value"),
        (["--port", 0, "--accounts", 0], "Invalid value"),
        (["--port", 0, "--anvil", "--time", "simulated"], "leave out --time simulated"),
        (["--port", 0, "--anvil", "--metrics", "127.0.0.1:0"], "leave out --allow-host, --tls-cert and"),
        (["--port", 0, "--metrics", "9101"], "--metrics 9101 is not HOST:PORT"),
        (["--port", 0, "--metrics", f"127.0.0.1:{busy_port}"], f"port {busy_port} of 127.0.0.1 is taken"),
    ):
        assert words in bcfl("chain", "up", *options).refusal


def test_loopback_is_told_apart() -> None:
    assert all(map(chain._is_loopback, ("127.0.0.1", "127.8.9.1", "::1", "localhost")))
    assert not any(map(chain._is_loopback, ("0.0.0.0", "::", "192.168.0.1", "example.org")))


def test_wait_for_a_node_that_does_not_come(bcfl: Bcfl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETH_RPC_URL", "http://127.0.0.1:9")
    assert "is the node running" in bcfl("chain", "wait", "--seconds", 0).refusal


def test_a_chain_answers_to_the_names_that_it_is_given(bcfl: Bcfl) -> None:
    with up("--port", "0", "--allow-host", "chain.example") as (_, url):
        for name, status in (("chain.example", 200), ("evil.example", 403)):
            call: Any = {"id": 1, "method": "eth_chainId"}
            assert requests.post(url, json=call, headers={"Host": name}, timeout=ANSWER).status_code == status
    refusal = bcfl("chain", "up", "--anvil", "--allow-host", "chain.example").refusal
    assert "leave out --allow-host" in refusal


def test_an_encrypted_chain(bcfl: Bcfl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Authority.make(tmp_path / "ca").issue("127.0.0.1")
    options = ("--tls-cert", str(files.certificate), "--tls-key", str(files.key))
    with up("--port", "0", *options) as (_, url):
        assert url.startswith("https://127.0.0.1:")
        assert url.endswith(files.load().fragment)
        monkeypatch.setenv("ETH_RPC_URL", url)
        assert "31337" in bcfl("chain", "wait", "--seconds", 60).text
        monkeypatch.setenv("ETH_RPC_URL", url.partition("#")[0])
        assert "no CA that is known here" in bcfl("chain", "wait", "--seconds", 0).refusal
        monkeypatch.setenv("ETH_RPC_URL", url.partition("#")[0] + "#sha256=" + "0" * 64)
        monkeypatch.setattr(chain, "sleep", lambda _: None)
        times = iter([0.0, 1.0, 2.0, 99.0])  # two tries, and the last
        monkeypatch.setattr(chain, "monotonic", lambda: next(times))
        errors = bcfl("chain", "wait", "--seconds", 60).err.splitlines()
        assert [line.partition(":")[0] for line in errors] == ["waiting", "error"]
        assert all("another certificate than the pinned one" in line for line in errors)
    assert "go together" in bcfl("chain", "up", *options[:2]).refusal
    assert "without TLS" in bcfl("chain", "up", "--anvil", *options).refusal


# anvil


def test_anvil_that_is_not_installed(bcfl: Bcfl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "npm install @foundry-rs/anvil-linux-amd64" in bcfl("chain", "up", "--anvil", "--port", 0).refusal


def test_anvil_of_npm_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    binary = tmp_path / "node_modules" / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"
    binary.parent.mkdir(parents=True)
    binary.write_text("")
    (tmp_path / "deeper").mkdir()
    monkeypatch.chdir(tmp_path / "deeper")
    assert find_anvil() == str(binary)


@pytest.mark.skipif(shutil.which("anvil") is None, reason="anvil is not on PATH")
def test_anvil_serves_and_keeps_its_chain(bcfl: Bcfl, busy_port: int) -> None:
    assert f"port {busy_port} of" in bcfl("chain", "up", "--anvil", "--port", busy_port).refusal
    with up("--anvil", "--port", "0", "--accounts", "2") as (process, url):
        assert ask(url, "web3_clientVersion").startswith("anvil/")
        assert ask(url, "eth_accounts")[0] == FIRST.lower()
        ask(url, "evm_mine")
        process.terminate()
        assert process.wait(STALL_SECONDS) == 0
    with up("--anvil", "--port", "0", "--accounts", "2") as (_, url):
        assert ask(url, "eth_blockNumber") == "0x1"
