"""Each vector attack against a direct transcription of its paper's definition."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcfl.adversaries.alie import alie, z_max
from bcfl.adversaries.attack import AttackContext
from bcfl.adversaries.backdoor import Backdoor, stamp
from bcfl.adversaries.free_rider import free_ride, plausible_time
from bcfl.adversaries.ipm import ipm
from bcfl.adversaries.label_flip import flip
from bcfl.adversaries.minmax import PERTURBATIONS, minmax, minsum, perturbation
from bcfl.adversaries.plagiarist import disguise
from bcfl.adversaries.vectors import Scaling, SignFlip, add_noise
from bcfl.learning import Samples
from bcfl.protocol.rounds import History

Rows = np.ndarray[tuple[int, int], np.dtype[np.float64]]
seeds = st.integers(0, 10_000)


def honest(seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    return rng.normal(rng.normal(0, 1, 6), rng.uniform(0.2, 1, 6), (rng.integers(2, 9), 6))


@given(seeds, st.floats(0, 3))
def test_alie_is_algorithm_3(seed: int, z: float) -> None:
    updates = honest(seed)
    update = alie(updates, z)
    for j in range(6):
        column = [float(row[j]) for row in updates]
        mean = sum(column) / len(column)
        deviation = (sum((value - mean) ** 2 for value in column) / len(column)) ** 0.5
        assert update[j] == pytest.approx(mean - z * deviation)


@given(st.integers(2, 200), st.data())
def test_z_max_is_the_largest_that_the_supporters_allow(devices: int, data: st.DataObject) -> None:
    adversaries = data.draw(st.integers(1, max(1, (devices - 1) // 2)))
    supporters = devices // 2 + 1 - adversaries
    share = (devices - adversaries - supporters) / (devices - adversaries)
    z = z_max(devices, adversaries)
    if share > 0.5:
        assert NormalDist().cdf(z) == pytest.approx(min(share, 0.9999))
    else:
        assert z == 0


def test_z_max_of_the_paper() -> None:
    """The paper's section 4: 50 workers, 24 corrupted: s = 2, Phi(z) < 24/26, z = 1.43."""
    assert z_max(50, 24) == pytest.approx(1.426, abs=1e-3)
    assert z_max(4, 4) == pytest.approx(NormalDist().inv_cdf(0.9999))


@given(seeds, st.floats(0, 200))
def test_ipm_has_a_negative_inner_product_with_the_truth(seed: int, epsilon: float) -> None:
    updates = honest(seed)
    update = ipm(updates, epsilon)
    assert update == pytest.approx([-epsilon * sum(column) / len(updates) for column in updates.T.tolist()])
    assert update @ updates.mean(axis=0) <= 0


def search_as_in_paper(updates: Rows, kind: str, sums: bool) -> Rows:
    """The paper's algorithm 1 with its oracle: gamma by halving steps."""
    mean, direction = updates.mean(axis=0), perturbation(updates, kind)
    squared_distances = [[float(np.sum((a - b) ** 2)) for b in updates] for a in updates]
    limit = max(sum(row) for row in squared_distances) if sums else max(max(row) for row in squared_distances)
    gamma, change, largest = 10.0, 10.0, 0.0
    for _ in range(60):
        distances = [float(np.sum((mean + gamma * direction - row) ** 2)) for row in updates]
        change /= 2
        if (sum(distances) if sums else max(distances)) <= limit:
            largest, gamma = gamma, gamma + change
        else:
            gamma -= change
    update: Rows = mean + largest * direction
    return update


@given(seeds, st.sampled_from(PERTURBATIONS), st.booleans())
def test_minmax_and_minsum_are_what_the_paper_searches_for(seed: int, kind: str, sums: bool) -> None:
    updates = honest(seed)
    update = (minsum if sums else minmax)(updates, kind)
    assert update == pytest.approx(search_as_in_paper(updates, kind, sums), abs=1e-6)


