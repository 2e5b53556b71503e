"""View what the finished rounds have earned everybody, claimed or not, in wei."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from bcfl.protocol.limits import BASIS_POINTS
from bcfl.protocol.rounds import Round
from bcfl.protocol.types import Terms
from bcfl.protocol.verification import own_position


def earnings(rounds: Iterable[Round], devices: list[str], terms: Terms) -> dict[str, int]:
    """Return by account what it has earned as a device, as a miner and as a leader.

    It comes to the same as all its claims (`bcfl.roles.background.claims`), without their proofs.
    """
    amounts: dict[str, int] = defaultdict(int)
    for round_ in rounds:
        block = round_.block
        if block is None or not block.reward or round_.levels is None:
            continue
        price = block.reward * terms.device_share // BASIS_POINTS // max(round_.samples, 1)
        cap = round_.cap
        for item, level in zip(round_.submissions, round_.levels, strict=True):
            if level:
                amounts[devices[item.update.device]] += price * min(item.update.samples, cap) * level
        for account, amount in _verdicts(round_, terms).items():
            amounts[account] += amount
        lead = BASIS_POINTS - terms.device_share - terms.miner_share
        amounts[block.leader] += block.reward * lead // BASIS_POINTS
    return dict(amounts)


def match_counts(round_: Round) -> list[int]:
    """Return how many verdicts of each vote are the tally's, own updates left out; zeros before the tally."""
    if not round_.levels or not round_.votes:
        return [0] * len(round_.votes)
    accepted = np.frombuffer(bytes(round_.levels), np.uint8) > 0  # (updates,)
    codes = b"".join(bytes(vote.opening.verdicts) for vote in round_.votes)
    votes = np.frombuffer(codes, np.uint8).reshape(len(round_.votes), -1) == 0  # (votes, updates)
    same: npt.NDArray[np.bool_] = votes == accepted
    devices = [item.update.device for item in round_.submissions]
    for row, vote in enumerate(round_.votes):
        place = own_position(vote.voter, devices)
        if place is not None:
            same[row, place] = False
    return [int(count) for count in same.sum(axis=1)]


def _verdicts(round_: Round, terms: Terms) -> dict[str, int]:
    """Return what verdicts earn in a finished round: only who attested is paid where challenges exist."""
    block = round_.block
    if block is None:
        return {}
    counts = match_counts(round_)
    weights = [count * vote.voter.weight for count, vote in zip(counts, round_.votes, strict=True)]
    price = block.reward * terms.miner_share // BASIS_POINTS // max(sum(weights), 1)
    return {
        vote.voter.account: price * weight
        for vote, weight in zip(round_.votes, weights, strict=True)
        if not terms.challenge_seconds or block.attested >> vote.voter.index & 1
    }
