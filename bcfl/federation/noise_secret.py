"""Draw the noise of a run's devices from a secret of the run, and count what their updates tell.

The accounts of a run follow from its seed, which anybody may know: noise that follows from it could be taken
away. So a run whose terms ask for noise has a secret, and two runs of one seed differ.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from bcfl.errors import RunError
from bcfl.federation.budget import BudgetLedger
from bcfl.folders import make_folder, sync_folder, write_whole
from bcfl.protocol.hashing import keccak
from bcfl.protocol.noise import budget_of_options
from bcfl.roles.device.device import Device

SECRET: Final = "noise.secret"
BUDGETS: Final = "budgets"  # folder of what each device's updates have told
SECRET_BYTES: Final = 32


def hide_devices(path: Path, devices: Iterable[Device], budget: str | None) -> None:
    """Give the devices of the run in a folder their secrets, and a budget each; raises RunError."""
    secret, allowed = run_secret(path), None if budget is None else budget_of_options(budget)
    if allowed is not None:
        make_folder(path / BUDGETS)
    for device in devices:
        address = device.account.address
        allowance = None if allowed is None else BudgetLedger(path / BUDGETS / address, allowed)
        device.trainer.hide(keccak(secret + address.encode()), allowance)


def run_secret(path: Path) -> bytes:
    """Return the secret of the run in a folder, made when it is first asked for; raises RunError."""
    file = path / SECRET
    try:
        if not file.exists():
            write_whole(file, os.urandom(SECRET_BYTES))
        sync_folder(path)
        secret = file.read_bytes()
    except OSError as error:
        raise RunError(f"cannot keep the secret {file} that noise is drawn from: {error.strerror}") from None
    if len(secret) != SECRET_BYTES:
        raise RunError(
            f"{file} is no secret of {SECRET_BYTES} bytes: put back the one that the run began with"
        )
    return secret
