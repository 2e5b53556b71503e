"""Remember the updates of earlier rounds as short sketches, enough to recognise a copy.

A sketch keeps angles: coordinates get random signs and are summed up in strides (Charikar et al. 2002,
"Finding Frequent Items in Data Streams", section 3). The signs are the miner's own, so that nobody can make a
copy whose sketch looks different.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

import numpy as np

from bcfl.ports import Matrix, Vector
from bcfl.protocol.rounds import History, Round, Submission
from bcfl.roles.checks import duplicate
from bcfl.roles.checks.scores import Scores, bounded

SIZE = 1024  # numbers in a sketch
ROUNDS = 2  # earlier rounds that are remembered


class Sketches:
    """Sketches of the last rounds' updates; `load` reads the updates of a round that are not sketched yet.

    `load` takes submissions, and returns the places of those that it has and their rows,
    (places, parameters).
    """

    def __init__(self, load: Callable[[list[Submission]], tuple[list[int], Matrix]]) -> None:
        self._load = load
        self._signs: Matrix | None = None
        # By round and number of submissions: positions, and sketches in their order.
        self._sketches: dict[tuple[int, int], tuple[list[int], Matrix]] = {}

    def compare(
        self,
        history: History,
        current: Round,
        submissions: Sequence[Submission],
        updates: Matrix,
        delta: Vector | None,
    ) -> Scores | None:
        """Score how near updates, (updates, parameters), are to one of earlier rounds; None if there is none.

        `submissions` are theirs. `delta`, (parameters,): the last change of the model, which everybody has
        and nobody made alone.
        """
        sketches = self.sketch(updates)
        devices = [item.update.device for item in submissions]
        numbers = sorted((n for n in history.rounds if n < current.number), reverse=True)[:ROUNDS]
        self._sketches = {key: value for key, value in self._sketches.items() if key[0] in numbers}
        positions = [item.position for item in submissions]
        self._sketches[current.number, len(current.submissions)] = (positions, sketches)
        earlier = [self._of(history, number) for number in numbers]
        if delta is not None:
            earlier.append(([-1], self.sketch(delta[None])))
        margins = [
            duplicate.across_rounds(
                (sketches @ rows.T).astype(np.float64), np.equal.outer(devices, owners)
            ).values
            for owners, rows in earlier
            if len(rows)
        ]
        return bounded("old copy", np.max(margins, axis=0), maximum=0.0) if margins else None

    def sketch(self, updates: Matrix) -> Matrix:
        """Return sketches of unit norm, (updates, SIZE), of updates, (updates, parameters).

        Where these are no larger than a sketch, only their norm changes.
        """
        count, parameters = updates.shape
        if parameters > SIZE:
            width = parameters + -parameters % SIZE
            if self._signs is None:
                rng = np.random.default_rng(secrets.randbits(128))
                self._signs = rng.choice(np.array([-1, 1], np.float32), (1, parameters))
            products = np.zeros((count, width), np.float32)
            np.multiply(updates, self._signs, out=products[:, :parameters])
            updates = products.reshape(count, -1, SIZE).sum(axis=1)
        norms = np.linalg.norm(updates.astype(np.float64), axis=1, keepdims=True)
        sketches: Matrix = (updates / np.maximum(norms, 1e-30)).astype(np.float32)
        return sketches

    def _of(self, history: History, number: int) -> tuple[list[int], Matrix]:
        """Return devices and sketches of an earlier round's updates, made anew after a restart.

        Where the round was counted, only of the accepted ones: what was dropped may be a copy, and its
        original must not be taken for a copy of it.
        """
        round_ = history.rounds[number]
        key = number, len(round_.submissions)
        if key not in self._sketches:
            places, rows = self._load(round_.submissions)
            self._sketches[key] = ([round_.submissions[i].position for i in places], self.sketch(rows))
        positions, sketches = self._sketches[key]
        rows_accepted = [i for i, p in enumerate(positions) if round_.accepted is None or round_.accepted[p]]
        devices = [round_.submissions[positions[i]].update.device for i in rows_accepted]
        return devices, sketches[rows_accepted]
