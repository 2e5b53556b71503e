"""Data sets: what comes with bcfl is what it says, and hostile files are refused."""

from __future__ import annotations

import gzip
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.utils.data import TensorDataset

from bcfl.errors import ConfigError, DataError
from bcfl.learning import datasets, split
from bcfl.learning.datasets import Dataset, Samples, breast_cancer, digits, fashion_mnist

SIDE = 28


def write_idx(path: Path, content: bytes, *extents: int, element: int = 8) -> None:
    header = bytes((0, 0, element, len(extents))) + struct.pack(f">{len(extents)}I", *extents)
    path.write_bytes(gzip.compress(header + content, compresslevel=1))


@pytest.fixture
def fashion(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for part, items in (("train", 5), ("t10k", 3)):
        pixels = rng.integers(0, 256, items * SIDE * SIDE, dtype=np.uint8)
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", pixels.tobytes(), items, SIDE, SIDE)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", bytes(range(items)), items)
    return tmp_path


def test_digits_are_all_there_and_standardised() -> None:
    data = digits()
    labels = np.concatenate([data.train.labels, data.test.labels])
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert data.train.features.shape[1:] == (1, 8, 8)
    is_inked = data.train.features.std(axis=0) > 0
    assert np.allclose(data.train.features.std(axis=0)[is_inked], 1, atol=1e-4)
    assert np.allclose(data.train.features.mean(axis=0), 0, atol=1e-5)


def test_breast_cancer_is_all_there() -> None:
    data = breast_cancer()
    labels = np.concatenate([data.train.labels, data.test.labels])
    assert np.bincount(labels).tolist() == [212, 357]
    assert data.train.features.shape[1:] == (30,)


def test_the_test_part_is_a_fifth_of_every_class_and_always_the_same() -> None:
    first, second = digits(), digits()
    assert np.array_equal(first.test.features, second.test.features)
    whole = np.bincount(first.train.labels) + np.bincount(first.test.labels)
    assert np.allclose(np.bincount(first.test.labels), whole / 5, atol=0.51)
    train_rows = {row.tobytes() for row in first.train.features}
    assert not any(row.tobytes() in train_rows for row in first.test.features)


def test_loading_imports_neither_torch_nor_scikit_learn() -> None:
    code = "import sys; from bcfl.learning import resolve; resolve('digits').dataset(); print(*sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "sklearn", "scipy"} & set(process.stdout.split())


def test_bundled_data_takes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="takes no --data"):
        digits(tmp_path)


@pytest.mark.parametrize(
    "content", [b"no gzip", gzip.compress(b"1,2,3\n", mtime=0), gzip.compress(b"a,b\n", mtime=0), None]
)
def test_damaged_bundled_data_names_the_file(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "sklearn" / "datasets" / "data"
    folder.mkdir(parents=True)
    (tmp_path / "sklearn" / "__init__.py").touch()
    if content is not None:
        (folder / "digits.csv.gz").write_bytes(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "sklearn", raising=False)
    with pytest.raises(DataError, match=r"digits\.csv\.gz.*reinstall scikit-learn"):
        digits()


def test_bundled_data_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "find_spec", lambda _name: None)
    with pytest.raises(DataError, match="pip install scikit-learn"):
        digits()


def test_fashion_mnist_reads_its_four_files(fashion: Path) -> None:
    data = fashion_mnist(fashion)
    assert data.train.features.shape == (5, 1, SIDE, SIDE)
    assert data.test.labels.tolist() == [0, 1, 2]
    raw = gzip.decompress((fashion / "train-images-idx3-ubyte.gz").read_bytes())[16:]
    expected = (np.frombuffer(raw, np.uint8) / 255 - 0.2860) / 0.3530
    assert np.allclose(data.train.features.ravel(), expected, atol=1e-5)


def test_fashion_mnist_absent_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="apt-get install dataset-fashion-mnist, or --data DIR"):
        fashion_mnist(tmp_path / "absent")


