"""What is new in few updates was learned from data of some classes, and is not noise of any shape."""

from __future__ import annotations

import numpy as np
import pytest

from bcfl.roles.checks import taught


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30), np.float32)


def left_out(rows: np.ndarray, earlier: np.ndarray, classes: np.ndarray) -> list[int]:
    everybody, known = np.ones(len(rows), bool), [unit(earlier)]
    whole, layers = taught.check([unit(rows)], [unit(classes)], known, everybody)
    return np.flatnonzero(~(whole.passed & layers.passed)).tolist()


@pytest.mark.parametrize("count", [3, 6, 20])
@pytest.mark.parametrize("bad", [0, 1])
def test_what_is_new_has_to_go_the_ways_of_classes_among_few(
    count: int, bad: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each device knows one or two of ten classes; a rider mixes what was, and adds noise."""
    rng, numbers = np.random.default_rng(count), 30_000
    classes = rng.normal(size=(10, numbers))
    known = rng.dirichlet(np.full(10, 0.2), (3, count))
    lengths = np.linalg.norm(known, axis=2, keepdims=True)
    rounds = known @ classes + 3 * rng.normal(size=(3, count, numbers)) * lengths
    updates, earlier = rounds[2], np.concatenate(rounds[:2])
    assert left_out(updates, earlier, classes) == []
    mixture = rng.normal(size=len(earlier)) @ earlier
    noise = rng.normal(size=numbers)
    updates[bad] = mixture / np.linalg.norm(mixture) + noise / np.linalg.norm(noise)
    assert left_out(updates, earlier, classes) == [bad]
    with monkeypatch.context() as without:
        without.setattr(taught, "PART", 0.0)
        assert left_out(updates, earlier[:0], classes) == [], "nothing is known of what was"
    updates[bad] = noise
    assert left_out(updates, earlier[:0], classes) == [bad]
    updates[bad] = 0.0
    assert left_out(updates, earlier, classes) == [], "who has nothing to say copies nobody"


def test_what_is_taught_says_nothing_of_a_small_model() -> None:
    """Of 100 numbers, as many as ten classes and twelve updates span by chance a part of any."""
    rng = np.random.default_rng(1)
    classes, earlier = rng.normal(size=(10, 100)), rng.normal(size=(12, 100))
    updates = rng.dirichlet(np.full(10, 0.2), 6) @ classes + 3 * rng.normal(size=(6, 100))
    updates[0] = rng.normal(size=100)
    assert left_out(updates, earlier, classes) == []


def test_noise_is_told_wherever_it_is_large() -> None:
    """A tenth of the numbers have all of the weight: of what classes lead to, of work, and of noise."""
    rng, numbers = np.random.default_rng(4), 30_000
    shape = np.where(np.arange(numbers) < numbers // 10, 1.0, 0.01)
    classes = rng.normal(size=(10, numbers)) * shape
    rounds = rng.dirichlet(np.full(10, 0.2), (3, 6)) @ classes + rng.normal(size=(3, 6, numbers)) * shape
    updates, earlier = rounds[2], np.concatenate(rounds[:2])
    assert left_out(updates, earlier, classes) == []
    updates[2] = earlier[4] + rng.normal(size=numbers) * shape
    assert left_out(updates, earlier, classes) == [2]


@pytest.mark.parametrize(
    ("most", "share", "is_out"), [(0.12, 0.3, True), (0.12, 0.55, False), (0.6, 0.3, False)]
)
def test_who_has_far_less_of_the_ways_than_the_one_in_the_middle_is_left_out(
    most: float, share: float, is_out: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is more than chance gives, as noise is that has the shape of what pictures teach.

    Who has many times what chance gives has learned something, whatever the others have.
    """
    rng, numbers = np.random.default_rng(7), 30_000
    classes = rng.normal(size=(10, numbers))
    updates = rng.dirichlet(np.full(10, 0.2), 6) @ classes
    noises = rng.normal(size=(6, numbers))
    part = np.array([1.0, 1.0, share, 1.0, 1.0, 1.0])[:, None]
    updates = most * part * unit(updates) + np.sqrt(1 - np.square(most * part)) * unit(noises)
    earlier = rng.normal(size=(12, numbers))
    assert left_out(updates, earlier, classes) == ([2] if is_out else [])
    monkeypatch.setattr(taught, "PART", 0.0)
    assert left_out(updates, earlier, classes) == []


def test_who_has_nothing_new_says_nothing_of_what_is_usual() -> None:
    """Training that has come to rest for most is no reason against those that still learn."""
    rng, numbers = np.random.default_rng(8), 30_000
    classes, earlier = rng.normal(size=(10, numbers)), rng.normal(size=(12, numbers))
    updates = rng.dirichlet(np.full(10, 0.2), 6) @ classes + rng.normal(size=(6, numbers))
    updates[:4] = 0.0
    assert left_out(updates, earlier, classes) == []


def test_each_piece_goes_the_ways_of_classes_by_itself() -> None:
    """A layer may learn of one class what another layer learns of another: all of it was learned."""
    rng, numbers = np.random.default_rng(9), 15_000
    ways = [unit(rng.normal(size=(10, numbers))) for _ in range(2)]
    drawn = [rng.normal(size=(6, numbers)) for _ in range(2)]
    drawn[0][0], drawn[1][0] = ways[0][3], ways[1][3]
    drawn[0][1], drawn[1][1] = ways[0][3], ways[1][7]
    pieces = [np.asarray(unit(rows) * np.sqrt(0.5), np.float32) for rows in drawn]
    none = [np.zeros((0, numbers), np.float32)] * 2
    whole, layers = taught.check(pieces, ways, none, np.ones(6, bool))
    assert layers.values[:2] == pytest.approx([1.0, 1.0], rel=1e-3)
    assert layers.values[2:].max() < 0.1
    assert whole.values[:2] == pytest.approx([1.0, np.sqrt(0.5)], abs=0.05)
