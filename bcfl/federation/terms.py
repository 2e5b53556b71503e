"""Turn a configuration and a model's layout into the terms that stand on chain."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bcfl.config import Config
from bcfl.errors import ConfigError
from bcfl.protocol import payload
from bcfl.protocol.docket import longest_round
from bcfl.protocol.limits import BASIS_POINTS, LEAF_LANES
from bcfl.protocol.types import Engine, Layout, Mode, Rule, Terms
from bcfl.roles.miner.lead import TRIES

BOND_PART: Final = 10  # of the minimum stake is the bond of a challenge
DAY: Final = 24 * 3600  # seconds until a stake is free, whatever happens
LARGE: Final = 2**21  # parameters of a model above which larger leaves save more than a challenge costs
LARGE_LEAVES: Final = (4 * LEAF_LANES, 2 * LEAF_LANES)  # lanes, the first that fits
ROW_BYTES: Final = 6_144  # of all updates' leaves, for which a large leaf is taken
ABSENCE: Final = 6 * 3600  # seconds of missed rounds until a miner is suspended


def terms_of(config: Config, layout: Layout, largest: int) -> Terms:
    """Return the terms that a configuration comes to; `largest` is the most samples that a device holds.

    On the embedded chain every transaction is a block and every block a second: a phase is at least
    so long that all miners may act in half of it, and the devices of one miner in a quarter.
    """
    devices_per_miner = -(-config.devices // config.miners)

    def lasting(seconds: int) -> int:
        return max(seconds, 2 * config.miners, 4 * devices_per_miner)

    terms = Terms(
        layout=payload.layout_digest(layout),
        parameters=layout.parameters,
        scale_bits=config.scale_bits,
        lane_bits=config.lane_bits,
        shift=config.lane_shift,
        leaf_lanes=_leaf_lanes(config, layout.parameters),
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
        rate_factor=round(config.rate_factor * BASIS_POINTS),
        grace=config.grace_time,
        commit_seconds=lasting(config.commit_seconds),
        reveal_seconds=lasting(config.reveal_seconds),
        vote_seconds=lasting(config.vote_seconds),
        unveil_seconds=lasting(config.unveil_seconds),
        elect_seconds=config.elect_seconds,
        propose_seconds=config.propose_seconds,
        attest_seconds=lasting(config.attest_seconds),
        challenge_seconds=config.window,
        min_stake=config.min_stake,
        exit_rounds=config.exit_rounds,
        vote_penalty=config.vote_penalty,
        leader_penalty=config.leader_penalty,
        reward=config.reward,
        device_share=round(config.device_share * BASIS_POINTS),
        miner_share=round(config.miner_share * BASIS_POINTS),
        mode=Mode[config.mode.upper()],
        committee_size=config.committee_size,
        challenge_bond=config.min_stake // BOND_PART if config.window else 0,
        answer_seconds=lasting(config.answer_time),
        tally_seconds=config.tally_seconds,
        exit_seconds=config.exit_seconds or DAY,
        absence_penalty=round(config.absence_penalty * BASIS_POINTS),
        absence_seconds=config.absence_seconds or ABSENCE,
        attest_slash=round(config.attest_slash * BASIS_POINTS),
        min_blocks=config.min_blocks,
    )
    return _with_floors(terms, config)


def _leaf_lanes(config: Config, parameters: int) -> int:
    """Return the lanes of a leaf: with large ones a large model's root costs less, a challenge more."""
    if config.leaf_lanes is not None:
        return config.leaf_lanes
    if parameters > LARGE:
        for lanes in LARGE_LEAVES:
            if config.devices * lanes * config.lane_bits // 8 <= ROW_BYTES:
                return lanes
    return LEAF_LANES


def _with_floors(terms: Terms, config: Config) -> Terms:
    """Return the terms with times that cover the longest round, where the configuration leaves them open.

    Raises ConfigError where it names shorter ones, which the contract refuses.
    """
    longest = longest_round(terms)
    floors = {"exit_seconds": longest, "absence_seconds": 3 * longest}
    for name, floor in floors.items():
        if (getattr(config, name) or floor) < floor:
            raise ConfigError(
                f"{name}={getattr(config, name)} is less than {floor}, what rounds of these lengths "
                f"may take: raise {name}, or leave it out"
            )
    return replace(terms, **{name: max(getattr(terms, name), floor) for name, floor in floors.items()})
