"""Vectors too many for memory: each in a file of its own, read slice by slice where it is needed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np

from bcfl.protocol.fixedpoint import Lanes


class SpooledVector:
    """A vector in a file, with what aggregation and trees need of it: length, type and slices."""

    def __init__(self, path: Path, count: int, dtype: np.dtype[Any]) -> None:
        self._path, self._count, self.dtype = path, count, dtype

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, lanes: slice) -> Lanes:
        """Return a copy in memory of the lanes from `lanes.start` to `lanes.stop`."""
        start, stop, step = lanes.indices(self._count)
        if step != 1:
            raise IndexError("a vector in a file is read forward, lane by lane")
        count = max(0, stop - start)
        return np.fromfile(self._path, self.dtype, count, offset=start * self.dtype.itemsize)


class Spool:
    """Vectors in a folder that is removed when the spool is closed; a context manager."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bcfl-", dir=folder)
        self._count = 0

    def add(self, lanes: Lanes) -> Lanes:
        """Write a vector, (parameters,), to a file and return it as read from there."""
        path = Path(self._folder.name) / str(self._count)
        self._count += 1
        lanes.tofile(path)
        return cast(Lanes, SpooledVector(path, len(lanes), lanes.dtype))

    def close(self) -> None:
        """Remove the files."""
        self._folder.cleanup()

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
