"""Vectors too many for memory: one after the other in a file, read slice by slice where they are needed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np

from bcfl.protocol.fixedpoint import Lanes


class SpooledVector:
    """A vector in a file, with what aggregation and trees need of it: length, type and slices."""

    def __init__(self, descriptor: int, start: int, count: int, dtype: np.dtype[Any]) -> None:
        self._descriptor, self._start, self._count, self.dtype = descriptor, start, count, dtype

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, lanes: slice) -> Lanes:
        """Return a copy in memory of the lanes from `lanes.start` to `lanes.stop`; raises OSError."""
        start, stop, step = lanes.indices(self._count)
        if step != 1:
            raise IndexError("a vector in a file is read forward, lane by lane")
        vector = np.empty(max(0, stop - start), self.dtype)
        rest, place = vector.view(np.uint8).data, self._start + start * self.dtype.itemsize
        while rest:
            count = os.preadv(self._descriptor, [rest], place)
            if not count:
                raise OSError("a vector in a file is cut off")
            rest, place = rest[count:], place + count
        return cast(Lanes, vector)


class Spool:
    """Vectors in a file without a name, which is gone when the spool is closed; a context manager.

    It goes with its process, too, however that ends: the vectors lie there as they are, and nothing may be
    left of them. Only its owner may read it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(buffering=0, prefix="bcfl-", dir=folder)  # noqa: SIM115
        self._end = 0

    def add(self, lanes: Lanes) -> Lanes:
        """Write a vector, (parameters,), to the file and return it as read from there; raises OSError."""
        start = self._file.seek(self._end)  # a write that failed may have left a part behind it
        lanes.tofile(self._file)
        self._end += lanes.nbytes
        return cast(Lanes, SpooledVector(self._file.fileno(), start, len(lanes), lanes.dtype))

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
