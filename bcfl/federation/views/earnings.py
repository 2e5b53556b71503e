"""View what a finished round has earned everybody, claimed or not, in wei.

It comes to the same as all claims (`bcfl.roles.background.claims`), without their proofs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bcfl.federation.views.votes import own_place
from bcfl.protocol.rewards import prices_of
from bcfl.protocol.rounds import History, Round
from bcfl.protocol.types import Terms


@dataclass(frozen=True)
class Income:
    """What a round earns: `weights` are samples times level by update; else wei by account."""

    price: int = 0  # of a sample, wei
    weights: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    voters: dict[str, int] = field(default_factory=dict)
    leads: dict[str, int] = field(default_factory=dict)


def income_of(round_: Round, terms: Terms) -> Income:
    """Return what a round earns, nothing before its block."""
    block = round_.block
    if block is None or not block.reward or round_.levels is None:
        return Income()
    counts = match_counts(round_)
    matches = [count * vote.voter.weight for count, vote in zip(counts, round_.votes, strict=True)]
    price = prices_of(terms, block.reward, round_.samples, sum(matches))
    samples = np.array([item.update.samples for item in round_.submissions], np.int64)
    levels = np.array(round_.levels, np.int64)
    voters = {
        vote.voter.account: price.verdict * match
        for vote, match in zip(round_.votes, matches, strict=True)
        if not terms.challenge_seconds or block.attested >> vote.voter.index & 1
    }
    return Income(
        price=price.sample,
        weights=np.minimum(samples, round_.cap) * levels,
        voters=voters,
        leads={block.leader: price.leader},
    )


def unclaimed_of(history: History, terms: Terms, account: str) -> int:
    """Return what an account has earned in all its roles and not claimed, in wei."""
    return sum(_unclaimed(history, terms, account))


def _unclaimed(history: History, terms: Terms, account: str) -> Iterator[int]:
    device = history.device_index(account)
    for number, round_ in history.rounds.items():
        if round_.block is None or not round_.block.reward:
            continue
        is_voter = any(vote.voter.account == account for vote in round_.votes)
        places = [] if device is None else _places(round_, device)
        as_miner = is_voter and (account, number, True) not in history.claimed
        as_device = bool(places) and (account, number, False) not in history.claimed
        if not as_miner and not as_device:
            continue
        income = income_of(round_, terms)
        if as_device and len(income.weights):
            yield income.price * sum(int(income.weights[place]) for place in places)
        if as_miner:
            yield income.voters.get(account, 0) + income.leads.get(account, 0)


def _places(round_: Round, device: int) -> list[int]:
    """Return where among a round's updates those of a device are."""
    return [item.position for item in round_.submissions if item.update.device == device]


def verdict_array(round_: Round) -> npt.NDArray[np.uint8]:
    """Return the verdicts of a round's votes as numbers, (votes, updates)."""
    codes = b"".join(bytes(vote.opening.verdicts) for vote in round_.votes)
    return np.frombuffer(codes, np.uint8).reshape(len(round_.votes), -1)


def match_counts(round_: Round) -> list[int]:
    """Return how many verdicts of each vote are the tally's, own updates left out; zeros before the tally."""
    if not round_.levels or not round_.votes:
        return [0] * len(round_.votes)
    accepted = _accepted(round_)
    same: npt.NDArray[np.bool_] = (verdict_array(round_) == 0) == accepted
    for row, vote in enumerate(round_.votes):
        place = own_place(round_, vote)
        if place is not None:
            same[row, place] = False
    return [int(count) for count in same.sum(axis=1)]


def _accepted(round_: Round) -> npt.NDArray[np.bool_]:
    """Return whether each update is accepted, (updates,)."""
    return np.frombuffer(bytes(round_.levels or ()), np.uint8) > 0


def add_income(totals: Counter[str], income: Income, devices: Sequence[str], sign: int = 1) -> None:
    """Add what a round earns to totals by account; `devices` brought its updates, -1 takes it away again."""
    price = sign * income.price
    for account, weight in zip(devices, income.weights.tolist(), strict=False):
        if weight:
            totals[account] += price * weight
    for shares in (income.voters, income.leads):
        for account, amount in shares.items():
            totals[account] += sign * amount
