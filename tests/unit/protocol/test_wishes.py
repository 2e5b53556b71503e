"""Wishes for engines: how they are written, and which one a vote carries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcfl.protocol.types import Engine
from bcfl.protocol.wishes import FIRST, Wish, engine_after, parse, parse_all


def test_default_behavior() -> None:
    wishes = parse_all(["6:stake", "3:pow"])
    assert wishes == (Wish(3, Engine.POW), Wish(6, Engine.STAKE))
    engines = [engine_after(wishes, round_) for round_ in range(1, 8)]
    assert engines == [None, *[Engine.POW] * 3, *[Engine.STAKE] * 3]


@given(st.integers(FIRST, 10**9 - 1), st.sampled_from(Engine))
def test_a_wish_reads_as_it_is_written(round_: int, engine: Engine) -> None:
    wish = Wish(round_, engine)
    assert parse(str(wish)) == wish


def test_an_engine_alone_is_wished_for_as_soon_as_possible() -> None:
    assert parse("committee") == Wish(FIRST, Engine.COMMITTEE)


def test_who_wishes_for_nothing_says_nothing() -> None:
    assert [engine_after((), round_) for round_ in (1, 2, 99)] == [None] * 3


@pytest.mark.parametrize(
    "text", ["", "3", "3:", ":pow", "3:POW", "3:work", "-3:pow", "3:pow:4", "٣:pow", "3 pow"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be ROUND:ENGINE or ENGINE, as 3:pow, with one of stake, pow"):
        parse(text)


@pytest.mark.parametrize("text", ["0:pow", "1:pow"])
def test_the_first_round_is_not_voted_on(text: str) -> None:
    with pytest.raises(ValueError, match="must name a round from 2 on"):
        parse(text)


def test_one_round_has_one_wish() -> None:
    with pytest.raises(ValueError, match="must not name round 3 twice"):
        parse_all(["3:pow", "5:pow", "3:stake"])
