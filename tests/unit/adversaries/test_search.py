"""The search over rounds: few tries, towards what does most, and what the tally teaches it."""

from __future__ import annotations

import math

import pytest

from bcfl.adversaries.search import BOLDEST, LENGTHS, SHYEST, STRENGTHS, Knobs, Search


@pytest.mark.parametrize("tries", [1, 3, 7, 20])
def test_it_tries_no_more_than_it_may(tries: int) -> None:
    search = Search(("turned", "wrong", "climb"), tries)
    for _ in range(6):
        candidates = search.candidates()
        assert len(set(candidates)) == len(candidates) <= tries
        assert candidates[0] == search.best[search.leader]


def test_it_finds_what_does_most_and_passes() -> None:
    """The second of two kinds does more, up to a strength of 6 at which the rules see it."""

    def gain(knobs: Knobs) -> float:
        passes = knobs.strength <= 6 and knobs.length <= 1.5
        return (2 if knobs.kind == "b" else 1) * knobs.strength * knobs.length * passes

    search = Search(("a", "b"), 7)
    winners = [search.best_of(gain, 0.0) for _ in range(12)]
    last = winners[-1]
    assert last is not None
    assert last.kind == "b"
    assert gain(last) >= 0.8 * 2 * 6 * 1.5


def test_it_stays_honest_where_nothing_does_more_and_tries_less_the_next_time() -> None:
    search = Search(("a",), 7)
    assert search.best_of(lambda _: 0.5, 0.5) is None
    assert search.best["a"].strength == 0.5
    assert search.best_of(lambda knobs: knobs.strength < 0.3, 0.5) == Knobs("a", 0.25)


def test_a_way_that_does_not_pass_is_tried_more_weakly() -> None:
    def gain(knobs: Knobs) -> float:
        if knobs.kind == "a":
            return 1.0
        return 2.0 if knobs.strength < 0.2 else -math.inf

    search = Search(("a", "b"), 7)
    winners = [search.best_of(gain, 0.0) for _ in range(5)]
    assert winners[0] == Knobs("a")
    assert winners[-1] is not None
    assert winners[-1].kind == "b"


def test_it_never_leaves_its_bounds() -> None:
    search = Search(("a",), 7)
    for _ in range(40):
        search.best_of(lambda knobs: knobs.strength * knobs.length, 0.0)
    assert search.best["a"] == Knobs("a", STRENGTHS[1], LENGTHS[1])


def test_the_tally_makes_it_bolder_or_shyer() -> None:
    search, knobs = Search(("a",), 7), Knobs("a", 2.0)
    search.learn(3.0, 0.0)
    assert search.sent(knobs).strength == pytest.approx(1.5)
    search.learn(3.0, 3.0)
    assert search.sent(knobs).strength == pytest.approx(1.65)
    for actual, bound in ((0.0, SHYEST), (3.0, BOLDEST)):
        for _ in range(30):
            search.learn(3.0, actual)
        assert math.isclose(search.caution, bound)


def test_every_kind_has_its_turn() -> None:
    search = Search(("a", "b", "c", "d", "e"), 7)
    tried = {knobs.kind for _ in range(4) for knobs in search.candidates()}
    assert tried == {"a", "b", "c", "d", "e"}
