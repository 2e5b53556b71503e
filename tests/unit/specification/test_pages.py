"""A map in pages is a dictionary whose copies cost next to nothing."""

from __future__ import annotations

from random import Random

import pytest

from bcfl.specification.pages import Pages


def test_it_does_what_a_dictionary_does_and_its_copies_stay() -> None:
    rng = Random(1)
    pages, expected = Pages[int](), dict[int, int]()
    copies: list[tuple[Pages[int], dict[int, int]]] = []
    for step in range(3_000):
        key = rng.randrange(1_200)
        if rng.random() < 0.2 and key in expected:
            del pages[key], expected[key]
        else:
            pages[key] = expected[key] = step
        if step % 100 == 0:
            copies.append((pages.copy(), dict(expected)))
    for copy, right in [*copies, (pages, expected)]:
        assert dict(copy) == right
        assert len(copy) == len(right)
    assert pages.get(5_000) is None
    with pytest.raises(KeyError):
        pages[5_000]
    with pytest.raises(KeyError):
        del pages[5_000]
