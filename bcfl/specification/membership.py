"""Open the doors of the registry. Who joins, rests or leaves during a round does so from the next one on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bcfl.protocol.types import Phase
from bcfl.specification import absence, registry, treasury
from bcfl.specification.call import Call, bounded, require

MAX_ENDPOINT: Final = 200  # bytes


def transfer_ownership(call: Call, account: str) -> None:
    """Hand the ownership on; the zero address gives it up for ever."""
    registry.transfer_ownership(call, account)


def register_miner(call: Call) -> None:
    """Join as a miner with what is sent as stake."""
    absence.forget(call, registry.register_miner(call))


def top_up(call: Call) -> None:
    """Add what is sent to the sender's stake."""
    registry.top_up(call)


def resume(call: Call) -> None:
    """End the sender's suspension from the next round on."""
    absence.resume(call, call.state.rounds.clock.round)


def evict(call: Call, account: str) -> None:
    """Free the seat of a miner that has been suspended for long; anybody may."""
    absence.evict(call, account, call.state.rounds.clock.round)


def leave_miner(call: Call) -> None:
    """Stop mining from the next round on; the stake is free some rounds or some time later."""
    registry.leave_miner(call, call.sender, call.state.rounds.clock.round)


def announce(call: Call, endpoint: str) -> None:
    """State where the sender's devices and the other miners reach it."""
    bounded(MAX_ENDPOINT, endpoint.encode())
    record = call.state.registry.records.get(call.sender)
    require(record is not None and record.is_seated, "membership: not a miner")
    call.log("Announced", miner=call.sender, endpoint=endpoint)


def release_stake(call: Call) -> None:
    """Pay out the stake of a miner that has left."""
    clock = call.state.rounds.clock
    is_idle = clock.phase == Phase.IDLE
    treasury.send(call, call.sender, registry.release_stake(call, call.sender, clock.round, is_idle))


def register_devices(call: Call, accounts: Sequence[str]) -> None:
    """Admit devices from the next round on."""
    registry.register_devices(call, accounts, call.state.rounds.clock.round)


def accept_device(call: Call) -> None:
    """Consent to be a device too, as a miner that the owner has admitted as one."""
    registry.accept_device(call)


def leave_device(call: Call, account: str) -> None:
    """Let a device go from the next round on."""
    registry.leave_device(call, account, call.state.rounds.clock.round)
