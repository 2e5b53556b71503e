"""What public history explains is a copy: mixtures of earlier updates, alone and with noise."""

from __future__ import annotations

import numpy as np
import pytest

from bcfl.roles.checks import novelty

COUNT, SIZE = 24, 4000
ALL = np.ones(COUNT, bool)


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30), np.float32)


def honest(rng: np.random.Generator, likeness: float, count: int = COUNT) -> np.ndarray:
    common, own = rng.normal(size=SIZE), rng.normal(size=(count, SIZE))
    return np.asarray(np.sqrt(likeness) * common + np.sqrt(1 - likeness) * own)


def history(likeness: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Two rounds of updates, and a third that goes a part of the same way."""
    rng = np.random.default_rng(0)
    first, second, third = (honest(rng, likeness) for _ in range(3))
    earlier = np.concatenate([first, second])
    return earlier, third + 0.5 * second.mean(axis=0)


def rejected(rows: np.ndarray, earlier: np.ndarray, among: np.ndarray = ALL) -> tuple[list[int], list[int]]:
    new, shared = novelty.check(unit(rows), unit(earlier), among)
    return tuple(np.flatnonzero(~scores.passed).tolist() for scores in (new, shared))  # type: ignore[return-value]


@pytest.mark.parametrize("likeness", [0.02, 0.1, 0.3, 0.8])
def test_honest_training_is_new(likeness: float) -> None:
    earlier, updates = history(likeness)
    assert rejected(updates, earlier) == ([], [])


def mixtures(earlier: np.ndarray, count: int) -> np.ndarray:
    mean = earlier[-COUNT:].mean(axis=0)
    coefficients = np.random.default_rng(5).normal(size=(count, COUNT))
    apart = coefficients @ (earlier[-COUNT:] - mean)
    return np.asarray(mean + apart / np.linalg.norm(apart, axis=1, keepdims=True) * np.linalg.norm(mean))


@pytest.mark.parametrize("bad", [1, 3, 10])
def test_a_mixture_of_earlier_updates_is_a_copy(bad: int) -> None:
    earlier, updates = history()
    updates[:bad] = mixtures(earlier, bad)
    assert rejected(updates, earlier) == (list(range(bad)), [])
    assert rejected(updates[:6], earlier, ALL[:6])[0] == list(range(min(bad, 3))) if bad < 4 else True


@pytest.mark.parametrize("noise", [0.1, 1.0])
@pytest.mark.parametrize("bad", [1, 3, 10])
def test_noise_is_nothing_that_others_share(bad: int, noise: float) -> None:
    earlier, updates = history()
    riders = mixtures(earlier, bad)
    rng = np.random.default_rng(6)
    length = np.linalg.norm(riders, axis=1, keepdims=True)
    updates[:bad] = riders + noise * length * rng.normal(size=riders.shape) / np.sqrt(SIZE)
    assert rejected(updates, earlier) == ([], list(range(bad)))
    few = rejected(updates[:15], earlier, ALL[:15])
    assert few == ([], []), "too few to say what they share"


def test_chance_explains_nothing() -> None:
    """Sixty remainders of 600 numbers explain a tenth of anything."""
    noise = np.random.default_rng(1).normal(size=(60, 600))
    rows = unit(noise)
    assert np.abs(novelty.explained((rows @ rows.T).astype(np.float64), 600)).mean() < 0.03


def test_where_training_comes_to_rest_updates_repeat_themselves() -> None:
    rng = np.random.default_rng(2)
    last = honest(rng, 0.3)
    updates = last + 0.01 * rng.normal(size=last.shape)
    assert rejected(updates, last) == ([], [])
    updates[0] = last[:5].sum(axis=0)
    assert rejected(updates, last) == ([0], [])


def test_little_room_and_no_history_accuse_nobody() -> None:
    earlier, updates = history()
    updates[0] = earlier[3]
    assert rejected(updates, earlier)[0] == [0]
    assert rejected(updates, earlier[:0]) == ([], [])
    narrow = slice(0, novelty.ROOM * COUNT - 1)
    assert rejected(updates[:, narrow], earlier[:, narrow]) == ([], [])
    wide = slice(0, novelty.ROOM * COUNT)
    assert rejected(updates[:, wide], earlier[:, wide])[0] == [0], "of the first of them"


def test_what_was_dropped_before_explains_nothing() -> None:
    """Copies of one noise share it, but they are dropped as copies before."""
    earlier, updates = history()
    updates[:6] = np.random.default_rng(3).normal(size=SIZE) + 0.01 * updates[:6]
    assert rejected(updates, earlier) == ([], [])
    assert rejected(updates, earlier, np.arange(COUNT) >= 5) == ([], [5])