@pytest.mark.parametrize(
    ("content", "extents", "element", "message"),
    [
        (bytes(SIDE * SIDE), (1, SIDE, SIDE), 0x0D, "not an idx file of unsigned bytes"),
        (bytes(SIDE * SIDE), (SIDE * SIDE,), 8, "not an idx file of unsigned bytes in 3 dimensions"),
        (bytes(8), (1, 2, 4), 8, r"shape \(2, 4\) instead of \(28, 28\)"),
        (bytes(SIDE * SIDE - 1), (1, SIDE, SIDE), 8, "announces 784 bytes and holds 783"),
        (bytes(SIDE * SIDE + 1), (1, SIDE, SIDE), 8, "announces 784 bytes and holds more"),
        (b"", (2**32 - 1, SIDE, SIDE), 8, "announces 4294967295 items; at most 1000000"),
        (b"", (0, SIDE, SIDE), 8, "0 train images and 5 labels"),
        (bytes(SIDE * SIDE), (1, SIDE, SIDE), 8, "1 train images and 5 labels"),
    ],
)
def test_hostile_images_are_refused(
    fashion: Path, content: bytes, extents: tuple[int, ...], element: int, message: str
) -> None:
    write_idx(fashion / "train-images-idx3-ubyte.gz", content, *extents, element=element)
    with pytest.raises(DataError, match=message):
        fashion_mnist(fashion)


def test_a_file_that_unpacks_to_more_than_it_announces_costs_no_memory(fashion: Path) -> None:
    write_idx(fashion / "train-images-idx3-ubyte.gz", bytes(64 << 20), 5, SIDE, SIDE)
    tracemalloc.start()
    with pytest.raises(DataError, match="holds more"):
        fashion_mnist(fashion)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_labels_beyond_the_classes_are_refused(fashion: Path) -> None:
    write_idx(fashion / "t10k-labels-idx1-ubyte.gz", bytes((0, 1, 10)), 3)
    with pytest.raises(DataError, match="label 10 is not one of 10 classes"):
        fashion_mnist(fashion)


@pytest.mark.parametrize("damage", ["no gzip", "cut short", "missing"])
def test_unreadable_files_are_named(fashion: Path, damage: str) -> None:
    path = fashion / "t10k-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(b"plain" if damage == "no gzip" else whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\.gz (cannot be read|is missing)"):
        fashion_mnist(fashion)


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (
            [[0.0]],
            np.zeros(1, np.int64),
            "features must be a numpy array of numbers, one row a sample, not a list",
        ),
        (np.zeros((2, 3), "U5"), np.zeros(2, np.int64), "features must be .* not one of <U5"),
        (np.zeros((2, 3), complex), np.zeros(2, np.int64), "features must be .* not one of complex128"),
        (
            np.zeros((2, 3), np.float32),
            np.array(["a", "b"], dtype=object),
            "labels must be .* not one of object",
        ),
        (np.float32(1), np.zeros(1, np.int64), "features must be"),
        (np.zeros((2, 3), np.float32), np.zeros(3, np.int64), "2 samples have 3 labels"),
        (np.full((1, 1), 1e39), np.zeros(1, np.int64), "features must be finite, and those of sample 0"),
        (np.zeros((1, 1)), np.array([np.inf]), "labels must be finite"),
        (np.full((1, 1), np.nan, np.float32), np.zeros(1, np.int64), "must be finite"),
        (np.zeros((1, 1), np.float32), np.array([-1]), "must not be negative"),
    ],
)
def test_samples_refuse_what_torch_would_choke_on(features: object, labels: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Samples(features, labels)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "held"),
    [
        (np.float64, np.float32), (np.float16, np.float32), (np.uint8, np.uint8), (np.int32, np.int32),
        (np.uint16, np.int64), (np.bool_, np.bool_), (">f4", np.float32),
    ],
)  # fmt: skip
def test_numbers_of_any_type_are_features(given: npt.DTypeLike, held: npt.DTypeLike) -> None:
    samples = Samples(np.ones((2, 3), given), np.array([0, 1], np.int32))
    assert samples.features.dtype == held
    assert samples.labels.dtype == np.int64
    assert torch.tensor(samples.features).sum() == 6


