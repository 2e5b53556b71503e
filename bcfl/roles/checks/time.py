"""`time`: the computation time must be proportional to the number of samples (section 5.3).

BlockFL pays for samples and bounds a lie about them by the time that training them takes. The rule is a pure
function of what is on chain, so every miner comes to the same verdict.
"""

from __future__ import annotations

from collections.abc import Sequence

from bcfl.protocol.rounds import History, Round
from bcfl.protocol.types import Terms, Update

BASIS = 10_000
REMEMBERED = 5  # accepted rounds of a device that make its reference


def nanoseconds_per_sample(update: Update) -> int:
    """A device's rate in one round."""
    return update.microseconds * 1000 // update.samples


def median(values: Sequence[int]) -> int:
    """The lower median."""
    return sorted(values)[(len(values) - 1) // 2]


def reference(history: History, current: Round, update: Update) -> int:
    """The rate an update is measured against: the device's own accepted history, else the round's median."""
    own = [
        nanoseconds_per_sample(item.update)
        for earlier in history.rounds.values()
        if earlier.block is not None and earlier.number < current.number
        for item in earlier.taken()
        if item.update.device == update.device
    ]
    rates = own[-REMEMBERED:] or [nanoseconds_per_sample(item.update) for item in current.submissions]
    return median(rates)


def proportional(update: Update, rate: int, terms: Terms) -> bool:
    """Whether an update's time is within the tolerated factor of `rate`, or closer to it than the slack."""
    claimed = update.microseconds * 1000
    fair = rate * update.samples
    slack = terms.time_slack * 1000
    too_long = claimed * BASIS > fair * terms.time_factor and claimed > fair + slack
    too_short = claimed * terms.time_factor < fair * BASIS and claimed + slack < fair
    return not (too_long or too_short)


def check(history: History, current: Round, terms: Terms) -> list[bool]:
    """For each submission of a round, whether its time is in proportion."""
    return [
        proportional(item.update, reference(history, current, item.update), terms)
        for item in current.submissions
    ]
