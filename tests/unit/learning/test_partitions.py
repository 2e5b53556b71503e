"""Partitions: every sample to exactly one party, the same for a seed, and an error for the impossible."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcfl.errors import ConfigError
from bcfl.learning.datasets import Dataset, Labels, Samples
from bcfl.learning.partitions import partition, split

NAMES = ["iid", "dirichlet", "pathological"]


def labels_of(samples: int, classes: int = 10, seed: int = 0) -> Labels:
    return np.random.default_rng(seed).integers(0, classes, samples)


def numbered(samples: int, start: int = 0) -> Samples:
    """Samples whose only feature is their own number."""
    features = np.arange(start, start + samples, dtype=np.float32).reshape(-1, 1)
    return Samples(features, labels_of(samples))


@given(
    name=st.sampled_from(NAMES),
    samples=st.integers(300, 900),
    parts=st.integers(5, 12),
    seed=st.integers(0, 2**32),
    alpha=st.floats(0.3, 100),
    classes=st.integers(2, 10),
)
@settings(max_examples=60, deadline=None)
def test_every_sample_goes_to_exactly_one_device(
    name: str, samples: int, parts: int, seed: int, alpha: float, classes: int
) -> None:
    shares = partition(name, labels_of(samples), parts, seed, alpha=alpha, classes=classes)
    assert len(shares) == parts
    assert np.array_equal(np.sort(np.concatenate(shares)), np.arange(samples))
    assert min(map(len, shares)) >= 1


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_decides(name: str) -> None:
    labels = labels_of(600)
    first, same, other = (partition(name, labels, 6, seed) for seed in (7, 7, 8))
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_iid_shares_are_equal() -> None:
    sizes = [len(share) for share in partition("iid", labels_of(103), 10, 0)]
    assert sorted(sizes) == [10] * 7 + [11] * 3


def test_dirichlet_keeps_flowers_minimum() -> None:
    for seed in range(20):
        assert min(map(len, partition("dirichlet", labels_of(1200), 20, seed, alpha=0.3))) >= 10


def test_dirichlet_lowers_the_minimum_when_data_is_scarce() -> None:
    sizes = [len(share) for share in partition("dirichlet", labels_of(380, 2), 20, 0, alpha=0.5)]
    assert 4 <= min(sizes) < 10


def test_dirichlet_is_more_skewed_with_a_small_alpha() -> None:
    labels = labels_of(2000)

    def largest_class_share(alpha: float) -> float:
        shares = partition("dirichlet", labels, 10, 0, alpha=alpha)
        return float(np.mean([np.bincount(labels[share]).max() / len(share) for share in shares]))

    assert largest_class_share(0.1) > 0.5
    assert largest_class_share(1000) < 0.2


@pytest.mark.parametrize(("parts", "classes"), [(20, 2), (10, 1), (7, 3), (3, 10)])
def test_pathological_devices_have_exactly_so_many_classes(parts: int, classes: int) -> None:
    labels = labels_of(1000)
    for seed in range(5):
        shares = partition("pathological", labels, parts, seed, classes=classes)
        assert [len(np.unique(labels[share])) for share in shares] == [classes] * parts


@pytest.mark.parametrize(
    ("name", "samples", "parts", "options", "message"),
    [
        ("dirichelt", 100, 2, {}, "unknown partition 'dirichelt': did you mean dirichlet"),
        ("shards", 100, 2, {}, "known: iid, dirichlet, pathological"),
        ("iid", 5, 6, {}, "5 training samples cannot be shared among 6 devices"),
        ("iid", 5, 0, {}, "cannot be shared among 0 devices"),
        ("dirichlet", 100, 2, {"alpha": 0.0}, "alpha 0.0: it must be above 0"),
        ("dirichlet", 100, 2, {"alpha": float("nan")}, "alpha nan"),
        ("dirichlet", 400, 40, {"alpha": 1e-9}, "no draw with alpha 1e-09 .* raise alpha"),
        ("pathological", 100, 2, {"classes": 0}, "0 classes per device"),
        ("pathological", 100, 2, {"classes": 11}, "has 10 classes"),
        ("pathological", 100, 2, {"classes": 2}, "2 devices of 2 classes cannot hold all 10"),
        ("pathological", 100, 60, {"classes": 10}, "take fewer devices"),
    ],
)
def test_the_impossible_is_one_line(
    name: str, samples: int, parts: int, options: dict[str, float], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        partition(name, labels_of(samples), parts, 0, **options)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_split_gives_no_sample_to_two_parties() -> None:
    data = Dataset(numbered(1000), numbered(100, start=1000))
    shares = split(data, 10, 4, "dirichlet", 3)
    parts = [part.features.ravel() for part in (*shares.devices, *shares.miners, shares.test)]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(1100))
    assert shares.test is data.test
    assert sum(map(len, shares.miners)) == 150
    assert {len(share) for share in shares.miners} == {37, 38}


def test_split_keeps_labels_with_their_features() -> None:
    data = Dataset(numbered(200), numbered(10))
    for share in (*(shares := split(data, 5, 2, seed=1)).devices, *shares.miners):
        assert np.array_equal(share.labels, data.train.labels[share.features.ravel().astype(int)])


def test_split_without_miners_trains_on_everything() -> None:
    shares = split(Dataset(numbered(100), numbered(10)), 5, 0)
    assert sum(map(len, shares.devices)) == 100
    assert shares.miners == ()


@pytest.mark.parametrize(
    ("devices", "miners", "held_out", "message"),
    [
        (0, 1, 0.15, "at least one device"),
        (1, -1, 0.15, "at least one device"),
        (2, 16, 0.15, "15 samples held out for 16 miners, a share of 0.15 of 100 training samples"),
        (2, 2, 0.01, "^1 sample held out for 2 miners, a share of 0.01"),
        (2, 1, 1.0, "held-out share"),
        (90, 2, 0.15, "85 training samples cannot be shared among 90 devices"),
    ],
)
def test_split_refuses_the_impossible(devices: int, miners: int, held_out: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        split(Dataset(numbered(100), numbered(10)), devices, miners, held_out=held_out)
