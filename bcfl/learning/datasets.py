"""Hold labelled data, and load the three data sets that come with bcfl.

Everything here is numpy: features (samples, ...) and labels (samples, ...), classes or what else there is to
predict; those of the data sets here are float32 and int64 (samples,). Reading a data set
imports neither torch nor scikit-learn (whose import takes longer than a whole round); only scikit-learn's
data files are read.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bcfl.errors import ConfigError, DataError
from bcfl.learning.idx import read_idx

Features = npt.NDArray[Any]  # (samples, ...): numbers of any type
Labels = npt.NDArray[Any]  # (samples, ...): float32, or int64 and then classes, tokens or other whole numbers
Indices = npt.NDArray[np.int64]  # (samples,)

UNKNOWN_TO_TORCH = (np.uint16, np.uint32, np.uint64)  # in part
MOST_ITEMS = 2**30  # of a torch data set: 64 devices with all the samples that an update can count
TEST_SHARE = 0.2
STRATA = 10  # that labels which are no classes are divided into
FASHION_DIRECTORY = Path("/usr/share/datasets/fashion-mnist")  # of Debian's package dataset-fashion-mnist
FASHION_CLASSES = 10
FASHION_SIDE = 28
FASHION_MAX_SAMPLES = 1_000_000
FASHION_MEAN = 0.2860 * 255  # of all pixels of the training part
FASHION_DEVIATION = 0.3530 * 255


def _numbers(name: str, value: object) -> npt.NDArray[Any]:
    """Return an array of finite numbers, floats as float32; raises DataError."""
    if not isinstance(value, np.ndarray) or value.ndim < 1 or value.dtype.kind not in "fiub":
        kind = f"one of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        raise DataError(f"{name} must be a numpy array of numbers, one row a sample, not {kind}")
    if value.dtype in UNKNOWN_TO_TORCH:
        value = value.astype(np.int64)
    if value.dtype.kind != "f":
        return value
    with np.errstate(over="ignore"):
        floats: npt.NDArray[Any] = value.astype(np.float32, copy=False)
    if not np.isfinite(floats).all():
        is_finite = np.isfinite(floats).reshape(len(floats), -1).all(axis=1)  # (samples,)
        raise DataError(f"{name} must be finite, and those of sample {int(is_finite.argmin())} are not")
    return floats


def count_of(items: Any) -> int:
    """Return how many items a torch data set says that it has; raises DataError for more than are read."""
    count = len(items)
    if count > MOST_ITEMS:
        raise DataError(
            f"a {type(items).__name__} says that it has {count:,} items, and at most {MOST_ITEMS:,} are "
            "read: let its __len__ return how many there are"
        )
    return count


@dataclass(frozen=True)
class Form:
    """Shape and type of one sample's features and label."""

    features: tuple[tuple[int, ...], str]
    labels: tuple[tuple[int, ...], str]

    @property
    def words(self) -> str:
        """Return the form as errors tell it."""
        parts = (self.features, self.labels)
        return " and ".join(f"{kind} of shape {shape}" for shape, kind in parts)


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples and what there is to predict of them; raises DataError for what are no finite numbers.

    Floats of any width are held as float32. Whole numbers and truth values stay, as labels they become int64.
    """

    features: Features  # (samples, ...), finite
    labels: Labels  # (samples, ...), finite; one axis of whole numbers: classes counted from 0
    groups: Indices | None = None  # (samples,), whose each is: shared out by them in place of classes

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", _numbers("features", self.features))
        labels = _numbers("labels", self.labels)
        object.__setattr__(self, "labels", labels if labels.dtype == np.float32 else labels.astype(np.int64))
        if len(self.features) != len(self.labels):
            raise DataError(
                f"{len(self.features):,} samples have {len(self.labels):,} labels: each needs one"
            )
        if self.has_classes and len(self.labels) and self.labels.min() < 0:
            index = int(self.labels.argmin())
            raise DataError(f"labels must not be negative, and sample {index} has {self.labels[index]}")

        if self.groups is not None:
            groups: object = self.groups
            is_fit = isinstance(groups, np.ndarray) and groups.dtype.kind in "iu"
            if not is_fit or self.groups.shape != (len(self),):
                raise DataError(f"groups must be a numpy array of {len(self):,} whole numbers, one a sample")

    @classmethod
    def of(cls, items: Any) -> Samples:
        """Read all pairs (features, label) of a map-style `torch.utils.data.Dataset`; raises DataError."""
        if isinstance(items, Samples):
            return items
        try:
            pairs = [items[index] for index in range(count_of(items))]
            features, labels = zip(*pairs, strict=True)
            return cls(
                np.stack([np.asarray(item) for item in features]), np.stack(list(map(np.asarray, labels)))
            )
        except DataError:
            raise
        except Exception as error:
            kind = type(items).__name__
            hint = "it must have pairs of features and label, of one shape each"
            raise DataError(f"a {kind} cannot be read: {error}; {hint}") from error

    @property
    def has_classes(self) -> bool:
        """Whether the labels are classes: one whole number a sample."""
        return self.labels.ndim == 1 and self.labels.dtype == np.int64

    def require_classes(self, what: str) -> Samples:
        """Return these samples; raises ConfigError where their labels are no classes, which `what` needs."""
        if not self.has_classes:
            raise ConfigError(f"{what} needs labels that are classes: this task predicts something else")
        return self

    @property
    def strata(self) -> Indices:
        """Return a class for each sample, (samples,): its label, or the tenth that its mean label is in."""
        if self.has_classes:
            return self.labels
        means = self.label_means
        values, places = np.unique(means, return_inverse=True)
        if len(values) > STRATA:
            places = np.searchsorted(np.quantile(means, np.arange(1, STRATA) / STRATA), means, side="right")
        return places.astype(np.int64)

    @property
    def label_means(self) -> npt.NDArray[np.float64]:
        """Return the mean of each sample's label, (samples,)."""
        means: npt.NDArray[np.float64] = self.labels.reshape(len(self), -1).mean(axis=1, dtype=np.float64)
        return means

    @property
    def form(self) -> Form:
        """Return shape and type of features and label."""
        features, labels = self.features, self.labels
        return Form((features.shape[1:], str(features.dtype)), (labels.shape[1:], str(labels.dtype)))

    def relabelled(self, labels: Labels) -> Samples:
        """Return these samples, in memory, under other labels, (samples, ...)."""
        return Samples(self.features, labels, self.groups)

    def in_memory(self) -> Samples:
        """Return these samples such that `features` and `labels` are at hand."""
        return self

    def identity(self) -> Iterator[npt.NDArray[Any]]:
        """Yield arrays that tell these samples from others."""
        yield self.features
        yield self.labels

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Samples({len(self)} of shape {self.form.features[0]})"  # never the private data itself

    def take(self, indices: Indices) -> Samples:
        """Return a copy of the samples at `indices`, (n,), which may repeat."""
        groups = None if self.groups is None else self.groups[indices]
        return Samples(self.features[indices], self.labels[indices], groups)


