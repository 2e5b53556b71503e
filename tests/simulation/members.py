"""Who comes and goes in an episode: the owner lets a device go and takes it back, a miner leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.simulation.network import Transaction

if TYPE_CHECKING:
    from bcfl.protocol.accounts import Account
    from bcfl.protocol.rounds import History
    from tests.simulation.world import World

KINDS = ("device-leaves", "device-returns", "miner-leaves")
FEWEST = 3  # devices and miners that stay


def change_members(world: World, history: History) -> None:
    """Let somebody come or go at the beginning of a round."""
    fault = world.strike("owner", *KINDS)
    if fault is None:
        return
    devices = [item for item in world.processes if item.role == "device"]
    there = [item for item in devices if history.takes_part(item.index)]
    miners = [item for item in world.processes if item.role == "miner"]
    seated = [item for item in miners if item.account.address in {seat.account for seat in history.seats}]
    dice = world.dice
    if fault.kind == "device-leaves" and len(there) > FEWEST:
        chosen = dice.choice(there, fault.name)
        _send(world, world.owner, "leave_device", chosen.account.address)
    elif fault.kind == "device-returns" and len(there) < len(devices):
        chosen = dice.choice([item for item in devices if item not in there], fault.name)
        _send(world, world.owner, "register_devices", [chosen.account.address])
    elif fault.kind == "miner-leaves" and len(seated) > FEWEST:
        _send(world, dice.choice(seated, fault.name).account, "leave_miner")


def _send(world: World, account: Account, function: str, *args: Any) -> None:
    """Have a call mined that somebody makes by hand."""
    network = world.network
    nonce = network.nonces[account.address]
    waiting = [item for item in network.waiting.values() if item.key.address == account.address]
    if waiting:
        return
    name = f"by hand {account.address} {nonce} {len(network.order)}"
    network.known[name] = Transaction(account, nonce, function, args, 0, name)
    world.later(0.0, lambda: network.mine(network.known[name]))
