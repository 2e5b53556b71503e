"""Score what the contract has seen of a miner's resources; twin of `scores.vy`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bcfl.protocol.limits import BASIS_POINTS

WHOLE = 65_535  # a share of one
PART = 4  # one part in so many of an average is new
SCALE = 40  # bits between the product and the score


@dataclass(frozen=True)
class Resources:
    """Exponential averages over the rounds of the resource engine; shares in 1/65,535, samples per second."""

    storage: int = WHOLE // 4  # share of rounds in which its own update was available
    quality: int = WHOLE // 4  # share of rounds in which its own update was accepted
    stability: int = WHOLE // 4  # share of rounds in which it unveiled its verdicts in time
    rate: int = 1  # samples per second

    @property
    def score(self) -> int:
        """Return the weight in a draw: at least 1, below 2**32."""
        return max(1, self.rate * self.storage * self.quality * self.stability >> SCALE)

    def after(self, *, on_time: bool, available: bool, accepted: bool, pace: int) -> Resources:
        """Return the averages with one more round in them; `pace` is 0 where no own update was accepted."""
        return Resources(
            storage=towards(self.storage, WHOLE * available),
            quality=towards(self.quality, WHOLE * accepted),
            stability=towards(self.stability, WHOLE * on_time),
            rate=towards(self.rate, pace) if pace else self.rate,
        )


def most_pace(paces: Sequence[tuple[int, int]], factor: int) -> int:
    """Return the most that a pace counts in a round: the lower median of paces by weight, times a factor.

    Takes (pace, weight) of every active miner and the factor in basis points. Who has less than half of the
    weight cannot move the median beyond the others' paces. Where nobody is active it is 0.
    """
    whole = sum(weight for _, weight in paces)
    reached = 0
    for pace, weight in sorted(paces):
        reached += weight
        if 2 * reached >= whole:
            return pace * factor // BASIS_POINTS
    return 0


def towards(average: int, latest: int) -> int:
    """Move an average towards a new value; it reaches a value that stays the same."""
    if latest >= average:
        return average + (latest - average + PART - 1) // PART
    return average - (average - latest + PART - 1) // PART
