"""Lay an app's arrays out in one flat vector, (parameters,), and take them out of it again.

The vector holds the arrays of floats, as float32; the app gets them back in the type that it made them of.
Arrays of whole numbers (the counters of BatchNorm) and empty ones cannot be averaged: they are not shared,
and an app gets them as its first model has them.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bcfl.errors import DataError
from bcfl.ports import Vector
from bcfl.protocol.types import Exponent, Layout, TensorSpec

NAME_LENGTH = 256
STATISTICS = re.compile(r"(^|[._])(running_mean|running_var|moving_mean|moving_variance)$")
NDArrays = Mapping[str, npt.NDArray[Any]]  # by name, in order


class Arrays:
    """What the arrays of an app's first model say of all its models; raises DataError for unusable ones."""

    def __init__(self, first: NDArrays) -> None:
        for name, array in first.items():
            if array.dtype.kind not in "fiub":
                raise DataError(f"array {name!r} is of {array.dtype}, and only numbers can be shared")
        self._first = dict(first)
        self._shared = {name: array for name, array in first.items() if _is_shared(array)}
        if not self._shared:
            raise DataError("its first model has no array of floats: there is nothing to average")
        self._names = _plain_names(list(self._shared))

    @property
    def parameters(self) -> int:
        """Return the length of the vector."""
        return sum(array.size for array in self._shared.values())

    @property
    def first(self) -> Vector:
        """Return the vector of the first model, (parameters,)."""
        return self._join(self._shared)

    @property
    def trained(self) -> frozenset[str]:
        """Return the names, in the layout, of what is not known to be a statistic."""
        return frozenset(self._names[name] for name in self._shared if not STATISTICS.search(name))

    def layout(self, exponents: Mapping[str, Exponent]) -> Layout:
        """Return names, shapes and exponents; the base is the hash of all that is not shared."""
        tensors = tuple(
            TensorSpec(self._names[name], array.shape, exponents.get(self._names[name], 0))
            for name, array in self._shared.items()
        )
        fixed = {name: array for name, array in self._first.items() if name not in self._shared}
        return Layout(tensors, _hash(fixed) if fixed else b"")

    def write(self, vector: npt.NDArray[np.floating[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Return all arrays of the model whose values are `vector`, (parameters,)."""
        arrays, start = dict(self._first), 0
        for name, array in self._shared.items():
            stop = start + array.size
            arrays[name] = vector[start:stop].astype(array.dtype).reshape(array.shape)
            start = stop
        return arrays

    def read(self, arrays: NDArrays) -> Vector:
        """Return the vector, (parameters,), of arrays from the app; raises DataError if they do not fit."""
        for name, first in self._first.items():
            if name not in arrays:
                raise DataError(f"array {name!r} of its first model is missing in what it returns")
            array = arrays[name]
            if array.shape != first.shape:
                raise DataError(
                    f"array {name!r} has shape {array.shape}, and {first.shape} in its first model: an array "
                    "must keep its shape"
                )
            if name in self._shared:
                if array.dtype.kind not in "fiub":
                    raise DataError(f"array {name!r} has become one of {array.dtype}: return numbers")
            elif array.size > 1 and not np.array_equal(array, first):
                raise DataError(
                    f"array {name!r} of {array.dtype} changes, and whole numbers cannot be averaged: "
                    "leave it out, or make it floats"
                )
        if len(arrays) > len(self._first):
            name = next(name for name in arrays if name not in self._first)
            raise DataError(f"array {name!r} is not in its first model: return the same arrays")
        return self._join(arrays)

    def _join(self, arrays: NDArrays) -> Vector:
        with np.errstate(over="ignore"):
            return np.concatenate([arrays[name].astype(np.float32).ravel() for name in self._shared])


def _is_shared(array: npt.NDArray[Any]) -> bool:
    return array.dtype.kind == "f" and math.prod(array.shape) > 0


def _plain_names(names: list[str]) -> dict[str, str]:
    """Return a name in plain characters for each; the place in the list where two would be the same."""
    plain = {name: re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:NAME_LENGTH] for name in names}
    if len(set(plain.values())) == len(names) and all(plain.values()):
        return plain
    return {name: str(place) for place, name in enumerate(names)}


def _hash(arrays: NDArrays) -> bytes:
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.digest()
