"""`time`: the computation time must be proportional to the number of samples (section 5.3).

BlockFL pays for samples and bounds a lie about them by the time that training them takes. The rule is a pure
function of what is on chain, so every miner comes to the same verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from bcfl.protocol.rounds import History, Round
from bcfl.protocol.types import Terms, Update

BASIS = 10_000
REMEMBERED = 32  # accepted rounds of a device that make its reference: too many to drift away from quickly


def nanoseconds_per_sample(update: Update) -> int:
    """A device's rate in one round."""
    return update.microseconds * 1000 // update.samples


def median(values: Sequence[int]) -> int:
    """The lower median."""
    return sorted(values)[(len(values) - 1) // 2]


def own_rate(history: History, device: int, before: int) -> int | None:
    """The median rate of a device's last accepted updates of rounds under `before`; None if it has none."""
    earlier = (update for update in reversed(history.trained.get(device, [])) if update.round < before)
    rates = [nanoseconds_per_sample(update) for update in islice(earlier, REMEMBERED)]
    return median(rates) if rates else None


def proportional(update: Update, rate: int, terms: Terms) -> bool:
    """Whether an update's time is within the tolerated factor of `rate`, or closer to it than the slack."""
    claimed = update.microseconds * 1000
    fair = rate * update.samples
    slack = terms.time_slack * 1000
    too_long = claimed * BASIS > fair * terms.time_factor and claimed > fair + slack
    too_short = claimed * terms.time_factor < fair * BASIS and claimed + slack < fair
    return not (too_long or too_short)


def check(history: History, current: Round, terms: Terms) -> list[bool]:
    """For each submission of a round, whether its time is in proportion.

    The reference is the device's own accepted history, else the median of the round.
    """
    updates = [item.update for item in current.submissions]
    rates = references(history, current)
    return [proportional(update, rate, terms) for update, rate in zip(updates, rates, strict=True)]


def ratios(history: History, current: Round) -> list[float]:
    """The rate of each submission of a round, in its reference rate."""
    rates = references(history, current)
    claimed = [nanoseconds_per_sample(item.update) for item in current.submissions]
    return [claim / max(rate, 1) for claim, rate in zip(claimed, rates, strict=True)]


def references(history: History, current: Round) -> list[int]:
    """The reference rate of each submission of a round, nanoseconds a sample."""
    updates = [item.update for item in current.submissions]
    common = median([nanoseconds_per_sample(update) for update in updates]) if updates else 0
    own = [own_rate(history, update.device, current.number) for update in updates]
    return [common if rate is None else rate for rate in own]