NO_SAMPLES = Samples(np.zeros((0, 1), np.float32), np.zeros(0, np.int64))


@dataclass(frozen=True, eq=False)
class Dataset:
    """The data of a task, or of one party: the part to train on, and the part to judge a model by.

    A party may hold one part alone: devices train, miners judge, `bcfl run` needs both.
    """

    train: Samples
    test: Samples = NO_SAMPLES

    def __post_init__(self) -> None:
        given: tuple[object, ...] = self.train, self.test
        for each in given:
            if not isinstance(each, Samples):
                hint = "give Samples(features, labels), or return a pair of torch data sets by itself"
                raise DataError(f"a Dataset is of two Samples, not of a {type(each).__name__}: {hint}")
        parts = [part for part in (self.train, self.test) if len(part)]
        if not parts:
            raise DataError("a data set needs samples to train on, or samples to test on")
        for name in ("features", "labels"):
            first, last = (getattr(part.form, name) for part in (parts[0], parts[-1]))
            if first != last:
                raise DataError(f"training and test {name} must have the same shape and type")


def digits(data_dir: Path | None = None) -> Dataset:
    """Load scikit-learn's 1,797 handwritten digits: (samples, 1, 8, 8) standardised pixels, 10 classes.

    Raises ConfigError for a `data_dir`, DataError without scikit-learn's files.
    """
    _refuse_folder("digits", data_dir)
    table = _bundled_table("digits.csv.gz", columns=65)
    pixels = table[:, :-1].astype(np.float32).reshape(-1, 1, 8, 8)
    return _standardise(_divide(pixels, table[:, -1].astype(np.int64)))


