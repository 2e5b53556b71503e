"""Name the adversaries of a run, which its seed decides."""

from __future__ import annotations

from collections.abc import Sequence

from bcfl.adversaries.assignment import Assignment
from bcfl.config import Config
from bcfl.federation.reports import Adversary
from bcfl.protocol.accounts import Account


def adversaries_of(config: Config) -> tuple[Adversary, ...] | None:
    """Return who misbehaves in a run, as its seed says, devices first; None without any."""
    if not config.adversaries:
        return None
    devices = [Account.derive(config.seed, "device", index) for index in range(config.devices)]
    miners = [Account.derive(config.seed, "miner", index) for index in range(config.miners)]
    assignment = Assignment.draw(config.adversaries, devices, config.miners, config.seed)
    return assigned(assignment, devices, devices if config.mode == "full" else miners)


def assigned(
    assignment: Assignment, devices: Sequence[Account], miners: Sequence[Account]
) -> tuple[Adversary, ...]:
    """Return the adversaries of an assignment, devices first."""
    groups = (
        ("device", assignment.device_specs, devices),
        ("miner", assignment.miner_specs, miners),
    )
    return tuple(
        Adversary(accounts[index].address, role, spec.text)
        for role, specs, accounts in groups
        for index, spec in specs.items()
    )
