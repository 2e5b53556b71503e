"""Bring samples to where torch computes: all at once, or a batch at a time where they are streamed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import TensorDataset

from bcfl.learning.datasets import Samples
from bcfl.learning.streams import StreamedSamples

Batch = tuple[Tensor, Tensor]  # features (samples, ...) and labels (samples, ...)


@dataclass(frozen=True, eq=False)
class Tensors:
    """Samples whose tensors are at hand, on any torch device."""

    features: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: str) -> Tensors:
        """Return the samples on a torch device."""
        return Tensors(self.features.to(device), self.labels.to(device))

    def ordered(self, order: Tensor) -> Tensors:
        """Return the samples in another order, (samples,); an epoch is gathered once."""
        order = order.to(self.labels.device)
        return Tensors(self.features[order], self.labels[order])

    def every(self, start: int, step: int) -> Tensors:
        """Return each `step`-th sample from the one at `start` on."""
        return Tensors(self.features[start::step], self.labels[start::step])

    def batch(self, start: int, stop: int) -> Batch:
        """Return the samples from `start` up to `stop`."""
        return self.features[start:stop], self.labels[start:stop]

    def chosen(self, mask: Tensor) -> Batch:
        """Return the samples of a mask, (samples,)."""
        mask = mask.to(self.labels.device)
        return self.features[mask], self.labels[mask]

    def identity(self) -> Iterator[bytes]:
        """Yield what tells these samples from others."""
        for part in (self.features, self.labels):
            yield part.cpu().numpy().tobytes()

    def data_set(self) -> TensorDataset:
        """Return them as torch's own loaders take them."""
        return TensorDataset(self.features, self.labels)


@dataclass(frozen=True, eq=False)
class Stream:
    """Samples that are read when they are asked for, and brought to a torch device then."""

    samples: StreamedSamples
    device: str

    def __len__(self) -> int:
        return len(self.samples)

    def to(self, device: str) -> Stream:
        """Return the samples such that they are brought to another device."""
        return Stream(self.samples, device)

    def ordered(self, order: Tensor) -> Stream:
        """Return the samples in another order, (samples,)."""
        return Stream(self.samples.take(order.cpu().numpy()), self.device)

    def every(self, start: int, step: int) -> Stream:
        """Return each `step`-th sample from the one at `start` on."""
        return Stream(self.samples.take(np.arange(start, len(self), step)), self.device)

    def batch(self, start: int, stop: int) -> Batch:
        """Read the samples from `start` up to `stop`; raises DataError."""
        part = self.samples.take(np.arange(start, min(stop, len(self)))).in_memory()
        return torch.tensor(part.features).to(self.device), torch.tensor(part.labels).to(self.device)

    def chosen(self, mask: Tensor) -> Batch:
        """Read the samples of a mask, (samples,); raises DataError."""
        part = self.ordered(torch.nonzero(mask.cpu()).flatten())
        return part.batch(0, len(part))

    def identity(self) -> Iterator[bytes]:
        """Yield what tells these samples from others."""
        for array in self.samples.identity():
            yield array.tobytes()

    def data_set(self) -> TorchDataset[Any]:
        """Return them as torch's own loaders take them."""
        return _Items(self)


class _Items(TorchDataset[Any]):
    """The items of a stream as tensors, for a loop of a task's own."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __len__(self) -> int:
        return len(self._stream)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[Batch]:
        part = self._stream.ordered(torch.tensor(indices))
        return list(zip(*part.batch(0, len(part)), strict=True))


Loaded = Tensors | Stream


def load(samples: Samples | None, device: str = "cpu") -> Loaded:
    """Return samples for use on a device; what is in memory is copied, always aligned in one way.

    MKL's last bits depend on the alignment.
    """
    if isinstance(samples, StreamedSamples):
        return Stream(samples, device)
    if samples is None:
        return Tensors(torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    return Tensors(torch.tensor(samples.features).to(device), torch.tensor(samples.labels).to(device))


def pieces(data: Loaded, device: str, size: int, streamed_size: int) -> Iterator[Batch]:
    """Yield batches on a device, at most `size` samples at a time; `streamed_size` of what is streamed."""
    if isinstance(data, Stream):
        size = streamed_size
    for start in range(0, len(data), size):
        features, labels = data.batch(start, start + size)
        yield features.to(device), labels.to(device)
