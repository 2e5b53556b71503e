"""Hand models and cases to workers in files, in which each large array is once.

Miners of one process look at the very same matrices. What a file holds of them is where they are, in files of
their own, and workers on one machine share the pages of those. All of it is of this program's own and in a
folder that nobody else can read.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, Final
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

from bcfl.folders import private_file
from bcfl.roles.checks.shared import is_shared, share

LARGE: Final = 2**20  # bytes of an array that has a file of its own
Array = npt.NDArray[Any]


@dataclass
class _Large:
    """An array, and its file."""

    array: Array
    path: Path
    uses: int = 0  # files that name it


class WorkerFiles:
    """Files in a folder of what workers are given."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._numbers = folder, count()
        self._parts: dict[Path, list[_Large]] = {}
        self._large: dict[int, _Large] = {}  # by identity of the array, of those that nobody can write to

    def write(self, subject: object) -> Path:
        """Put something into a new file; the caller gives it to `remove` afterwards."""
        path, parts = self._new("pickle"), list[_Large]()
        with private_file(path).open("wb") as file:
            _Pickler(file, lambda array: self._place(array, parts)).dump(subject)
        self._parts[path] = parts
        return path

    def remove(self, path: Path) -> None:
        """Remove a file, and those of arrays that no other file names."""
        for large in self._parts.pop(path, []):
            large.uses -= 1
            if not large.uses:
                self._large.pop(id(large.array), None)
                large.path.unlink(missing_ok=True)
        path.unlink(missing_ok=True)

    def _place(self, array: Array, parts: list[_Large]) -> Path:
        large = self._large.get(id(array))
        if large is None:
            large = _Large(array, self._new("npy"))
            with private_file(large.path).open("wb") as file:
                np.save(file, array, allow_pickle=False)
            if is_shared(array):
                self._large[id(array)] = large
        large.uses += 1
        parts.append(large)
        return large.path

    def _new(self, kind: str) -> Path:
        return self._folder / f"{next(self._numbers)}.{kind}"


class WorkerReader:
    """What a worker reads; arrays of what it has read last are the same objects in what it reads next."""

    def __init__(self) -> None:
        self._arrays: WeakValueDictionary[Path, Array] = WeakValueDictionary()
        self._last: object = None

    def read(self, path: Path) -> Any:
        """Return what is in a file; its large arrays stay in theirs, and cannot be written to."""
        with path.open("rb") as file:
            subject = _Unpickler(file, self._array).load()
        self._last = subject
        return subject

    def _array(self, path: Path) -> Array:
        array = self._arrays.get(path)
        if array is None:
            array = share(np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)))
            self._arrays[path] = array
        return array


class _Pickler(pickle.Pickler):
    """Pickles all but large arrays, which `place` puts elsewhere."""

    def __init__(self, file: BinaryIO, place: Callable[[Array], Path]) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._place = place

    def persistent_id(self, value: object) -> Path | None:
        is_large = isinstance(value, np.ndarray) and value.nbytes >= LARGE and not value.dtype.hasobject
        return self._place(value) if is_large else None  # type: ignore[arg-type]


class _Unpickler(pickle.Unpickler):
    """Unpickles what this program's own parent has written."""

    def __init__(self, file: BinaryIO, array: Callable[[Path], Array]) -> None:
        super().__init__(file)
        self._array = array

    def persistent_load(self, place: Path) -> Array:
        return self._array(place)
