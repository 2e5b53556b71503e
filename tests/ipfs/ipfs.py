"""A real IPFS daemon for tests: js-ipfs, on loopback, without peers, in a folder of its own.

`npm ci --omit=optional --prefix tests/ipfs` puts it beside this file; the variable JS_IPFS names another
folder with a node_modules in it.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from tests.processes import ANSWER, STALL_SECONDS

HERE = Path(__file__).parent
VARIABLE = "JS_IPFS"
START_SECONDS = STALL_SECONDS


def absence() -> str | None:
    """Why there is no daemon to start; None when there is one."""
    if shutil.which("node") is None:
        return "no node: install Node.js 20 or newer"
    if not _program().is_file():
        return f"no js-ipfs: npm ci --omit=optional --prefix {HERE}, or name its folder in {VARIABLE}"
    return None


class Daemon:
    """One daemon with its repository in `folder`; the ports stay the same over restarts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._api, self._web = _free_ports()
        self.address = f"/ip4/127.0.0.1/tcp/{self._api}"
        self.gateway = f"http://127.0.0.1:{self._web}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers; raises RuntimeError with what it said when it does not."""
        self.launch()
        self._wait()

    def launch(self) -> None:
        """Start it, and do not wait for it."""
        shutil.rmtree(self.folder / "repo" / "repo.lock", ignore_errors=True)  # a killed one leaves it
        config = self.folder / "config.json"
        config.write_text(json.dumps(self._config()))
        command = ["node", "--require", str(HERE / "preload.cjs"), str(_program()), "daemon"]
        command += ["--init-config", str(config), "--enable-preload=false"]
        environment = {**os.environ, "IPFS_PATH": str(self.folder / "repo"), "NO_UPDATE_NOTIFIER": "1"}
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def kill(self) -> None:
        """End it at once, as a power failure would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def post(self, command: str) -> bytes:
        """What one command of its RPC, given with its query, answers."""
        url = f"http://127.0.0.1:{self._api}/api/v0/{command}"
        with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=ANSWER) as answer:
            return bytes(answer.read())

    def _config(self) -> dict[str, object]:
        addresses = {"Swarm": [], "Delegates": [], "RPC": "", "API": self.address}
        addresses["Gateway"] = f"/ip4/127.0.0.1/tcp/{self._web}"
        quiet = {"MDNS": {"Enabled": False}, "webRTCStar": {"Enabled": False}}
        return {"Addresses": addresses, "Bootstrap": [], "Discovery": quiet}

    def _wait(self) -> None:
        assert self._process is not None
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                self.post("version")
                return
            time.sleep(0.05)
        self.kill()
        raise RuntimeError("js-ipfs does not start: " + (self.folder / "log").read_text()[-2000:])


def _program() -> Path:
    folder = os.environ.get(VARIABLE)
    return (Path(folder) if folder else HERE) / "node_modules" / "ipfs" / "src" / "cli.js"


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]
