"""What decides, also about the updates of those who vote: every division of small weights."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations_with_replacement, product

import pytest

from bcfl.protocol.types import Electorate, Opening, Verdict, Voter
from bcfl.protocol.verification import Vote, levels_in_force

SIZES = [(1, 9), (2, 9), (3, 9), (4, 6), (5, 5), (6, 3), (7, 3)]  # voters, and the heaviest weight
Weights = tuple[int, ...]


def divisions(voters: int, heaviest: int) -> Iterator[tuple[Weights, Weights]]:
    """Yield weights of so many voters, and each coalition of them as a mask."""
    for weights in combinations_with_replacement(range(1, heaviest + 1), voters):
        for mask in product((0, 1), repeat=voters):
            yield weights, mask


def levels(weights: Weights, rows: list[list[int]], electorate: Electorate) -> tuple[int, ...]:
    """Count votes, one row a voter; each voter's own update stands at its place."""
    votes = []
    for place, (weight, row) in enumerate(zip(weights, rows, strict=True)):
        account = f"0x{place:040x}"
        verdicts = tuple(Verdict.ACCEPTED if level else Verdict.QUALITY for level in row)
        opening = Opening(1, account, verdicts, bytes(32), levels=tuple(row))
        votes.append(Vote(Voter(account, weight, place, index=place), opening))
    return levels_in_force(votes, len(rows), electorate)


@pytest.mark.parametrize(("voters", "heaviest"), SIZES)
def test_a_coalition_brings_its_updates_in_just_with_more_than_half(voters: int, heaviest: int) -> None:
    """It gives its own updates the most; all others refuse them."""
    for weights, mask in divisions(voters, heaviest):
        electorate = Electorate(sum(weights))
        rows = [[4 if mine and theirs else 0 for theirs in mask] for mine in mask]
        coalition = sum(weight for weight, bit in zip(weights, mask, strict=True) if bit)
        level = 4 if electorate.decides(coalition) else 0
        assert levels(weights, rows, electorate) == tuple(level * bit for bit in mask)


@pytest.mark.parametrize(("voters", "heaviest"), SIZES)
def test_less_than_half_keeps_no_update_out_and_lowers_none(voters: int, heaviest: int) -> None:
    """The coalition refuses all updates of the others, or gives them the least; the others give all 3."""
    for weights, mask in divisions(voters, heaviest):
        electorate = Electorate(sum(weights))
        coalition = sum(weight for weight, bit in zip(weights, mask, strict=True) if bit)
        if 2 * coalition >= electorate.whole:
            continue
        for worst in (0, 1):
            rows = [[worst if mine else 3] * voters for mine in mask]
            assert levels(weights, rows, electorate) == (3,) * voters


@pytest.mark.parametrize("members", range(1, 65))
def test_a_member_of_a_committee_is_brought_in_by_more_than_two_thirds(members: int) -> None:
    committee = Electorate(members, is_committee=True)
    for count in range(1, members + 1):
        rows = [[3 if member < count else 0] + [0] * (members - 1) for member in range(members)]
        expected = 3 * committee.decides(count)
        assert levels((1,) * members, rows, committee)[0] == expected
