"""Each check of what is on chain against a transcription of its definition, and what it must not drop."""

from __future__ import annotations

from fractions import Fraction
from statistics import median_low
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcfl.protocol.rounds import History, Round, Submission
from bcfl.protocol.types import Block, Update
from bcfl.roles.checks import duplicate, time
from tests.local_federation import TERMS

NOBODY = "0x" + "00" * 20
SLACK = TERMS.time_slack
FACTOR = Fraction(TERMS.time_factor, 10_000)


def update(
    device: int, root: int = 0, samples: int = 100, microseconds: int = 1000, round_: int = 1
) -> Update:
    return Update(round_, device, root.to_bytes(32, "big"), bytes(32), samples, microseconds, 0)


def round_of(number: int, updates: list[Update], submitters: list[str] | None = None, **fields: Any) -> Round:
    names = submitters or [NOBODY] * len(updates)
    items = [Submission(i, u, names[i]) for i, u in enumerate(updates)]
    return Round(number, 0, submissions=items, **fields)


def block_of(number: int) -> Block:
    return Block(bytes(32), number, bytes(32), bytes(32), bytes(32), NOBODY, 0)


def history_of(*rounds: Round) -> History:
    """The history of rounds that have ended; those with an accepted set are finalized."""
    history = History(1)
    history.blocks.append(block_of(0))
    for round_ in rounds:
        history.rounds[round_.number] = round_
        for item in round_.submissions:
            history.roots.setdefault(item.update.root, round_.number)
        if round_.accepted is not None:
            round_.block = block_of(round_.number)
            for item in round_.accepted_submissions():
                history.trained.setdefault(item.update.device, []).append(item.update)
    return history


# time: within the factor of the reference rate, or within the slack of the time it stands for.

claims = st.lists(st.tuples(st.integers(1, 10**4), st.integers(0, 10**8)), min_size=1, max_size=8)


