"""Reject as `time` a computation time that is too short for the number of samples.

BlockFL (Kim, Park, Bennis, Kim 2020, arXiv:1808.03949) pays for samples and bounds a lie about them by the
time that training them takes. A long time is no lie that pays: a slow device takes part, and one that has
become faster is not held to what it was. The rule is a pure function of what is on chain, so every miner
comes to the same verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from bcfl.protocol.limits import BASIS_POINTS
from bcfl.protocol.rounds import History, Round
from bcfl.protocol.types import Terms, Update
from bcfl.roles.checks.needs import Needs

NEEDS = Needs.CLAIMS
HISTORY_ROUNDS = 32  # accepted ones of a device that make its reference; few follow its claims at once


def nanoseconds_per_sample(update: Update) -> int:
    """Return a device's rate in one round."""
    return update.microseconds * 1000 // update.samples


def median(values: Sequence[int]) -> int:
    """Return the lower median."""
    return sorted(values)[(len(values) - 1) // 2]


def own_rate(history: History, device: int, number: int) -> int | None:
    """Return the median rate of a device's last accepted updates before a round; None if it has none."""
    earlier = (update for update in reversed(history.trained.get(device, [])) if update.round < number)
    rates = [nanoseconds_per_sample(update) for update in islice(earlier, HISTORY_ROUNDS)]
    return median(rates) if rates else None


def plausible(update: Update, rate: int, terms: Terms) -> bool:
    """Return whether a time is shorter than `rate` allows by no more than the factor, or the slack."""
    nanoseconds = update.microseconds * 1000
    fair = rate * update.samples
    slack = terms.time_slack * 1000
    return nanoseconds * terms.time_factor >= fair * BASIS_POINTS or nanoseconds + slack >= fair


def check(history: History, current: Round, terms: Terms) -> list[bool]:
    """Return for each submission of a round whether its time is long enough for its samples.

    The reference is the median of the round, or of the device's own accepted updates if that is faster.
    """
    updates = [item.update for item in current.submissions]
    rates = references(history, current)
    return [plausible(update, rate, terms) for update, rate in zip(updates, rates, strict=True)]


def ratios(history: History, current: Round) -> list[float]:
    """Return the rate of each submission of a round, in its reference rate."""
    rates = [nanoseconds_per_sample(item.update) for item in current.submissions]
    pairs = zip(rates, references(history, current), strict=True)
    return [rate / max(reference, 1) for rate, reference in pairs]


def references(history: History, current: Round) -> list[int]:
    """Return the reference rate of each submission of a round, in nanoseconds a sample."""
    updates = [item.update for item in current.submissions]
    common = median([nanoseconds_per_sample(update) for update in updates]) if updates else 0
    rates = [own_rate(history, update.device, current.number) for update in updates]
    return [common if rate is None else min(rate, common) for rate in rates]
