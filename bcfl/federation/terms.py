"""Turn a configuration and a model's layout into the terms that stand on chain."""

from __future__ import annotations

from bcfl.config import Config
from bcfl.protocol import payload
from bcfl.protocol.limits import BASIS_POINTS
from bcfl.protocol.types import Engine, Layout, Mode, Rule, Terms
from bcfl.roles.miner.lead import TRIES


def terms_of(config: Config, layout: Layout, largest: int) -> Terms:
    """Return the terms that a configuration comes to; `largest` is the most samples that a device holds.

    On the embedded chain every transaction is a block and every block a second: a phase is at least
    so long that all miners may act in half of it, and the devices of one miner in a quarter.
    """
    devices_per_miner = -(-config.devices // config.miners)

    def lasting(seconds: int) -> int:
        return max(seconds, 2 * config.miners, 4 * devices_per_miner)

    return Terms(
        layout=payload.layout_digest(layout),
        parameters=layout.parameters,
        scale_bits=config.scale_bits,
        lane_bits=config.lane_bits,
        shift=config.lane_shift,
        leaf_lanes=config.leaf_lanes,
        rule=Rule[config.rule.upper()],
        trim=round(config.trim * BASIS_POINTS),
        engine=Engine[config.first_engine.upper()],
        pow_target=2**256 // (config.pow_seconds * config.miners * TRIES),
        pow_seconds=config.pow_seconds,
        min_updates=config.required_updates,
        max_updates=config.devices,
        max_samples=config.max_samples or largest,
        time_factor=round(config.time_factor * BASIS_POINTS),
        time_slack=round(config.time_slack * 1e6),
        grace=config.grace,
        commit_seconds=lasting(config.commit_seconds),
        reveal_seconds=lasting(config.reveal_seconds),
        vote_seconds=lasting(config.vote_seconds),
        unveil_seconds=lasting(config.unveil_seconds),
        elect_seconds=config.elect_seconds,
        propose_seconds=config.propose_seconds,
        attest_seconds=lasting(config.attest_seconds),
        challenge_seconds=config.challenge_seconds,
        min_stake=config.min_stake,
        exit_rounds=config.exit_rounds,
        vote_penalty=config.vote_penalty,
        leader_penalty=config.leader_penalty,
        reward=config.reward,
        device_share=round(config.device_share * BASIS_POINTS),
        miner_share=round(config.miner_share * BASIS_POINTS),
        mode=Mode[config.mode.upper()],
        committee_size=config.committee_size,
        challenge_bond=config.stake // 10,
        answer_seconds=lasting(config.attest_seconds),
    )
