"""Samples that stay where they are: read item by item from a map-style torch data set, each time anew.

What a data set draws at random it draws from the generators of torch, numpy and Python, which have the seed
of whoever reads: a training that of its party and round, a check always the same. Another generator would
make what is learned depend on who read before, so it is refused.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

from bcfl.errors import ConfigError, DataError, one_line
from bcfl.learning.accelerators import isolated
from bcfl.learning.datasets import NO_SAMPLES, Features, Form, Indices, Labels, Samples, count_of

CHUNK: Final = 16  # items that are read together to look at them
SEED: Final = 0  # of what is drawn at random where items are looked at


def is_in_memory(items: object) -> bool:
    """Whether a data set holds its tensors, so that reading it once costs little."""
    from torch.utils.data import TensorDataset

    return isinstance(items, Samples) or type(items) is TensorDataset


def samples_of(items: Any) -> Samples:
    """Return the samples of a map-style torch data set of pairs (features, label); raises DataError.

    All items are read once, a few at a time, to see that they fit and which classes they have.
    """
    if is_in_memory(items):
        return Samples.of(items)
    source = Source(items)
    if not len(source):
        return NO_SAMPLES
    return StreamedSamples(source, np.arange(len(source), dtype=np.int64))


class Source:
    """A torch data set, and what is known of its items without holding them.

    `keys`, (items,): the class of each, or the mean of its label. `form` is that of every item.
    """

    def __init__(self, items: Any) -> None:
        self._items, self._data, self.kind = items, b"", type(items).__name__
        self.form: Form | None = None
        try:
            count = count_of(items)
        except DataError:
            raise
        except Exception as error:
            self._refuse(f"it has no length ({one_line(error)})", error)
        digest, keys = hashlib.sha256(), list[npt.NDArray[Any]]()
        with isolated(SEED):
            for start in range(0, count, CHUNK):
                part = self.read(np.arange(start, min(start + CHUNK, count)))
                for array in (part.features, part.labels):
                    digest.update(array.tobytes())
                keys.append(part.labels if part.has_classes else part.label_means)
        self.keys = np.concatenate(keys) if keys else np.zeros(0, np.int64)
        self.digest = digest.digest()
        if count:
            self._require_seeded(min(CHUNK, count))

    def __len__(self) -> int:
        return len(self.keys)

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave the items packed until they are needed: their class may be in a module of the task's."""
        try:
            data = self._data or pickle.dumps(self._items, pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            raise ConfigError(
                f"a {self.kind} cannot be handed to worker processes: {one_line(error)}; leave --workers out"
            ) from error
        return _unpacked, (data, self.kind, self.form, self.keys, self.digest)

    @property
    def items(self) -> Any:
        """Return the data set."""
        if self._data:
            self._items, self._data = pickle.loads(self._data), b""  # from this program's own parent
        return self._items

    def read(self, places: Indices) -> Samples:
        """Return the items at `places`, (samples,), in memory; raises DataError that names an odd one."""
        if self.form is not None and not len(places):
            return Samples(
                *(np.zeros((0, *shape), kind) for shape, kind in (self.form.features, self.form.labels))
            )
        pairs = self._fetch(places)
        try:
            samples = _stacked(pairs)
        except (DataError, ValueError) as error:
            self._refuse_item(places, pairs, error)
        if self.form is None:
            self.form = samples.form
        if samples.form != self.form:
            self._refuse_item(
                places, pairs, DataError("the items are of another shape or type than the first")
            )
        return samples

    def _fetch(self, places: Indices) -> list[Any]:
        """Return items as torch's DataLoader does: all at once where the data set can."""
        numbers, items = [int(place) for place in places], self.items
        try:
            together = getattr(items, "__getitems__", None)
            pairs = [items[number] for number in numbers] if together is None else list(together(numbers))
            pairs = [(features, label) for features, label in pairs]
        except DataError:
            raise
        except Exception as error:
            self._refuse(one_line(error), error)
        if len(pairs) != len(numbers):  # features and labels would be those of other samples
            reason = f"its __getitems__ returns {len(pairs)} items where it is asked for {len(numbers)}"
            self._refuse(reason, ValueError(reason))
        return pairs

    def _refuse_item(self, places: Indices, pairs: list[Any], cause: Exception) -> NoReturn:
        """Raise DataError that names the first item which is no sample, or not like the others."""
        for place, pair in zip(places.tolist(), pairs, strict=True):
            try:
                form = _stacked([pair]).form
            except (DataError, ValueError) as error:
                raise DataError(str(error).replace("sample 0", f"sample {place}")) from error
            if self.form is not None and form != self.form:
                self._refuse(f"sample {place} is {form.words}, others are {self.form.words}", cause)
        self._refuse(str(cause), cause)

    def _refuse(self, reason: str, cause: Exception) -> NoReturn:
        hint = "it must be map-style, with pairs of features and label, of one shape each"
        raise DataError(f"a {self.kind} cannot be read: {reason}; {hint}") from cause

    def _require_seeded(self, count: int) -> None:
        """Raise DataError where the first items differ although all generators have the same seed."""
        readings = []
        for _ in range(2):
            with isolated(SEED):
                part = self.read(np.arange(count))
                readings.append((part.features.tobytes(), part.labels.tobytes()))
        if readings[0] != readings[1]:
            raise DataError(
                f"a {self.kind} draws from a generator of its own, so the same seed makes other samples: "
                "draw from torch's, numpy's or Python's, which have a seed"
            )


class StreamedSamples(Samples):
    """Samples of a source; `features` reads all of them into memory, `read` a few."""

    def __init__(self, source: Source, places: Indices) -> None:
        object.__setattr__(self, "source", source)
        object.__setattr__(self, "places", places)
        object.__setattr__(self, "groups", None)

    source: Source
    places: Indices  # (samples,), in the source

    @property
    def features(self) -> Features:
        """Return all features, (samples, ...), which takes the memory that a stream saves."""
        with isolated(SEED):
            return self.in_memory().features

    @property
    def labels(self) -> Labels:
        """Return the classes, (samples,); other labels, (samples, ...), are read."""
        if self.has_classes:
            return self.source.keys[self.places]
        with isolated(SEED):
            return self.in_memory().labels

    @property
    def has_classes(self) -> bool:
        """Whether the labels are classes: one whole number a sample."""
        return self.source.keys.dtype == np.int64

    @property
    def label_means(self) -> npt.NDArray[np.float64]:
        """Return the mean of each sample's label, (samples,)."""
        return self.source.keys[self.places].astype(np.float64)

    @property
    def form(self) -> Form:
        """Return shape and type of features and label."""
        assert self.source.form is not None  # of a source that is not empty
        return self.source.form

    def __len__(self) -> int:
        return len(self.places)

    def __repr__(self) -> str:
        return f"StreamedSamples({len(self)} of a {self.source.kind})"

    def take(self, indices: Indices) -> StreamedSamples:
        """Return the samples at `indices`, (n,), which may repeat; nothing is read."""
        return StreamedSamples(self.source, self.places[indices])

    def in_memory(self) -> Samples:
        """Return all of these samples as they are read now."""
        return self.source.read(self.places)

    def identity(self) -> Iterator[npt.NDArray[Any]]:
        """Yield what tells these samples from others: what was read of the source, and the places."""
        yield np.frombuffer(self.source.digest, np.uint8)
        yield self.places


def _stacked(pairs: list[Any]) -> Samples:
    """Return pairs as samples; raises DataError or ValueError where they are none, or not alike."""
    columns = [[np.asarray(item) for item in column] for column in zip(*pairs, strict=True)]
    if any(len({array.dtype for array in column}) > 1 for column in columns):
        raise ValueError("items are of several types")
    features, labels = (np.stack(column) for column in columns)
    return Samples(features, labels)


def _unpacked(data: bytes, kind: str, form: Form | None, keys: npt.NDArray[Any], digest: bytes) -> Source:
    source = Source.__new__(Source)
    source._items, source._data, source.kind = None, data, kind
    source.form, source.keys, source.digest = form, keys, digest
    return source
