"""Remember the updates of earlier rounds as sketches, enough to recognise copies and mixtures.

A sketch keeps angles: coordinates get random signs and are summed up in strides (Charikar et al. 2002,
"Finding Frequent Items in Data Streams", section 3). What is a mixture of vectors has the mixture of their
sketches. The signs are the miner's own, or its process's where several miners are in one, so that nobody can
make a copy whose sketch looks different.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from bcfl.ports import Matrix, Vector
from bcfl.protocol.rounds import History, Round, Submission
from bcfl.roles.checks import duplicate
from bcfl.roles.checks.few import FEW
from bcfl.roles.checks.scores import Scores, bounded
from bcfl.roles.checks.shared import once, share

SIZE = 8_192  # numbers in a sketch; so many, so that chance explains little of one by others
FEW_SIZE = 65_536  # of few updates: where one has next to nothing of something, chance must not add to it
ROWS = 64  # that are sketched at a time
ROUNDS = 2  # earlier rounds that are remembered
Vectors = Matrix | Sequence[npt.NDArray[Any]]
Load = Callable[[list[Submission]], tuple[list[int], Vectors]]


@dataclass(frozen=True)
class Comparison:
    """A round's sketches beside those of earlier rounds: (updates, numbers) and (earlier ones, numbers)."""

    sketches: Matrix
    earlier: Matrix  # of the last change of the model and of all updates, the latest round first
    copies: Scores | None  # how near each is to an accepted one; None if there is none
    sketch: Callable[[Matrix], Matrix]  # makes others: (vectors, parameters) -> (vectors, numbers)


@dataclass(frozen=True)
class Group:
    """Earlier updates that may have been copied: some rows of sketches, (updates, numbers), and whose."""

    devices: tuple[int, ...]
    sketches: Matrix
    rows: tuple[int, ...]


class Signs:
    """The random signs of a miner, or of all miners of one process: then they keep each sketch once."""

    def __init__(self) -> None:
        self._signs: Matrix | None = None

    def of(self, parameters: int) -> Matrix:
        """Return the signs, (1, parameters), that stay the same."""
        if self._signs is None:
            rng = np.random.default_rng(secrets.randbits(128))
            self._signs = share(rng.choice(np.array([-1, 1], np.float32), (1, parameters)))
        return self._signs