@given(seeds)
def test_perturbations_are_the_papers(seed: int) -> None:
    updates = honest(seed)
    mean = updates.mean(axis=0)
    assert perturbation(updates, "unit") == pytest.approx(-mean / np.sqrt(np.sum(mean**2)))
    assert perturbation(updates, "std") == pytest.approx(-np.sqrt(np.mean((updates - mean) ** 2, axis=0)))
    assert perturbation(updates, "sign").tolist() == [-1.0 if value > 0 else 1.0 for value in mean]


def test_a_single_update_leaves_nothing_to_hide_in() -> None:
    updates = np.array([[1.0, -2.0]])
    for update in (minmax(updates, "unit"), minsum(updates, "std"), alie(updates, 1.0)):
        assert update == pytest.approx(updates[0])
    assert minmax(np.zeros((3, 2)), "unit").tolist() == [0, 0]


def test_attacks_on_the_own_update() -> None:
    update = np.array([1.0, -2.0, 0.0])
    context = AttackContext(seed=0, index=0, devices=1, adversaries=1)
    assert SignFlip(factor=4.0).transform(update, context, 1).tolist() == [-4, 8, 0]
    assert Scaling(factor=10.0).transform(update, context, 1).tolist() == [10, -20, 0]
    noisy = add_noise(np.zeros(100_000), 0.5, np.random.default_rng(0))
    assert (noisy.mean(), noisy.std()) == pytest.approx((0, 0.5), abs=0.01)


def test_labels_are_turned_round_or_one_into_another() -> None:
    labels = np.array([0, 1, 9, 5])
    assert flip(labels, 10).tolist() == [9, 8, 0, 4]
    assert flip(labels, 10, source=5).tolist() == [0, 1, 9, 4]
    assert flip(labels, 10, source=5, target=3).tolist() == [0, 1, 9, 3]
    assert flip(labels, 10, target=3).tolist() == [3, 3, 3, 3]


@pytest.mark.parametrize(("shape", "count"), [((2, 1, 4, 4), 4), ((2, 30), 2)])
def test_the_trigger_is_in_the_last_corner(shape: tuple[int, ...], count: int) -> None:
    plain = np.zeros(shape, np.float32)
    features = stamp(plain, 2, 5.0)
    assert (features != 0).sum() == 2 * count
    assert (features[..., -1] == 5).any()
    assert not plain.any()


def test_success_counts_other_classes_only() -> None:
    test = Samples(np.zeros((4, 1, 4, 4), np.float32), np.array([0, 1, 2, 0]))
    samples = Backdoor(target=0).test_samples(test)
    assert samples.labels.tolist() == [0, 0]
    assert (samples.features[:, 0, -3:, -3:] == 2).all()


def test_a_trigger_for_some_classes_leaves_others_their_label() -> None:
    labels = np.array([0, 1, 2, 3, 9])
    samples = Samples(np.zeros((5, 1, 4, 4), np.float32), labels)
    attack = Backdoor(target=1, share=1.0, classes=2)
    poisoned = attack.training_samples(samples, AttackContext(seed=0, index=0, devices=1, adversaries=1))
    assert poisoned.labels.tolist() == [0, 1, 1, 1, 9]
    assert (poisoned.features[:, 0, -3:, -3:] == 2).all()
    assert len(attack.test_samples(samples)) == 2


def test_free_riders_send_nothing_the_last_step_or_noise_like_it() -> None:
    delta, rng = np.array([0.3, -0.1, 0.2, 0.0] * 5000), np.random.default_rng(0)
    assert not free_ride("zero", delta, rng).any()
    assert free_ride("stale", delta, rng) is delta
    assert free_ride("noise", delta, rng).std() == pytest.approx(delta.std(), rel=0.05)
    assert free_ride("noise", np.zeros(10), rng).any()
    assert plausible_time(History(1), 1, 100) == 2000


def test_a_disguise_is_as_large_as_it_says() -> None:
    victim = np.random.default_rng(1).normal(0, 3, 10_000)
    copy = disguise(victim, 0.1, np.random.default_rng(0))
    assert np.linalg.norm(copy - victim) / np.linalg.norm(victim) == pytest.approx(0.1, rel=0.05)
    assert disguise(victim, 0.0, np.random.default_rng(0)) is victim
