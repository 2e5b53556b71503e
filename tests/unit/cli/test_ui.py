"""`bcfl ui`: one line for whatever keeps it from starting, and the address where it answers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from bcfl.explorer.server import address_of, listen
from testkit import harness

from .conftest import Bcfl

ROOT = Path(__file__).parents[3]


def test_refusals_are_one_line(bcfl: Bcfl, two_rounds: harness.Federation, tmp_path: Path) -> None:
    del two_rounds
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.car").write_bytes(b"no bundle")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        cases = [
            (["--runs", "empty"], "there is no run in empty yet"),
            (["--run", "nothing"], "nothing is not the directory of a run"),
            (["--network", "nowhere"], "there is no network 'nowhere'"),
            (["no.car"], "no.car is not a bundle"),
            (["absent.car"], "absent.car cannot be read"),
            (["no.car", "--run", "x"], "a bundle is shown alone"),
            (["--block-hash", "0x11"], "--block-hash is for a bundle"),
            (["--port", str(port)], f"port {port} is taken: name another with --port"),
            (["--host", "203.0.113.1", "--port", "0"], "203.0.113.1:0 cannot be listened on"),
            (["--host", "no such host", "--port", "0"], "is no address of this machine"),
            (["--port", "99999"], "99999"),
        ]
        for arguments, words in cases:
            assert words in bcfl("ui", "--no-open", *arguments).refusal, arguments


def test_what_is_not_installed_is_named(
    bcfl: Bcfl, two_rounds: harness.Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    del two_rounds
    for name in [name for name in sys.modules if name.startswith(("bcfl.explorer", "uvicorn"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert bcfl("ui", "--no-open").refusal == "the explorer needs uvicorn: pip install 'bcfl[ui]'"


def test_it_tells_where_it_answers_until_it_is_interrupted(
    two_rounds: harness.Federation, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "bcfl", "ui", "--port", "0", "--json", "--no-evaluate"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        told = json.loads("".join(lines))
        assert told["contract"] == two_rounds.contract.address
        with urlopen(told["address"] + "rounds/1.json") as answer:
            assert json.load(answer)["status"] == "finalized"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_an_address_is_one_that_a_browser_takes() -> None:
    with listen("0.0.0.0", 0) as sock:
        assert address_of(sock) == f"http://127.0.0.1:{sock.getsockname()[1]}/"
    with listen("localhost", 0) as sock:
        assert address_of(sock).startswith("http://")