class Sketches:
    """Sketches of the last rounds' updates; `load` reads the updates of a round that are not sketched yet.

    `load` takes submissions, and returns the places of those that it has and what they are: vectors, of which
    `matrix` makes rows, (places, parameters). What follows from shared vectors is found once for all miners
    with the same `signs`.
    """

    def __init__(
        self, load: Load, signs: Signs | None = None, matrix: Callable[[Vectors], Matrix] = np.asarray
    ) -> None:
        self._load, self._signs, self._matrix = load, signs or Signs(), matrix
        # By round, number of submissions and size: positions, and sketches in their order.
        self._sketches: dict[tuple[int, int, int], tuple[list[int], Matrix]] = {}

    def compare(
        self,
        history: History,
        current: Round,
        submissions: Sequence[Submission],
        updates: Matrix,
        delta: Vector | None,
    ) -> Comparison:
        """Compare updates, (updates, parameters), with those of earlier rounds.

        `submissions` are theirs. `delta`, (parameters,): the last change of the model, which everybody has
        and nobody made alone. What was trained from the same model, before a void round, explains nothing: it
        comes to the same.
        """
        size = FEW_SIZE if len(current.submissions) <= FEW else SIZE
        sketches = self.sketch(updates, size)
        devices = [item.update.device for item in submissions]
        numbers = history.numbers_before(current.number, ROUNDS)[::-1]
        self._sketches = {key: value for key, value in self._sketches.items() if key[0] in numbers}
        positions = [item.position for item in submissions]
        self._sketches[current.number, len(current.submissions), size] = (positions, sketches)
        accepted = [self._accepted(history.rounds[number], size) for number in numbers]
        model = history.model_before(current.number)
        rows = [self._of(history.rounds[n], size)[1] for n in numbers if history.model_before(n) != model]
        if delta is not None:
            signs = self._signs.of(len(delta))
            row = once("sketches", size, [delta, signs], lambda: self.sketch(delta[None], size))
            accepted.append(Group((-1,), row, (0,)))
            rows.insert(0, row)
        matrices = [updates, sketches, *rows]  # with `updates`, since it is as large, and of no use without
        explained = once("explained", None, matrices, lambda: np.concatenate(matrices[2:] or [sketches[:0]]))
        return Comparison(
            sketches, explained, copies(sketches, devices, accepted), self._sketcher(updates.shape[1], size)
        )

    def sketch(self, updates: Matrix, size: int = SIZE) -> Matrix:
        """Return sketches of unit norm, (updates, size), of updates, (updates, parameters)."""
        return self._sketcher(updates.shape[1], size)(updates)

    def _sketcher(self, parameters: int, size: int) -> Callable[[Matrix], Matrix]:
        """Return what makes sketches, with signs that stay the same."""
        return partial(sketched, signs=self._signs.of(parameters), size=size)

    def _of(self, round_: Round, size: int) -> tuple[list[int], Matrix]:
        """Return positions and sketches of an earlier round's updates, made anew after a restart."""
        key = round_.number, len(round_.submissions), size
        if key not in self._sketches:
            places, vectors = self._load(round_.submissions)
            positions = [round_.submissions[place].position for place in places]
            sources = [*vectors, self._signs.of(vectors[0].size)] if places else []
            sketches = once("loaded", size, sources, lambda: self.sketch(self._matrix(vectors), size))
            self._sketches[key] = positions, sketches
        return self._sketches[key]

    def _accepted(self, round_: Round, size: int) -> Group:
        """Return an earlier round's updates.

        Where the round was counted, only of the accepted ones: what was dropped may be a copy, and its
        original must not be taken for a copy of it.
        """
        positions, sketches = self._of(round_, size)
        accepted = round_.accepted  # made anew each time that it is asked for
        rows = tuple(i for i, p in enumerate(positions) if accepted is None or accepted[p])
        devices = tuple(round_.submissions[positions[i]].update.device for i in rows)
        return Group(devices, sketches, rows)


def sketched(updates: Matrix, signs: Matrix, size: int) -> Matrix:
    """Return sketches of unit norm, (updates, size), of updates, (updates, parameters).

    `signs`: (1, parameters). Where updates are no larger than a sketch, only their norm changes.
    """
    return once("sketches", size, [updates, signs], lambda: _sketched(updates, signs, size))


def _sketched(updates: Matrix, signs: Matrix, size: int) -> Matrix:
    count, parameters = updates.shape
    sketches = np.empty((count, min(parameters, size)), np.float32)
    for place in range(0, count, ROWS):  # all at once they would be in memory several times
        rows = updates[place : place + ROWS]
        if parameters > size:
            sums = np.zeros((len(rows), size), np.float32)
            for start in range(0, parameters, size):
                stride = slice(start, start + size)
                part = rows[:, stride] * signs[:, stride]
                sums[:, : part.shape[1]] += part
            rows = sums
        norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
        sketches[place : place + ROWS] = rows / np.maximum(norms, 1e-30)
    return sketches


def copies(sketches: Matrix, devices: Sequence[int], groups: Sequence[Group]) -> Scores | None:
    """Score how near sketches, (updates, numbers), are to those of earlier groups; None if there are none.

    `devices` are theirs.
    """
    groups = [group for group in groups if group.rows]
    details = tuple(devices), tuple((group.devices, group.rows) for group in groups)
    matrices = [sketches, *(group.sketches for group in groups)]
    return once("copies", details, matrices, lambda: _copies(sketches, devices, groups))


def _copies(sketches: Matrix, devices: Sequence[int], groups: Sequence[Group]) -> Scores | None:
    margins = [
        duplicate.across_rounds(
            (sketches @ group.sketches[list(group.rows)].T).astype(np.float64),
            np.equal.outer(devices, group.devices),
        ).values
        for group in groups
    ]
    return bounded("old copy", np.max(margins, axis=0), maximum=0.0) if margins else None
