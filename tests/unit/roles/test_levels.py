"""Levels: a group gets the weight at which the model is better, whatever its members look like alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from bcfl.ports import Evaluation, Slopes
from bcfl.roles.checks import levels
from bcfl.roles.checks.levels import HeldOut, Weights

COUNT, SIZE, SAMPLES = 30, 400, 160
EQUAL = [3] * COUNT


@dataclass
class Bowl:
    """A miner whose samples each have an optimum near that of the devices."""

    noise: float = 0.5
    samples: int = SAMPLES
    offset: float = 0.0  # of the loss
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.best = np.ones(SIZE)
        self.optima = self.best + np.random.default_rng(1).normal(0, self.noise, (self.samples, SIZE))

    def losses(self, delta: np.ndarray, _: int = 0) -> tuple[np.ndarray, int]:
        self.calls.append("losses")
        return self.offset + np.square(delta - self.optima).mean(axis=1), self.samples

    def slopes(self, delta: np.ndarray, parts: int) -> Slopes:
        self.calls.append(f"slopes {parts}")
        count = min(parts, self.samples)
        middles = [self.optima[part::count].mean(axis=0) for part in range(count)]
        rows = [2 / SIZE * (delta - middle) for middle in middles]
        gradients = np.array(rows, np.float32).reshape(count, SIZE)
        return Slopes(float(self.losses(delta)[0].mean()) if count else np.nan, gradients, self.samples)

    def evaluate(self, delta: np.ndarray) -> Evaluation:
        self.calls.append("evaluate")
        loss = float(self.losses(delta)[0].mean()) if self.samples else np.inf
        return Evaluation(loss, self.samples)


def honest() -> np.ndarray:
    return np.asarray(0.9 + np.random.default_rng(2).normal(0, 0.3, (COUNT, SIZE)), np.float32)


def held_out(updates: np.ndarray, bowl: Bowl, among: np.ndarray | None = None) -> HeldOut:
    mask = np.ones(len(updates), bool) if among is None else among
    return HeldOut(updates, np.ones(len(updates)), mask, bowl.slopes, bowl.losses, bowl.evaluate)


def find(updates: np.ndarray, bowl: Bowl | None = None, claims: np.ndarray | None = None) -> Weights:
    return levels.find(held_out(updates, bowl or Bowl()), np.ones(len(updates)) if claims is None else claims)


def poisoned(bad: int, way: float = -1.5) -> np.ndarray:
    """The first `bad` updates have a part in common that lies within what honest ones differ by."""
    updates = honest()
    updates[:bad] += np.float32(way) * np.float32(0.6)
    return updates


def test_where_nothing_is_to_be_gained_all_are_at_the_usual_level() -> None:
    assert find(honest()).levels.tolist() == EQUAL


@pytest.mark.parametrize("bad", [3, 6, 9, 13])
def test_a_group_that_leads_away_has_little_weight(bad: int) -> None:
    updates, bowl = poisoned(bad), Bowl(noise=0.1)
    found = find(updates, bowl).levels
    assert set(found[:bad].tolist()) == {1}
    assert found[bad:].min() >= 3
    equal, weighted = (w @ updates / w.sum() for w in (np.ones(COUNT), found.astype(float) ** 2))
    before, after = (float(bowl.losses(mean)[0].mean()) for mean in (equal, weighted))
    clean = float(bowl.losses(updates[bad:].mean(axis=0))[0].mean())
    assert before - after >= 0.5 * (before - clean), "most of what the group costs is gained"


def test_claims_do_not_hide_a_group() -> None:
    claims = np.where(np.arange(COUNT) < 9, 5.0, 1.0)
    found = find(poisoned(9), Bowl(noise=0.1), claims).levels
    assert set(found[:9].tolist()) == {1}
    assert found[9:].min() >= 3


def test_a_group_that_the_model_lacks_counts_more() -> None:
    found = find(poisoned(3, way=1.0), Bowl(noise=0.1))
    assert set(found.levels[:3].tolist()) == {4}
    assert (found.merits[:3] > 2.5 * found.errors[:3]).all()


def test_a_small_gain_says_nothing() -> None:
    updates = poisoned(9)
    assert set(find(updates, Bowl(noise=0.1)).levels[:9].tolist()) == {1}
    assert find(updates, Bowl(noise=0.1, offset=90.0)).levels.tolist() == EQUAL


def test_a_gain_between_calls_for_the_mildest_weights() -> None:
    updates = poisoned(9)
    strong, mild = find(updates, Bowl(noise=0.1)), find(updates, Bowl(noise=0.1, offset=4.0))
    assert 1 > mild.values[:9].max() > strong.values[:9].max()


def test_few_samples_say_little() -> None:
    """A part of the held-out data is one sample; what each says differs by as much as the updates do."""
    assert find(poisoned(9), Bowl(noise=20.0, samples=8)).levels.tolist() == EQUAL
    assert find(poisoned(9), Bowl(samples=0)).levels.tolist() == EQUAL


def test_rejected_updates_have_no_say() -> None:
    among = np.arange(COUNT) >= 9
    found = levels.find(held_out(poisoned(9), Bowl(), among), np.ones(COUNT))
    assert found.levels.tolist() == EQUAL
    assert find(poisoned(9)).levels.min() == 1
    nobody = levels.find(held_out(honest(), Bowl(), np.zeros(COUNT, bool)), np.ones(COUNT))
    assert nobody.levels.tolist() == EQUAL


def broken(name: str) -> Callable[[HeldOut], HeldOut]:
    explosion = Slopes(np.nan, np.full((8, SIZE), np.nan, np.float32), 9)
    changes: dict[str, dict[str, object]] = {
        "slopes": {"slopes": lambda *_: explosion},
        "losses": {"losses": lambda *_: (np.full(9, np.inf), 9)},
    }
    return lambda held: replace(held, **changes[name])  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["slopes", "losses"])
def test_what_explodes_accuses_nobody(name: str) -> None:
    held = held_out(poisoned(9), Bowl(noise=0.1))
    assert levels.find(held, np.ones(COUNT)).levels.min() == 1
    assert levels.find(broken(name)(held), np.ones(COUNT)).levels.tolist() == EQUAL


def test_a_learner_without_gradients_makes_one_step() -> None:
    bowl = Bowl(noise=0.1)
    blind = Slopes(np.nan, np.zeros((0, SIZE), np.float32), 0)
    held = replace(held_out(poisoned(9), bowl), slopes=lambda *_: blind)
    found = levels.find(held, np.ones(COUNT))
    assert bowl.calls.count("evaluate") == 2 * COUNT + 1
    assert found.levels[:9].max() < 3 <= found.levels[9:].min()
    assert np.isnan(found.gains).all()
    exact = find(poisoned(9), bowl)
    assert found.merits == pytest.approx(exact.merits, rel=1e-3, abs=1e-6)
    nothing = levels.find(replace(held, evaluate=lambda _: Evaluation(np.inf, 0)), np.ones(COUNT))
    assert nothing.levels.tolist() == EQUAL


def test_how_many_models_are_looked_at() -> None:
    bowl = Bowl(noise=0.1)
    find(poisoned(9), bowl)
    assert [call for call in bowl.calls if call != "losses"] == ["slopes 8", *["slopes 1"] * 3, "slopes 8"]
    assert bowl.calls.count("losses") == 7, "of the first step and of the last the loss is looked at alone"


def test_gains_are_of_the_model_before_the_round() -> None:
    """A fifth of an update is worth a fifth; its merit is what the model lacks, wherever all others lead."""
    updates, bowl = honest(), Bowl(noise=0.1)
    updates[0] *= np.float32(0.2)
    found = find(updates, bowl)
    expected = 2 / SIZE * updates.astype(np.float64) @ bowl.optima.mean(axis=0)
    assert found.gains == pytest.approx(expected, rel=1e-4)
    assert found.gains[0] == pytest.approx(0.2 * np.median(found.gains), rel=0.1)
    assert (found.gain_errors > 0).all()
    assert (found.gain_errors < 0.1 * found.gains).all()


def test_weights_to_levels() -> None:
    values = np.array([0.05, 0.29, 0.31, 0.69, 0.71, 1.0, 1.32, 1.34, 16 / 9])
    found = Weights(values, *[values] * 4).levels
    assert found.tolist() == [1, 1, 2, 2, 3, 3, 3, 4, 4]