def breast_cancer(data_dir: Path | None = None) -> Dataset:
    """Load Wisconsin's 569 diagnoses: (samples, 30) standardised measurements, 0 malignant or 1 benign.

    Raises ConfigError for a `data_dir`, DataError without scikit-learn's files.
    """
    _refuse_folder("breast-cancer", data_dir)
    table = _bundled_table("breast_cancer.csv", columns=31, header_lines=1)
    return _standardise(_divide(table[:, :-1].astype(np.float32), table[:, -1].astype(np.int64)))


def fashion_mnist(data_dir: Path | None = None) -> Dataset:
    """Load Zalando's 60,000 + 10,000 pictures of clothes: (samples, 1, 28, 28) pixels, 10 classes.

    The pixels are standardised. They are read from `data_dir`, by default that of Debian's package. Raises
    DataError for files that are missing or not theirs.
    """
    directory = data_dir if data_dir is not None else FASHION_DIRECTORY
    if not directory.is_dir():
        remedy = "apt-get install dataset-fashion-mnist, or --data DIR with its four idx .gz files"
        raise DataError(f"Fashion-MNIST is not in {directory}: {remedy}")
    return Dataset(_fashion_part(directory, "train"), _fashion_part(directory, "t10k"))


def _fashion_part(directory: Path, part: str) -> Samples:
    side = FASHION_SIDE
    images = read_idx(directory / f"{part}-images-idx3-ubyte.gz", (side, side), FASHION_MAX_SAMPLES)
    labels = read_idx(directory / f"{part}-labels-idx1-ubyte.gz", (), FASHION_MAX_SAMPLES)
    if len(images) != len(labels) or not len(images):
        raise DataError(f"{directory}: {len(images)} {part} images and {len(labels)} labels")
    if labels.max() >= FASHION_CLASSES:
        raise DataError(f"{directory}: {part} label {labels.max()} is not one of {FASHION_CLASSES} classes")
    features = images.astype(np.float32).reshape(-1, 1, side, side)
    features -= np.float32(FASHION_MEAN)
    features /= np.float32(FASHION_DEVIATION)
    return Samples(features, labels.astype(np.int64))


def _refuse_folder(task: str, data_dir: Path | None) -> None:
    if data_dir is not None:
        raise ConfigError(f"task {task} comes with scikit-learn and takes no --data: leave it out")


def _bundled_table(file_name: str, columns: int, header_lines: int = 0) -> npt.NDArray[np.float64]:
    """Return the numbers, (samples, columns), of a csv file of scikit-learn's, without importing it."""
    spec = find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"{file_name} comes with scikit-learn: pip install scikit-learn")
    path = Path(spec.submodule_search_locations[0], "datasets", "data", file_name)
    try:
        content = path.read_bytes()
        text = gzip.decompress(content) if path.suffix == ".gz" else content
        lines = text.decode("ascii").splitlines()[header_lines:]
        table = np.loadtxt(lines, delimiter=",", dtype=np.float64, ndmin=2)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {error}; reinstall scikit-learn") from error
    if not len(table) or table.shape[1] != columns:
        raise DataError(f"{path} is {table.shape} numbers, not {columns} columns; reinstall scikit-learn")
    return table


def _divide(features: Features, labels: Labels) -> Dataset:
    """Divide samples into training and test part, each class in the same proportion.

    The parts are the same on every machine: numpy has frozen RandomState's stream, not its successor's.
    """
    order = np.random.RandomState(0).permutation(len(labels)).astype(np.int64)
    in_test = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        in_test[members[: round(len(members) * TEST_SHARE)]] = True
    whole = Samples(features, labels)
    return Dataset(train=whole.take(order[~in_test[order]]), test=whole.take(order[in_test[order]]))


def _standardise(dataset: Dataset) -> Dataset:
    """Return each feature less its mean, divided by its standard deviation, both of the training part."""
    mean, deviation = dataset.train.features.mean(axis=0), dataset.train.features.std(axis=0)
    deviation[deviation == 0] = 1  # a pixel that is never inked
    return Dataset(
        Samples((dataset.train.features - mean) / deviation, dataset.train.labels),
        Samples((dataset.test.features - mean) / deviation, dataset.test.labels),
    )
