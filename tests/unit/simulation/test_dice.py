"""Decisions by name, and the search for the fewest faults."""

from __future__ import annotations

from tests.simulation.dice import Dice
from tests.simulation.shrink import shrink

KINDS, CHANCES = ("kill", "power"), (0.2, 0.2)


def draws(dice: Dice, party: str, places: int = 50) -> list[str | None]:
    faults = [dice.fault(KINDS, CHANCES, party, 1, "VOTE") for _ in range(places)]
    return [None if fault is None else fault.name for fault in faults]


def test_the_same_seed_makes_the_same_faults_and_another_seed_others() -> None:
    assert draws(Dice(1), "miner 0") == draws(Dice(1), "miner 0") != draws(Dice(2), "miner 0")


def test_what_happens_to_one_party_does_not_depend_on_what_happens_to_another() -> None:
    alone, after = Dice(1), Dice(1)
    draws(after, "miner 1")
    assert draws(alone, "miner 0") == draws(after, "miner 0")


def test_faults_that_are_taken_out_leave_the_others_where_they_are() -> None:
    names = [name for name in draws(Dice(3), "miner 0") if name is not None]
    kept = frozenset(names[::2])
    assert len(kept) > 3
    assert [name for name in draws(Dice(3, kept), "miner 0") if name] == [n for n in names if n in kept]


def test_faults_are_as_frequent_as_they_should_be() -> None:
    names = draws(Dice(4), "miner 0", 10_000)
    for kind in KINDS:
        assert 1_800 < sum(name is not None and name.startswith(kind) for name in names) < 2_200


def test_nothing_goes_wrong_any_more_when_it_is_quiet() -> None:
    dice = Dice(1)
    dice.is_quiet = True
    assert draws(dice, "miner 0") == [None] * 50
    assert dice.faults == []


def test_the_fewest_faults_are_found() -> None:
    faults = [f"fault {number}" for number in range(40)]
    assert shrink(faults, lambda kept: {"fault 7", "fault 31"} <= kept) == ("fault 7", "fault 31")
    assert shrink(faults, lambda kept: "fault 39" in kept) == ("fault 39",)


def test_a_failure_without_any_fault_needs_none() -> None:
    assert shrink(["fault 1", "fault 2"], lambda kept: len(kept) >= 0) == ()


def test_shrinking_stops_after_so_many_tries() -> None:
    tries = []

    def fails(kept: frozenset[str]) -> bool:
        tries.append(kept)
        return len(kept) > 30

    kept = shrink([f"fault {number}" for number in range(40)], fails, tries=5)
    assert 30 < len(kept) <= 40
    assert len(tries) <= 6