@given(claims)
def test_time_is_the_rule_of_the_protocol(pairs: list[tuple[int, int]]) -> None:
    current = round_of(1, [update(i, i, s, us) for i, (s, us) in enumerate(pairs)])
    reference = median_low([us * 1000 // s for s, us in pairs])
    expected = []
    for samples, microseconds in pairs:
        fair_time = Fraction(reference * samples, 1000)
        expected.append(microseconds >= fair_time / FACTOR or fair_time - microseconds <= SLACK)
    assert time.check(history_of(), current, TERMS) == expected


def test_a_device_is_measured_against_its_own_accepted_rounds() -> None:
    slow_rounds = [round_of(n, [update(0, n, 100, 900_000, n)], levels=(3,)) for n in (1, 2, 3)]
    other_updates = [update(d, 90 + d, 100, 10_000, 4) for d in (1, 2, 3, 4)]
    current = round_of(4, [update(0, 80, 100, 900_000, 4), *other_updates])
    assert time.check(history_of(*slow_rounds), current, TERMS) == [True] * 5
    assert time.check(history_of(), current, TERMS) == [True] * 5
    fast_rounds = [round_of(n, [update(0, n, 100, 10_000, n)], levels=(3,)) for n in (1, 2, 3)]
    others = [update(d, 90 + d, 100, 900_000, 4) for d in (1, 2, 3, 4)]
    for claimed in (2_000, 10_000, 11_000_000):
        current = round_of(4, [update(0, 80, 100, claimed, 4), *others])
        assert time.check(history_of(*fast_rounds), current, TERMS)[0]
    many = round_of(4, [update(0, 80, 10_000, 90_000, 4), *others])
    assert not time.check(history_of(*fast_rounds), many, TERMS)[0]  # its own pace allows a tenth of 1 s


@pytest.mark.parametrize("times", [50, 1000])
def test_a_slow_device_takes_part_and_one_that_becomes_fast_goes_on(times: int) -> None:
    """Who honestly needs so many times the others' time is in every round, also on its next machine."""
    others = [[update(d, 90 + d + 10 * n, 100, 200_000, n) for d in (1, 2, 3)] for n in range(1, 5)]
    rounds: list[Round] = []
    for number in (1, 2, 3):
        updates = [update(0, number, 100, 200_000 * times, number), *others[number - 1]]
        current = round_of(number, updates, levels=(3,) * 4)
        assert time.check(history_of(*rounds), current, TERMS) == [True] * 4
        rounds.append(current)
    upgraded = round_of(4, [update(0, 80, 100, 200_000, 4), *others[3]])
    assert time.check(history_of(*rounds), upgraded, TERMS) == [True] * 4


def test_rejected_and_later_rounds_are_no_reference() -> None:
    earlier = round_of(1, [update(0, 1, 100, 900_000, 1)], levels=(0,))
    later = round_of(3, [update(0, 3, 100, 900_000, 3)], levels=(3,))
    history = history_of(earlier, later)
    assert time.own_rate(history, 0, number=3) is None
    assert time.own_rate(history, 0, number=4) == 9_000_000


def test_slow_claims_are_no_licence_to_claim_more_samples_later() -> None:
    """Whoever has claimed a slow pace is held to the others' pace all the same."""
    rounds = [round_of(n, [update(0, n, 10, 10**8, n)], levels=(3,)) for n in range(1, 9)]
    others = [update(d, 90 + d, 100, 1_000_000, 9) for d in (1, 2, 3)]
    for samples, is_plausible in ((500, True), (520, False), (100_000, False)):
        current = round_of(9, [update(0, 80, samples, 1_000_000, 9), *others])
        assert time.check(history_of(*rounds), current, TERMS)[0] == is_plausible


@pytest.mark.parametrize("samples", [1, 50, 100_000])
def test_invented_samples_show(samples: int) -> None:
    honest = [update(d, d, 100, 1_000_000) for d in range(4)]
    liar = update(9, 9, samples, 1_000_000)
    mask = time.check(history_of(), round_of(1, [*honest, liar]), TERMS)
    assert mask == [True] * 4 + [samples <= 500]


# duplicate: nobody committed the same lanes earlier.


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=8),
    st.sets(st.integers(0, 3)),
)
def test_duplicate_is_the_first_in_order_of_commitment(items: list[tuple[int, int]], old: set[int]) -> None:
    names = ["a", "b", "c"]
    order = ["b", "c", "a"]
    earlier = round_of(1, [update(99, root) for root in old])
    current = round_of(
        2,
        [update(i, root) for i, (root, _) in enumerate(items)],
        [names[submitter] for _, submitter in items],
        commits=dict.fromkeys(order, b""),
    )
    places = [(order.index(names[submitter]), i) for i, (_, submitter) in enumerate(items)]
    expected = [
        root not in old and all(places[i] <= places[j] for j, (other, _) in enumerate(items) if other == root)
        for i, (root, _) in enumerate(items)
    ]
    assert duplicate.check(history_of(earlier, current), current) == expected


def test_a_device_that_trains_again_from_the_same_model_copies_nobody() -> None:
    """After a void round it may come to the same; after a block, and with another's update, it may not."""
    earlier, current = round_of(1, [update(3, 7)]), round_of(2, [update(3, 7), update(4, 7)])
    assert duplicate.check(history_of(earlier, current), current) == [True, False]
    history = history_of(earlier, current)
    history.blocks.append(block_of(1))
    assert duplicate.check(history, current) == [False, False]


def test_a_batch_without_a_commitment_in_this_round_comes_last() -> None:
    current = round_of(1, [update(0, 5), update(1, 5)], ["nobody", "a"], commits={"a": b""})
    assert duplicate.check(history_of(current), current) == [False, True]


@given(claims)
def test_the_ratios_are_those_to_the_reference(pairs: list[tuple[int, int]]) -> None:
    current = round_of(1, [update(i, i, s, us) for i, (s, us) in enumerate(pairs)])
    rates = [us * 1000 // s for s, us in pairs]
    reference = max(median_low(rates), 1)
    assert time.ratios(history_of(), current) == pytest.approx([rate / reference for rate in rates])
