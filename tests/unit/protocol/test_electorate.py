"""What decides, and what accepts a voter's own update: every division of small weights."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations_with_replacement, product

import pytest

from bcfl.protocol.types import Electorate


def divisions(voters: int, heaviest: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yield weights of so many voters, and each coalition of them as a mask."""
    for weights in combinations_with_replacement(range(1, heaviest + 1), voters):
        for mask in product((0, 1), repeat=voters):
            yield weights, mask


@pytest.mark.parametrize(("voters", "heaviest"), [(1, 9), (2, 9), (3, 9), (4, 6), (5, 5), (6, 3), (7, 3)])
def test_a_coalition_brings_its_own_update_in_only_with_more_than_half(voters: int, heaviest: int) -> None:
    """All others refuse it. With its own update's weight, half of it has to be there beyond half of all."""
    for weights, mask in divisions(voters, heaviest):
        electorate, coalition = (
            Electorate(sum(weights)),
            sum(w for w, bit in zip(weights, mask, strict=True) if bit),
        )
        for own in {w for w, bit in zip(weights, mask, strict=True) if bit}:
            is_accepted = electorate.accepts_own(coalition - own, own)
            assert not is_accepted or electorate.decides(coalition)
            assert is_accepted == (2 * coalition >= electorate.whole + own)


@pytest.mark.parametrize(("voters", "heaviest"), [(1, 9), (2, 9), (3, 9), (4, 6), (5, 5), (6, 3), (7, 3)])
def test_less_than_half_keeps_out_only_who_outweighs_the_lead_of_the_rest(voters: int, heaviest: int) -> None:
    """The coalition refuses; all others accept. With equal weights that is nobody."""
    for weights, mask in divisions(voters, heaviest):
        whole, coalition = sum(weights), sum(w for w, bit in zip(weights, mask, strict=True) if bit)
        if 2 * coalition >= whole:
            continue
        for own in {w for w, bit in zip(weights, mask, strict=True) if not bit}:
            is_accepted = Electorate(whole).accepts_own(whole - coalition - own, own)
            assert is_accepted == (own <= whole - 2 * coalition)
            assert is_accepted or len(set(weights)) > 1


@pytest.mark.parametrize("members", range(1, 65))
def test_a_members_own_update_takes_just_what_decides(members: int) -> None:
    """More than two thirds with the member itself, no more and no less."""
    committee = Electorate(members, is_committee=True)
    for count in range(1, members + 1):
        assert committee.accepts_own(count - 1, 1) == committee.decides(count)


@pytest.mark.parametrize("voters", range(1, 65))
def test_with_equal_weights_an_own_update_takes_just_what_decides(voters: int) -> None:
    for weight in (1, 2, 7, 65_535):
        electorate = Electorate(voters * weight)
        for count in range(1, voters + 1):
            is_accepted = electorate.accepts_own((count - 1) * weight, weight)
            assert is_accepted == electorate.decides(count * weight)
