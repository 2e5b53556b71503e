"""How often a coalition captures a committee: against enumeration, independent figures, and samples."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcfl.config import Config
from bcfl.federation.capture import (
    Parties,
    at_least_once,
    committees,
    deciding,
    equal_probability,
    most_committees,
    probability,
)
from bcfl.federation.views.committee import (
    RISKY,
    CommitteeView,
    deployment_committee,
    federation_committee,
    run_committee,
    thirds,
)
from bcfl.protocol.limits import MAX_MINERS
from bcfl.protocol.rounds import History, Member
from bcfl.protocol.types import Engine, Mode, Terms
from testkit.harness import TERMS

WEIGHTS = st.lists(st.integers(1, 20), min_size=1, max_size=4)


def enumerated(parties: Parties, members: int, need: int) -> Fraction:
    """Draw a committee in every possible order, in exact fractions."""
    weights, coalition = (*parties.coalition, *parties.others), len(parties.coalition)

    @cache
    def captured(left: frozenset[int], drawn: int, hits: int) -> Fraction:
        if drawn == members:
            return Fraction(hits >= need)
        total = sum(weights[place] for place in left)
        return sum(
            (
                Fraction(weights[place], total)
                * captured(left - {place}, drawn + 1, hits + (place < coalition))
                for place in left
            ),
            Fraction(),
        )

    return captured(frozenset(range(len(weights))), 0, 0)


@settings(max_examples=60, deadline=None)
@given(coalition=WEIGHTS, others=WEIGHTS, size=st.integers(1, 9))
def test_the_bounds_hold_what_all_draws_together_give(
    coalition: list[int], others: list[int], size: int
) -> None:
    parties = Parties(tuple(coalition), tuple(others))
    members = min(size, parties.miners)
    exact = enumerated(parties, members, deciding(members))
    bounds = probability(parties, size)
    assert bounds.low * (1 - 1e-9) <= exact <= bounds.high * (1 + 1e-9)
    assert bounds.high - bounds.low <= 0.01 * bounds.high


@pytest.mark.parametrize(
    ("members", "of_64", "of_20"),
    [  # of 64 miners 6, 13, 21 and 29 collude, of 20 miners 2, 4, 6 and 9
        (3, ("0.0005", "0.007", "0.032", "0.088"), ("0", "0.004", "0.018", "0.074")),
        (5, ("0.0001", "0.005", "0.036", "0.125"), ("0", "0.001", "0.014", "0.098")),
        (9, ("0", "0.00008", "0.004", "0.040"), ("0", "0", "0", "0.012")),
        (15, ("0", "0.0000001", "0.0003", "0.014"), ("0", "0", "0", "0")),
        (21, ("0", "0", "0.000009", "0.004"), None),
        (31, ("0", "0", "0.000000001", "0.0005"), None),
        (43, ("0", "0", "0", "0.00000006"), None),
    ],
)
def test_equal_stakes_are_the_hypergeometric_tail(
    members: int, of_64: tuple[str, ...], of_20: tuple[str, ...] | None
) -> None:
    """The figures were calculated on their own, when committees were weighed against votes of all."""
    cases = [(64, count, text) for count, text in zip((6, 13, 21, 29), of_64, strict=True)]
    cases += [(20, count, text) for count, text in zip((2, 4, 6, 9), of_20 or (), strict=False)]
    for miners, coalition, text in cases:
        exact = equal_probability(members, coalition, miners - coalition, deciding(members))
        digits = len(text.partition(".")[2])
        assert round(float(exact), digits) == float(text) or (text == "0" and exact < 1e-12)
        bounds = probability(Parties((7,) * coalition, (7,) * (miners - coalition)), members)
        assert bounds.low == bounds.high == float(exact)


@pytest.mark.parametrize(
    ("share", "accounts", "members", "need", "sampled"),
    [  # beside 18 others of equal weight; shares of 40,000 draws
        (10, 6, 5, 3, 0.0068),
        (10, 24, 5, 3, 0.0091),
        (20, 6, 5, 3, 0.0446),
        (20, 24, 5, 3, 0.0606),
        (20, 24, 15, 8, 0.0073),
        (33, 6, 5, 3, 0.1631),
        (33, 24, 5, 3, 0.2090),
        (33, 24, 15, 8, 0.1081),
    ],
)
def test_unequal_stakes_are_what_samples_give(
    share: int, accounts: int, members: int, need: int, sampled: float
) -> None:
    bounds = probability(Parties((18 * share,) * accounts, ((100 - share) * accounts,) * 18), members, need)
    error = 3 * (sampled * (1 - sampled) / 40_000) ** 0.5  # three standard deviations
    assert bounds.low - error < sampled < bounds.high + error


def test_more_than_two_thirds_of_all_members_decide() -> None:
    assert [deciding(members) for members in (1, 2, 3, 4, 5, 6, 9, 15, 64)] == [1, 2, 3, 3, 4, 5, 7, 11, 43]
    assert all(
        3 * deciding(members) > 2 * members >= 3 * (deciding(members) - 1)
        for members in range(1, MAX_MINERS + 1)
    )


def test_what_is_certain() -> None:
    assert probability(Parties((1,), (1,) * 4), 5).high == 0
    assert probability(Parties((), (1,) * 4), 1).high == 0
    assert probability(Parties((1,) * 20, (10,) * 4), 15).low == 1  # a third of the weight in 20 accounts
    assert probability(Parties((1, 1, 1), ()), 2).low == 1


def test_many_small_accounts_capture_more_than_few_large_ones() -> None:
    chances = [probability(Parties((60 // count,) * count, (6,) * 20), 9).high for count in (10, 20, 30)]
    assert chances == sorted(chances)
    assert chances[-1] > 2 * chances[0]


def test_weights_far_apart_stay_in_bounds() -> None:
    bounds = probability(Parties((1,) * 63, (65_535,)), 2)
    assert 0 < bounds.low <= bounds.high < 1.01 * bounds.low
    assert bounds.high < 62 / 65_535


def test_over_many_rounds() -> None:
    assert [committees(rounds) for rounds in (1, 2, 4, 5, 8, 1000)] == [0, 1, 3, 3, 6, 750]
    assert most_committees(1000) == 2997
    assert at_least_once(0.5, 3) == pytest.approx(0.875)
    assert at_least_once(1e-15, 10) == pytest.approx(1e-14)
    assert (at_least_once(0, 9), at_least_once(1, 9), at_least_once(1, 0), at_least_once(0.5, 0)) == (
        0,
        1,
        0,
        0,
    )


def view_of(view: CommitteeView | None) -> CommitteeView:
    assert view is not None
    return view


@pytest.mark.parametrize("mode", ["partial", "full"])
def test_other_engines_have_no_committee(mode: str) -> None:
    config = Config(mode=mode)  # type: ignore[arg-type]
    assert (run_committee(config), deployment_committee(config)) == (None, None)


def test_in_a_run_a_third_of_the_miners_collude() -> None:
    view = view_of(run_committee(Config(engine="committee", committee_size=3, miners=20, rounds=8)))
    (case,) = view["cases"]
    assert (case["miners"], case["coalition"], case["members"], case["deciding"]) == (20, 6, 3, 3)
    assert case["low"] == case["high"] == pytest.approx(20 / 1140)
    assert case["once"] == pytest.approx(1 - (1 - 20 / 1140) ** 6)
    assert (view["chosen"], view["risky"], view["rounds"]) == (True, True, 8)
    size = view["safer_size"]
    assert size is not None
    assert not view_of(run_committee(Config(engine="committee", committee_size=size, miners=20)))["risky"]


def test_a_deployment_is_joined_by_a_coalition() -> None:
    expected, crowd = view_of(deployment_committee(Config(engine="committee")))["cases"]
    assert (expected["miners"], expected["coalition"], expected["high"]) == (7, 2, 0)
    assert (crowd["miners"], crowd["coalition"], round(crowd["high"], 3)) == (64, 21, 0.036)


def test_a_coalition_splits_its_stake_where_others_stake_more() -> None:
    config = Config(engine="committee", committee_size=15, miners=4, stake=10 * 10**18)
    view = view_of(deployment_committee(config))
    case = view["cases"][0]
    assert (case["miners"], case["coalition"], case["low"]) == (24, 20, 1)
    assert case["share"] == pytest.approx(1 / 3)
    assert view["safer_size"] is None  # four honest accounts never have a third of so many members


def test_where_all_seats_are_taken_the_coalition_is_among_them() -> None:
    (case,) = view_of(deployment_committee(Config(engine="committee", miners=64, devices=64)))["cases"]
    assert (case["miners"], case["coalition"]) == (64, 21)


def test_in_hybrid_miners_may_wish_for_a_committee() -> None:
    view = view_of(run_committee(Config(mode="hybrid")))
    assert (view["chosen"], view["committee_size"]) == (False, 5)
    assert view_of(deployment_committee(Config(mode="hybrid")))["risky"]


def federation(weights: list[int], terms: Terms, engine: Engine) -> CommitteeView | None:
    history = History(terms.min_stake)
    for index, weight in enumerate(weights):
        account = f"0x{index:040x}"
        history.miners[account] = Member(account, index, weight * terms.min_stake, weight)
    return federation_committee(history, terms, engine)


def test_a_federation_is_measured_by_its_stakes_as_they_are() -> None:
    terms = replace(TERMS, committee_size=1)
    view = view_of(federation([1, 50, 50, 50, 0], terms, Engine.COMMITTEE))
    (case,) = view["cases"]
    assert (case["miners"], case["coalition"]) == (4, 1)
    assert case["low"] <= 50 / 151 <= case["high"]
    assert federation([1, 1, 1], terms, Engine.STAKE) is None
    assert federation([], terms, Engine.COMMITTEE) is None
    wished = federation([1, 1, 1], replace(terms, mode=Mode.HYBRID), Engine.STAKE)
    assert not view_of(wished)["chosen"]


@given(weights=st.lists(st.integers(1, 100), min_size=1, max_size=MAX_MINERS))
def test_a_third_is_at_most_a_third(weights: list[int]) -> None:
    for parties in thirds(weights):
        assert 3 * sum(parties.coalition) <= sum(weights)
        assert sorted((*parties.coalition, *parties.others)) == sorted(weights)


def test_fifteen_members_are_not_risky_where_stakes_are_equal() -> None:
    for miners in range(1, MAX_MINERS + 1):
        parties = Parties((1,) * (miners // 3), (1,) * (miners - miners // 3))
        assert probability(parties, 15).high < RISKY
