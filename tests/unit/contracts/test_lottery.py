"""lottery.vy: committees of twin and bytecode agree, the logarithm is one, places are won by weight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal, localcontext
from functools import cache

import pytest

from bcfl.ledger.contract import Contract
from bcfl.protocol import lottery
from bcfl.protocol.hashing import keccak, word
from bcfl.protocol.limits import COMMITTEES
from bcfl.protocol.lottery import Entrant
from testkit.mocks import mock

EDGES = [0, 1, 2, 3, 2**128, lottery.ROOT << 128, (lottery.ROOT << 128) - 1, 2**255, 2**255 - 1, 2**256 - 1]


@cache
def contract() -> Contract:
    return mock("LotteryMock")[0]


def seeds(count: int, name: str) -> list[bytes]:
    return [keccak(name.encode() + word(number)) for number in range(count)]


def account(number: int) -> int:
    return int.from_bytes(keccak(word(number))[:20], "big")


def packed(entrants: Sequence[Entrant]) -> list[int]:
    words = [item.weight << 160 | item.account for item in entrants]
    return words + [0] * (64 - len(words))


def draw_masks(entrants: Sequence[Entrant], committee: int, picks: int, count: int) -> list[int]:
    """The masks of many draws by the contract."""
    masks: list[int] = []
    for part in parts(seeds(count, "draw"), 10 if picks > 1 else 100):
        masks += contract().call("drawn", part, committee, packed(entrants), picks)
    return masks


def parts(items: list[bytes], size: int) -> list[list[bytes]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def mask(entrants: Sequence[Entrant], members: Sequence[Entrant]) -> int:
    return sum(1 << entrants.index(item) for item in members)


@pytest.mark.parametrize("committee", range(COMMITTEES))
def test_twin_and_bytecode_agree_on_committees(committee: int) -> None:
    entrants = [Entrant(account(i), 1 + i * i) for i in range(12)]
    expected = [mask(entrants, lottery.order(seed, committee, entrants)[:5]) for seed in seeds(20, "draw")]
    assert draw_masks(entrants, committee, 5, 20) == expected


@pytest.mark.parametrize("picks", [1, 7, 64])
def test_sixty_four_entrants(picks: int) -> None:
    entrants = [Entrant(account(i), 1 + i % 3) for i in range(64)]
    order = lottery.order(seeds(1, "draw")[0], 0, entrants)
    assert draw_masks(entrants, 0, picks, 1) == [mask(entrants, order[:picks])]


def test_a_committee_larger_than_the_miners_is_all_of_them() -> None:
    entrants = [Entrant(account(i), 1) for i in range(3)]
    assert draw_masks(entrants, 0, 64, 1) == [0b111]
    assert draw_masks(entrants[:1], 0, 5, 1) == [1]
    assert draw_masks([], 0, 5, 1) == [0]


def test_who_stays_away_changes_nobody_elses_place() -> None:
    entrants = [Entrant(account(i), 1 + i) for i in range(6)]
    for seed in seeds(50, "draw"):
        order = lottery.order(seed, 0, entrants)
        for absent in entrants:
            present = [item for item in entrants if item != absent]
            assert lottery.order(seed, 0, present) == [item for item in order if item != absent]


def exact(ticket: int) -> Decimal:
    return (256 * Decimal(2).ln() - Decimal(ticket | 1).ln()) * 2**128


def test_the_logarithm_is_one() -> None:
    """Bit for bit that of the contract, and within 2**-70 of the value with sixty digits."""
    tickets = EDGES + [int.from_bytes(seed, "big") >> (i % 200) for i, seed in enumerate(seeds(100, "log"))]
    waits: list[int] = []
    for start in range(0, len(tickets), 200):
        waits += contract().call("waits", tickets[start : start + 200])
    assert waits == [lottery.wait(ticket) for ticket in tickets]
    with localcontext() as context:
        context.prec = 90
        assert max(abs(wait - exact(t)) for wait, t in zip(waits, tickets, strict=True)) < 2**58


def test_waits_fall_as_tickets_rise() -> None:
    tickets = sorted({int.from_bytes(seed, "big") for seed in seeds(2000, "order")})
    waits = [lottery.wait(ticket) for ticket in tickets]
    assert waits == sorted(waits, reverse=True)
    assert min(waits) >= 0


@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 2, 3, 4), (10, 1, 1, 1)])
def test_places_are_won_in_proportion(weights: tuple[int, ...]) -> None:
    entrants = [Entrant(account(i), weight) for i, weight in enumerate(weights)]
    draws = 4000
    firsts = Counter(lottery.order(seed, 0, entrants)[0] for seed in seeds(draws, "share"))
    total = sum(weights)
    expected_counts = [draws * item.weight / total for item in entrants]
    counts = zip(entrants, expected_counts, strict=True)
    squares = sum((firsts[item] - mean) ** 2 / mean for item, mean in counts)
    assert squares < 16.3  # one in a thousand for three degrees of freedom


def test_committees_are_drawn_apart() -> None:
    entrants = [Entrant(account(i), 1) for i in range(8)]
    drawn = [lottery.committees(seed, entrants, 3) for seed in seeds(40, "draw")]
    # One of 56 sets for each committee.
    assert sum(one in (two, three) or two == three for one, two, three in drawn) < 8
