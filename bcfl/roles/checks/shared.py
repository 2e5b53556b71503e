"""Compute what follows from arrays once for all who look at the same arrays in one process.

Of the miners of one process each reads the same updates, and finds the same matrices, inner products and
medians of them. An array is known by being that very object, which `share` makes read-only: so what is found
of one array is never taken for what follows from another, whatever that is called or where it comes from. It
is kept as long as all arrays live that it follows from, and of each kind no more than a few results. Of
arrays that nobody shares nothing is kept: a process with one miner computes as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, is_dataclass
from functools import partial
from threading import RLock
from typing import Any, Final, TypeVar
from weakref import ref

import numpy as np
import numpy.typing as npt

KEPT: Final = 4  # results of one kind that follow from an array
Array = npt.NDArray[Any]
Key = tuple[str, Hashable, tuple[int, ...]]  # kind, details, identities of the arrays
Result = TypeVar("Result")
AnyArray = TypeVar("AnyArray", bound=Array)


@dataclass(frozen=True)
class _Kept:
    """A result, and the arrays that it follows from."""

    sources: tuple[ref[Array], ...]
    value: Any

    def follows_from(self, sources: Sequence[Array]) -> bool:
        """Whether these very arrays are its sources."""
        pairs = zip(self.sources, sources, strict=True)
        return all(source() is array for source, array in pairs)


_arrays: dict[int, tuple[ref[Array], dict[Key, None]]] = {}  # that are shared, and what is kept of each
_results: dict[Key, _Kept] = {}
# Held to change both, never while a result is made; taken twice where an array goes meanwhile.
_lock = RLock()


def share(array: AnyArray) -> AnyArray:
    """Keep what is found of an array from now on, which nobody can write to any more; return it.

    One that is a part of what can be written to otherwise is not shared.
    """
    array.flags.writeable = False
    with _lock:
        if _is_fixed(array.base) and not is_shared(array):
            _arrays[id(array)] = ref(array, partial(_forget, id(array))), {}
    return array


def once(
    kind: str, details: Hashable, sources: Sequence[Array], make: Callable[[], Result], keep: int = KEPT
) -> Result:
    """Return what `make` returns, once for the same kind, details and arrays, where those are all shared.

    `kind` and `details` say all that the result follows from beside the arrays. Arrays in it are read-only,
    and none may be a part of a source. An array is shared itself. At most `keep` results are kept of a kind
    that follow from the first array.
    """
    if not sources or not all(is_shared(array) for array in sources):
        return make()
    key = kind, details, tuple(map(id, sources))
    kept = _results.get(key)
    if kept is None or not kept.follows_from(sources):
        value = make()
        _freeze(value)
        if isinstance(value, np.ndarray):
            share(value)
        kept = _Kept(tuple(map(ref, sources)), value)
        with _lock:
            _make_room(kind, sources[0], keep)
            _results[key] = kept
            for array in sources:
                _arrays[id(array)][1][key] = None
    value_: Result = kept.value
    return value_


def _is_fixed(base: object) -> bool:
    """Whether what an array is a part of, if it is one, stays as it is."""
    return (
        base is None or isinstance(base, bytes) or (isinstance(base, np.ndarray) and not base.flags.writeable)
    )


def is_shared(array: Array) -> bool:
    """Whether what follows from an array is kept, and so nobody can write to it."""
    known = _arrays.get(id(array))
    return known is not None and known[0]() is array


def _make_room(kind: str, source: Array, keep: int) -> None:
    """Drop the oldest results of a kind that follow from an array, but for `keep` with one to come."""
    keys = [key for key in list(_arrays[id(source)][1]) if key[0] == kind and key[2][0] == id(source)]
    for key in keys[: max(len(keys) - keep + 1, 0)]:
        _drop(key)


def _drop(key: Key) -> None:
    _results.pop(key, None)
    for identity in key[2]:
        if identity in _arrays:
            _arrays[identity][1].pop(key, None)


def _forget(identity: int, gone: ref[Array]) -> None:
    """Drop what follows from an array that is no more."""
    with _lock:
        known = _arrays.get(identity)
        if known is not None and known[0] is gone:
            for key in list(known[1]):
                _drop(key)
            del _arrays[identity]


def _freeze(value: Any) -> None:
    """Make the arrays of a result read-only."""
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
    elif isinstance(value, tuple | list):
        for each in value:
            _freeze(each)
    elif is_dataclass(value):
        _freeze(list(vars(value).values()))
