"""Compute how often a coalition captures a committee: its members alone reach more than two thirds of it.

Members are drawn by weight, one after the other, without replacement, and count alike. Such a draw is a race:
a miner of weight w arrives at a random time, with rate w, and the first to arrive are the committee. The
coalition captures it if enough of it arrive before the others have filled more than the places left to them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt

DRAWN_AT_ONCE: Final = 3  # committees, for the rounds after one in which everybody voted
COARSE, FINE = 400, 4000  # times at which the race is looked at: to find where it is decided, and there
NEGLIGIBLE: Final = 1e-9  # share of a probability outside of the times that are looked at closely

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Probability:
    """What a probability lies between; the same twice where it is exact."""

    low: float
    high: float


@dataclass(frozen=True)
class Parties:
    """The weights of the accounts of a coalition, and those of all other miners."""

    coalition: tuple[int, ...]
    others: tuple[int, ...]

    @property
    def miners(self) -> int:
        """Return the number of all miners."""
        return len(self.coalition) + len(self.others)

    @property
    def share(self) -> float:
        """Return the coalition's share of all weight."""
        return sum(self.coalition) / (sum(self.coalition) + sum(self.others))

    @property
    def are_equal(self) -> bool:
        """Whether all miners weigh the same."""
        return len({*self.coalition, *self.others}) == 1


def deciding(members: int) -> int:
    """Return how many of so many members are more than two thirds of them."""
    return members * 2 // 3 + 1


def equal_probability(members: int, coalition: int, others: int, need: int) -> Fraction:
    """Return exactly how often at least `need` members belong to a coalition, if all weights are equal."""
    hits = sum(
        math.comb(coalition, count) * math.comb(others, members - count) for count in range(need, members + 1)
    )
    return Fraction(hits, math.comb(coalition + others, members))


def probability(parties: Parties, size: int, need: int | None = None) -> Probability:
    """Return how often a coalition has `need` members of a committee; None: more than two thirds of all.

    `size`: members; where there are fewer miners, all of them. Exact where all weights are equal; else
    bounded from both sides by sums over steps of time, true but for rounding (less than 1e-9 of the value).
    """
    members = min(size, parties.miners)
    need = deciding(members) if need is None else need
    spare = members - need  # places that others may have while the coalition decides
    if len(parties.coalition) < need:
        return Probability(0.0, 0.0)
    if len(parties.others) <= spare:
        return Probability(1.0, 1.0)
    if parties.are_equal:
        value = float(equal_probability(members, len(parties.coalition), len(parties.others), need))
        return Probability(value, value)
    weights = (*parties.coalition, *parties.others)
    times = np.geomspace(1e-6 / sum(weights), 50 / min(weights), COARSE)
    arrived, waiting = _race(parties, times, need, spare)
    parts = np.cumsum(np.diff(arrived) * waiting[:-1])
    first, last = np.searchsorted(parts, [NEGLIGIBLE * parts[-1], (1 - NEGLIGIBLE) * parts[-1]])
    fine = np.geomspace(times[max(first - 1, 0)], times[min(last, COARSE - 1)], FINE)
    arrived, waiting = _race(parties, fine, need, spare)
    steps = np.diff(arrived)
    return Probability(float(steps @ waiting[1:]), float(steps @ waiting[:-1]))


def at_least_once(chance: float, draws: int) -> float:
    """Return how likely it is that something happens at least once in independent draws."""
    if chance >= 1:
        return float(draws > 0)
    return 0.0 - math.expm1(draws * math.log1p(-chance))


def committees(rounds: int) -> int:
    """Return how many of the first rounds committees decide, if all votes are opened and no round is void."""
    return rounds - -(-rounds // (DRAWN_AT_ONCE + 1))


def most_committees(rounds: int) -> int:
    """Return how many committees can be drawn for the first rounds.

    A coalition that keeps an opening back discards a draw that it does not like: everybody votes again, and
    three more are drawn. So it sees up to three new ones a round, for a penalty each time.
    """
    return DRAWN_AT_ONCE * (rounds - 1)


def _race(parties: Parties, times: Values, need: int, spare: int) -> tuple[Values, Values]:
    """Return two probabilities at each of the times, at 0 before them and at the end after them.

    The first grows from 0 to 1: at least `need` of the coalition have arrived. The second falls from 1 to 0:
    at most `spare` of the others have.
    """
    arrived = _counts(parties.coalition, times, need)[:, need]
    waiting = _counts(parties.others, times, spare + 1)[:, : spare + 1].sum(axis=1)
    return np.concatenate([[0.0], arrived, [1.0]]), np.concatenate([[1.0], waiting, [0.0]])


def _counts(weights: Sequence[int], times: Values, most: int) -> Values:
    """Return how likely so many have arrived, shape (times, most + 1); the last column: `most` or more."""
    counts = np.zeros((len(times), most + 1))
    counts[:, 0] = 1
    for weight in weights:
        gone = -np.expm1(-weight * times)[:, None]
        moved = counts * gone
        moved[:, most] = 0  # who is counted already stays there
        counts = counts - moved
        counts[:, 1:] += moved[:, :-1]
    return counts
