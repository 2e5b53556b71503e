"""Compute what an attacker gains, in leads and in money, by withholding what the next draw is made of.

The attacker plays the best response with unlimited lookahead: it knows its own next layers, so it knows the
draw of every round that one of them leads to, and of those that follow. Honest layers are unknown to it until
they are shown. An attacker with many identities splits its weight evenly among them. Money is in wei.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bcfl.config import Config

Values = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

HONEST = 18  # miners that follow the protocol
HEAD = 10  # places of a line of all miners that an attacker can hope to hold in a row
MANY = 24  # identities of an attacker that splits its stake
SAMPLES = 20_000  # values of known rounds
GENERATIONS, SETTLED = 32, 8  # of them, and from which on the gain is averaged
DEFAULTS = Config()
LEADER = DEFAULTS.reward * (1 - DEFAULTS.device_share - DEFAULTS.miner_share)  # what a lead is worth, wei


@dataclass(frozen=True)
class Scenario:
    """What the attacker has, what the rules are, and what a lead and a refusal are worth to it."""

    share: float  # of all weight
    identities: int
    committee: int | None = None  # None: all miners vote
    threshold: float = 2 / 3  # more than this share of the voters has to attest
    blocks: bool = False  # the attacker withholds attestations too, where it has enough of them
    value: float = 1.0  # of a lead
    refusal: float = 0.0  # what it costs not to lead when it is one's turn

    @property
    def miners(self) -> int:
        """The number of all miners."""
        return self.identities + HONEST

    @property
    def voters(self) -> int:
        """The number of miners that vote in a round."""
        return self.committee or self.miners


def orders(scenario: Scenario, rng: np.random.Generator, count: int) -> Flags:
    """Draw who stands where in line in `count` rounds: by weight, without replacement, as the lottery does.

    Shape (count, places); True is the attacker. Of a line of all miners only the head.
    """
    places = min(scenario.committee or HEAD, scenario.miners)
    attackers_left, honest_left = np.full(count, float(scenario.identities)), np.full(count, float(HONEST))
    attacker_weight, honest_weight = scenario.share / scenario.identities, (1 - scenario.share) / HONEST
    is_attacker_at = np.empty((count, places), dtype=np.bool_)
    for place in range(places):
        is_attacker = (
            rng.random(count) * (attackers_left * attacker_weight + honest_left * honest_weight)
            < attackers_left * attacker_weight
        )
        is_attacker_at[:, place] = is_attacker
        attackers_left, honest_left = attackers_left - is_attacker, honest_left - ~is_attacker
    return (
        is_attacker_at if scenario.committee is None else rng.permuted(is_attacker_at, axis=1)
    )  # members lead in an order of their own


@dataclass(frozen=True)
class Outcome:
    """What a round brings the attacker."""

    honest: float  # if it follows the protocol
    best: float  # if it plays the best response
    refusals: float  # turns that the best response refuses


def outcomes(scenario: Scenario, seed: int = 1) -> Outcome:
    """Return what a round brings an attacker that follows the protocol, and one that plays the best response.

    The worth X of a round whose draw is known solves X = best choice of (what it brings + the X of the round
    that it leads to) - g, with mean 0; g is what a round brings. A pool of values stands for the law of X:
    every draw that can be foreseen has a value from the pool, one that cannot has 0.
    """
    rng = np.random.default_rng(seed)
    pool, means = np.zeros(SAMPLES), []
    for _ in range(GENERATIONS):
        line = orders(scenario, rng, SAMPLES)
        value, refusals = _worth(scenario, rng, pool, line)
        pool = value - value.mean()
        means.append((scenario.value * line[:, 0].mean(), value.mean(), refusals.mean()))
    return Outcome(*map(float, np.mean(means[SETTLED:], axis=0)))


def _worth(scenario: Scenario, rng: np.random.Generator, pool: Values, line: Flags) -> tuple[Values, Values]:
    """Return the worth of rounds with a known draw and the turns refused, each of shape (SAMPLES,)."""
    voters = line.shape[1]
    withheld = voters - int(voters * scenario.threshold)  # so many are enough to stop a proposal
    blocking = scenario.blocks & (line.sum(axis=1) >= withheld)
    sorted_pool = np.sort(pool)
    # Nobody led: the next seed is known to all. In a long line that is beyond reach.
    worth = rng.permutation(pool) if scenario.committee else np.zeros(SAMPLES)
    refusals = np.zeros(SAMPLES)
    for place in reversed(range(voters)):
        lead, wait = scenario.value + rng.permutation(pool), worth - scenario.refusal
        # A layer that the attacker hears, and may keep from becoming final then.
        honest_worth = np.where(blocking, _at_least(sorted_pool, worth), 0.0)
        refusals = np.where(line[:, place] & (wait > lead), refusals + 1, 0.0)
        worth = np.where(line[:, place], np.maximum(lead, wait), honest_worth)
    return worth, refusals


def _at_least(values: Values, floor: Values) -> Values:
    """Return the expected greater of `floor` and a value from the pool."""
    above = np.concatenate([np.cumsum(values[::-1])[::-1], [0.0]])
    place = np.searchsorted(values, floor)
    return np.asarray((floor * place + above[place]) / len(values))


def blocking_rate(share: float, size: int, threshold: float, identities: int = MANY) -> float:
    """Return how often an attacker has so much of a committee that nothing becomes final against it."""
    line = orders(Scenario(share, identities, size), np.random.default_rng(3), 200_000)
    return float((line.sum(axis=1) >= size - int(size * threshold)).mean())


def salts(share: float, identities: int, value: float, penalty: float, rounds: int = 4000) -> float:
    """Return what a round brought under the former beacon: its seed was the exclusive or of revealed salts.

    The last to open chooses for every identity whether to open; each subset is a draw of its own, in which
    those that withhold have no part. A lower bound: this round's lead alone, at most 400 subsets of a size.
    """
    rng = np.random.default_rng(2)
    weight_each, income = share / identities, 0.0
    for _ in range(rounds):
        best = 0.0
        for withheld in range(min(identities, 5)):
            weight = (identities - withheld) * weight_each
            draws = rng.random(min(math.comb(identities, withheld), 400))
            leads = bool((draws < weight / (weight + 1 - share)).any())
            best = max(best, value * leads - penalty * withheld)
        income += best
    return income / rounds


def race(share: float, ahead: float, seconds: float = DEFAULTS.pow_seconds) -> float:
    """Return the chance to win a race with a share of the hash rate and the puzzle `ahead` seconds early."""
    chance_alone = 1 - math.exp(-share * ahead / seconds)
    return chance_alone + (1 - chance_alone) * share
