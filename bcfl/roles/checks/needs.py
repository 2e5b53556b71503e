"""State what of a round's updates a check needs, and give it no more than that.

What a check needs decides whether it could be made where no miner has an update as a whole, as with shares of
it: sums of shares are shares of sums, inner products take a multiplication among the miners, and a median by
coordinate takes a comparison for each number. It says nothing of what an answer gives away: two sums whose
weights differ in one update differ by that update (docs/decisions/0081-no-single-miner-sees-an-update.md).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from enum import Flag
from functools import cached_property
from typing import Any, Final, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from bcfl.ports import Matrix, Vector
from bcfl.roles.checks.scores import Square, Values
from bcfl.roles.checks.shared import once

SMALLEST: Final = 1e-30  # in the place of a norm of 0 that is divided by
Result = TypeVar("Result")


class Needs(Flag):
    """What a check computes from updates; one that names nothing has enough with what is on chain."""

    CLAIMS = 0  # samples, times, roots: numbers on chain
    GRAM = 1  # inner products of updates with each other, also with those of earlier rounds
    SUMS = 2  # weighted sums of updates, also of one, and inner products with the miner's own vectors
    VECTOR = 4  # the numbers themselves, one by one


class Products(Protocol):
    """Rows that give inner products with each other, and no more: a matrix, or a view."""

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of rows and columns."""

    @property
    def T(self) -> Any:
        """The rows as columns, to multiply others with."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Any: ...

    def __matmul__(self, columns: Any, /) -> Any: ...


class Sums(Protocol):
    """Rows that give weighted sums, and inner products with vectors, and no more: a matrix, or a view."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> Any: ...

    def __matmul__(self, vectors: Any, /) -> Any: ...

    def __rmatmul__(self, weights: Any, /) -> Any: ...


class Updates:
    """The updates of a round, (updates, parameters), and their inner products, computed once."""

    def __init__(self, matrix: Matrix) -> None:
        self._matrix = matrix

    @property
    def parameters(self) -> int:
        """The number of parameters."""
        return int(self._matrix.shape[1])

    @cached_property
    def gram(self) -> Square:
        """The inner products of all, (updates, updates)."""
        return once("gram", None, [self._matrix], lambda: gram(self._matrix))

    @cached_property
    def norms(self) -> Values:
        """The norms, (updates,)."""
        norms: Values = np.sqrt(np.diag(self.gram))
        return norms

    @cached_property
    def cosines(self) -> Square:
        """The cosines of all, (updates, updates)."""

        def cosines() -> Square:
            angles: Square = self.gram / np.maximum(np.outer(self.norms, self.norms), SMALLEST)
            return angles

        return once("cosines", None, [self._matrix], cosines)

    def view(self, needs: Needs) -> View:
        """Return what a check with these needs may use."""
        return View(self, self._matrix, needs)


class View:
    """A round's updates as one check may use them; raises TypeError where it has not declared a need.

    It stands where a matrix may, as far as that answers: `weights @ view` is a weighted sum, `view @ vectors`
    are inner products with the miner's own, `view[place]` is a sum of one, and `view @ other.T` are inner
    products of updates with updates.
    """

    __array_ufunc__ = None  # so that numpy leaves `weights @ view` to the view

    def __init__(self, updates: Updates, matrix: Matrix, needs: Needs) -> None:
        self._updates, self._matrix, self.needs = updates, matrix, needs

    def __len__(self) -> int:
        return len(self._matrix)

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of updates and of parameters."""
        count, parameters = self._matrix.shape
        return count, parameters

    @property
    def gram(self) -> Square:
        """The inner products of the updates, (updates, updates)."""
        self.require(Needs.GRAM)
        return self._updates.gram

    @property
    def norms(self) -> Values:
        """The norms of the updates, (updates,)."""
        self.require(Needs.GRAM)
        return self._updates.norms

    @property
    def cosines(self) -> Square:
        """The cosines of the updates with each other, (updates, updates)."""
        self.require(Needs.GRAM)
        return self._updates.cosines

    @property
    def matrix(self) -> Matrix:
        """The numbers of the updates, (updates, parameters)."""
        self.require(Needs.VECTOR)
        return self._matrix

    @property
    def T(self) -> Columns:
        """The updates as columns, to multiply other updates with."""
        return Columns(self._matrix)

    def __getitem__(self, place: int | slice) -> Any:
        """Return an update by itself, (parameters,), or a view of some of them."""
        if isinstance(place, slice):
            rows = self._matrix[place]
            return View(Updates(rows), rows, self.needs)
        self.require(Needs.SUMS)
        return self._matrix[place]

    def __rmatmul__(self, weights: npt.NDArray[np.float32]) -> Vector:
        """Return a sum of the updates with weights, (updates,), as (parameters,)."""
        self.require(Needs.SUMS)
        total: Vector = weights @ self._matrix
        return total

    def __matmul__(self, vectors: npt.NDArray[np.float32] | Columns) -> npt.NDArray[np.float32]:
        """Return inner products with vectors, (parameters,) or (parameters, vectors), or with updates."""
        if isinstance(vectors, Columns):
            self.require(Needs.GRAM)
            return vectors.products(self._matrix)
        self.require(Needs.SUMS)
        products: npt.NDArray[np.float32] = self._matrix @ vectors
        return products

    def require(self, need: Needs) -> None:
        """Raise TypeError where a need is not declared."""
        if need not in self.needs:
            raise TypeError(f"a check that declares {self.needs} uses {need}: state what it needs")


class Columns:
    """Updates as columns, which only give inner products with updates."""

    def __init__(self, matrix: Matrix) -> None:
        self._matrix = matrix

    def products(self, rows: Matrix) -> npt.NDArray[np.float32]:
        """Return inner products with rows, (rows, parameters), as (rows, columns)."""
        products: npt.NDArray[np.float32] = rows @ self._matrix.T
        return products


def once_of(kind: str, details: Hashable, rows: Sequence[Products], make: Callable[[], Result]) -> Result:
    """Return what `make` returns of rows, once where they are shared: see `once` in `shared`."""
    matrices: list[Any] = [each._matrix if isinstance(each, View) else each for each in rows]
    return once(kind, details, matrices, make)


def gram(updates: Matrix) -> Square:
    """Return the inner products of updates, (updates, parameters), as (updates, updates)."""
    products: Square = (updates @ updates.T).astype(np.float64)
    return products
