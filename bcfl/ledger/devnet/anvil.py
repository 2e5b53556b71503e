"""Run anvil, where it is installed, in place of the embedded chain."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final, NoReturn

from bcfl.errors import ConfigError, RunError
from bcfl.folders import make_folder
from bcfl.ledger.devnet.server import ChainServer

BINARY: Final = "node_modules/@foundry-rs/anvil-*/bin/anvil"
PACKAGE: Final = "npm install @foundry-rs/anvil-linux-amd64"
STATE_FILE: Final = "anvil.json"
SAVE_SECONDS: Final = 2  # between two copies of its state
OPTIONS: Final = ("--balance", "1000000", "--chain-id", "31337", "--quiet", "--preserve-historical-states")


def prepare_anvil(host: str, port: int, folder: Path) -> tuple[str, int]:
    """Return the binary of anvil and the port that it will listen at, a free one for 0.

    Raises ConfigError where anvil is not installed or the port is taken, RunError for a folder of no use.
    """
    binary = find_anvil()
    if binary is None:
        raise ConfigError(
            f"anvil is not installed: `{PACKAGE}` puts it here, or put one on the PATH; "
            "without --anvil the embedded chain is served"
        )
    probe = ChainServer(host, port)  # anvil's own words for a port that is taken are many lines
    probe.stop()
    try:
        make_folder(folder)
    except OSError as error:
        raise RunError(f"{folder} cannot be the folder of a chain: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise RunError(f"{folder} cannot be the folder of a chain: it cannot be written")
    return binary, probe.port


def become_anvil(
    binary: str, host: str, port: int, folder: Path, accounts: int, mnemonic: str | None = None
) -> NoReturn:
    """Replace this process by anvil; `mnemonic`: of the accounts, None for the one that everybody knows."""
    command = [binary, "--host", host, "--port", str(port), "--accounts", str(accounts), *OPTIONS]
    command += ["--state", str(folder / STATE_FILE), "--state-interval", str(SAVE_SECONDS)]
    command += [] if mnemonic is None else ["--mnemonic", mnemonic]
    os.execv(binary, command)


def find_anvil() -> str | None:
    """Return where anvil is: on the PATH, or among the npm packages of this folder or one above it."""
    if command := shutil.which("anvil"):
        return command
    current = Path.cwd()
    for folder in (current, *current.parents):
        if binaries := sorted(folder.glob(BINARY)):
            return str(binaries[0])
    return None
