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
from bcfl.roles.miner.pieces import Ends, sketch_ends

SIZE = 8_192  # numbers in a sketch; so many, so that chance explains little of one by others
FEW_SIZE = 65_536  # of few updates: where one has next to nothing of something, chance must not add to it
ROWS = 64  # that are sketched at a time
ROUNDS = 2  # earlier rounds that are remembered
FEW_ROUNDS, FEW_EARLIER = 32, 128  # of few updates: as many, and no more updates in all
Vectors = Matrix | Sequence[npt.NDArray[Any]]
Load = Callable[[list[Submission]], tuple[list[int], Vectors]]


@dataclass(frozen=True)
class Comparison:
    """A round's sketches beside those of earlier rounds: (updates, numbers) and (earlier ones, numbers)."""

    sketches: Matrix
    earlier: Matrix  # of the last change of the model and of all updates, the latest round first
    recent: int  # so many of these are of the last ROUNDS rounds
    ends: Ends  # where the pieces of a sketch end
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
    with the same `signs`. Few updates are sketched by pieces, which end at `ends` in the vector; () for one.
    """

    def __init__(
        self,
        load: Load,
        signs: Signs | None = None,
        ends: Ends = (),
        matrix: Callable[[Vectors], Matrix] = np.asarray,
    ) -> None:
        self._load, self._signs, self._ends, self._matrix = load, signs or Signs(), ends, matrix
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
        is_few = len(submissions) <= FEW  # that can be read, as the pipeline counts: one more may be withheld
        size = FEW_SIZE if is_few else SIZE
        sketches = self.sketch(updates, size)
        devices = [item.update.device for item in submissions]
        numbers = history.numbers_before(current.number, FEW_ROUNDS if is_few else ROUNDS)[::-1]
        if is_few:
            numbers = _latest(history, numbers)
        self._sketches = {key: value for key, value in self._sketches.items() if key[0] in numbers}
        positions = [item.position for item in submissions]
        self._sketches[current.number, len(current.submissions), size] = (positions, sketches)
        accepted = [self._accepted(history.rounds[number], size) for number in numbers]
        model = history.model_before(current.number)
        others = [number for number in numbers if history.model_before(number) != model]
        rows = [self._of(history.rounds[number], size)[1] for number in others]
        recent = sum(
            len(found) for found, number in zip(rows, others, strict=True) if number in numbers[:ROUNDS]
        )
        if delta is not None:
            signs = self._signs.of(len(delta))
            row = once("sketches", (size, self._ends), [delta, signs], lambda: self.sketch(delta[None], size))
            accepted.append(Group((-1,), row, (0,)))
            rows.insert(0, row)
        matrices = [updates, sketches, *rows]  # with `updates`, since it is as large, and of no use without
        explained = once("explained", None, matrices, lambda: np.concatenate(matrices[2:] or [sketches[:0]]))
        return Comparison(
            sketches,
            explained,
            recent + (delta is not None),
            sketch_ends(self._pieces(updates.shape[1], size), size),
            copies(sketches, devices, accepted),
            self._sketcher(updates.shape[1], size),
        )

    def sketch(self, updates: Matrix, size: int = SIZE) -> Matrix:
        """Return sketches of unit norm, (updates, size), of updates, (updates, parameters)."""
        return self._sketcher(updates.shape[1], size)(updates)

    def _sketcher(self, parameters: int, size: int) -> Callable[[Matrix], Matrix]:
        """Return what makes sketches, with signs that stay the same."""
        return partial(
            sketched, signs=self._signs.of(parameters), size=size, ends=self._pieces(parameters, size)
        )

    def _pieces(self, parameters: int, size: int) -> Ends:
        """Return where the pieces of a vector end that are sketched one by one."""
        return self._ends if size == FEW_SIZE and self._ends else (parameters,)

    def _of(self, round_: Round, size: int) -> tuple[list[int], Matrix]:
        """Return positions and sketches of an earlier round's updates, made anew after a restart."""
        key = round_.number, len(round_.submissions), size
        if key not in self._sketches:
            places, vectors = self._load(round_.submissions)
            positions = [round_.submissions[place].position for place in places]
            sources = [*vectors, self._signs.of(vectors[0].size)] if places else []
            sketches = once(
                "loaded", (size, self._ends), sources, lambda: self.sketch(self._matrix(vectors), size)
            )
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


def _latest(history: History, numbers: Sequence[int]) -> list[int]:
    """Return those of rounds, the latest first, that have no more than FEW_EARLIER updates in all."""
    chosen, count = list[int](), 0
    for number in numbers:
        count += len(history.rounds[number].submissions)
        if count > FEW_EARLIER:
            break
        chosen.append(number)
    return chosen


def sketched(updates: Matrix, signs: Matrix, size: int, ends: Ends) -> Matrix:
    """Return sketches of unit norm, (updates, about `size`), of updates, (updates, parameters).

    `signs`: (1, parameters). `ends`: where the pieces of an update end. Where updates are no larger than a
    sketch, only their norm changes.
    """
    return once("sketches", (size, ends), [updates, signs], lambda: _sketched(updates, signs, size, ends))


def _sketched(updates: Matrix, signs: Matrix, size: int, ends: Ends) -> Matrix:
    places = sketch_ends(ends, size)
    sketches = np.empty((len(updates), places[-1]), np.float32)
    for first in range(0, len(updates), ROWS):  # all at once they would be in memory several times
        some = slice(first, first + ROWS)
        rows = _folded(updates[some], signs, ends, places) if places != ends else updates[some]
        norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
        sketches[some] = rows / np.maximum(norms, 1e-30)
    return sketches


def _folded(updates: Matrix, signs: Matrix, ends: Ends, places: Ends) -> Matrix:
    """Return the sums of strides of each piece of updates with signs, (updates, numbers)."""
    sums = np.zeros((len(updates), places[-1]), np.float32)
    begin = start = 0
    for end, place in zip(ends, places, strict=True):
        for low in range(begin, end, place - start):
            stride = slice(low, min(low + place - start, end))
            sums[:, start : start + stride.stop - low] += updates[:, stride] * signs[:, stride]
        begin, start = end, place
    return sums


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
