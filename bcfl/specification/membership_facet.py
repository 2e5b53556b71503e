"""Offer who takes part, and what they earn: joining, resting and leaving, claims, and the views of them."""

from __future__ import annotations

from typing import Final

from bcfl.specification import (
    absence,
    directory,
    membership,
    registry,
    rewards,
    rounds,
    scores,
    submissions,
    treasury,
    turns,
)
from bcfl.specification.call import Call, Facet


def agreed(call: Call) -> tuple[object, ...]:
    """Return the terms."""
    return tuple(vars(call.terms).values())


FACET: Final = Facet(
    writes=(
        membership.transfer_ownership,
        membership.resume,
        membership.evict,
        membership.leave_miner,
        membership.announce,
        membership.release_stake,
        membership.register_devices,
        membership.accept_device,
        membership.leave_device,
        rewards.claim_device,
        rewards.claim_miner,
        rounds.start,
        treasury.withdraw,
    ),
    payable=(membership.register_miner, membership.top_up),
    views=(
        absence.rest,
        agreed,
        directory.active_miners,
        directory.device,
        directory.device_of,
        directory.devices_registered,
        directory.miner,
        directory.miner_at,
        registry.owner,
        registry.staked,
        rewards.claimed,
        rounds.binding,
        rounds.ledger,
        scores.resources,
        submissions.domain_separator,
        submissions.update_hash,
        treasury.credits,
        treasury.owed,
        treasury.pool,
        turns.turn_credits,
    ),
)