def test_what_is_no_class_has_strata_to_be_shared_out_by() -> None:
    """A skewed partition of a regression gives each party another range of targets."""
    targets = np.linspace(-1, 1, 1000)
    samples = Samples(np.zeros((1000, 1)), targets)
    assert not samples.has_classes
    assert np.bincount(samples.strata).tolist() == [100] * 10
    shares = split(Dataset(samples, samples), 2, 1, "pathological", classes=5)
    means = sorted(float(share.labels.mean()) for share in shares.devices)
    assert means[1] - means[0] > 0.1
    assert shares.classes == 10
    tokens = Samples(np.zeros((4, 2), np.int64), np.array([[0, 0], [2, 2], [0, 0], [7, 7]]))
    assert tokens.strata.tolist() == [0, 1, 0, 2]
    assert Samples(np.zeros((3, 1)), np.array([1.0, 0.0, 1.0])).strata.tolist() == [1, 0, 1]


def test_groups_are_shared_out_in_place_of_classes() -> None:
    """Eight parties with one group each: nobody's samples go to somebody else."""
    groups = np.arange(80) % 8
    samples = Samples(np.zeros((80, 1)), np.arange(80) % 3, groups)
    shares = split(Dataset(samples, samples), 8, 1, "pathological", classes=1, held_out=0.1)
    owners = [np.unique(share.groups) for share in shares.devices if share.groups is not None]
    assert sorted(int(owner[0]) for owner in owners) == list(range(8))
    assert all(len(owner) == 1 for owner in owners)
    assert shares.classes == 3
    for wrong in (groups[1:], groups * 1.0, list(groups)):
        with pytest.raises(DataError, match="groups must be a numpy array of 80 whole numbers"):
            Samples(np.zeros((80, 1)), np.arange(80) % 3, wrong)  # type: ignore[arg-type]


def test_a_torch_data_set_is_read() -> None:
    items = TensorDataset(torch.arange(6).reshape(3, 2), torch.tensor([0.5, 1.5, 2.5]))
    samples = Samples.of(items)
    assert samples.features.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert samples.labels.tolist() == [0.5, 1.5, 2.5]
    ragged = [(torch.zeros(2), 0), (torch.zeros(3), 1)]
    with pytest.raises(
        DataError, match=r"a list cannot be read: .*pairs of features and label, of one shape"
    ):
        Samples.of(ragged)


def test_attacks_on_classes_say_where_there_are_none() -> None:
    targets = Samples(np.zeros((3, 1)), np.array([1.0, 0.5, 0.2]))
    with pytest.raises(ConfigError, match="label-flip needs labels that are classes"):
        targets.require_classes("label-flip")


def test_a_data_set_needs_samples_of_one_shape() -> None:
    some = Samples(np.zeros((2, 3), np.float32), np.zeros(2, np.int64))
    other = Samples(np.zeros((2, 4), np.float32), np.zeros(2, np.int64))
    with pytest.raises(DataError, match="the same shape"):
        Dataset(some, other)
    none = some.take(np.arange(0))
    assert len(Dataset(some).test) == len(Dataset(none, other).train) == 0
    with pytest.raises(DataError, match="needs samples"):
        Dataset(none)


def test_a_sample_that_cannot_be_used_is_named() -> None:
    features, labels = np.zeros((5, 3), np.float32), np.zeros(5, np.int64)
    features[3, 1], labels[4] = np.nan, -2
    with pytest.raises(DataError, match="finite, and those of sample 3 are not"):
        Samples(features, np.abs(labels))
    with pytest.raises(DataError, match="must not be negative, and sample 4 has -2"):
        Samples(np.nan_to_num(features), labels)


def test_samples_do_not_print_private_data() -> None:
    secret = Samples(np.full((1, 1), 12345, np.float32), np.array([678]))
    assert repr(secret) == "Samples(1 of shape (1,))"
