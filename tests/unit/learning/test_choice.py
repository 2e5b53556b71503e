"""Which held-out samples a question gets, and that few of them are kept."""

from __future__ import annotations

import numpy as np

from bcfl.learning.choice import KEPT_BYTES, Choice
from bcfl.learning.datasets import NO_SAMPLES, Samples


def samples_of(count: int, features: int = 2) -> Samples:
    rows = np.arange(count * features, dtype=np.float32).reshape(count, features)
    return Samples(rows, np.arange(count) % 3)


def test_every_class_has_its_share_in_order_or_mixed() -> None:
    choice = Choice(samples_of(90))
    spread, some = choice.spread(30), choice.some(30)
    assert spread is not None
    assert some is not None
    assert spread.labels.tolist() == sorted(some.labels) == [0] * 10 + [1] * 10 + [2] * 10
    assert some.labels.tolist() != spread.labels.tolist()
    assert sorted(some.features[:, 0]) == sorted(spread.features[:, 0])


def test_a_question_asked_again_gets_the_same() -> None:
    """Kept while it is small; made anew, and equal, where it is large."""
    small, large = Choice(samples_of(90)), Choice(samples_of(90, KEPT_BYTES // 4 // 50))
    assert small.some(60) is small.some(60)
    first, second = large.some(60), large.some(60)
    assert first is not None
    assert second is not None
    assert first is not second
    assert np.array_equal(first.features, second.features)
    assert large.spread(20) is large.spread(20)


def test_there_may_be_none() -> None:
    assert Choice(None).some(5) is Choice(NO_SAMPLES).spread(5) is None
