"""What a miner remembers of earlier rounds' updates (step 4): short sketches, enough to know a copy again.

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
    """Sketches of the last rounds' updates; `load` gives the updates of a round that are not sketched yet.

    `load` takes submissions and returns which of them it has, as places, and their rows.
    """

    def __init__(self, load: Callable[[list[Submission]], tuple[list[int], Matrix]]) -> None:
        self._load = load
        self._signs: Matrix | None = None
        self._known: dict[tuple[int, int], tuple[list[int], Matrix]] = {}

    def compare(
        self,
        history: History,
        current: Round,
        items: Sequence[Submission],
        updates: Matrix,
        step: Vector | None,
    ) -> Scores | None:
        """How near the updates of `items` are to one of the rounds before; None if there is none.

        `step`: the last step of the model, which everybody has and nobody made alone.
        """
        mine = self.sketch(updates)
        devices = [item.update.device for item in items]
        earlier = sorted((n for n in history.rounds if n < current.number), reverse=True)[:ROUNDS]
        self._known = {key: value for key, value in self._known.items() if key[0] in earlier}
        self._known[current.number, len(current.submissions)] = ([item.position for item in items], mine)
        others = [self._of(history, number) for number in earlier]
        if step is not None:
            others.append(([-1], self.sketch(step[None])))
        margins = [
            duplicate.across((mine @ theirs.T).astype(np.float64), np.equal.outer(devices, owners)).values
            for owners, theirs in others
            if len(theirs)
        ]
        return bounded("old copy", np.max(margins, axis=0), most=0.0) if margins else None

    def sketch(self, updates: Matrix) -> Matrix:
        """Sketches of unit length, (updates, SIZE); the updates themselves where these are no larger."""
        count, parameters = updates.shape
        if parameters > SIZE:
            wide = parameters + -parameters % SIZE
            if self._signs is None:
                rng = np.random.default_rng(secrets.randbits(128))
                self._signs = rng.choice(np.array([-1, 1], np.float32), (1, parameters))
            signed = np.zeros((count, wide), np.float32)
            np.multiply(updates, self._signs, out=signed[:, :parameters])
            updates = signed.reshape(count, -1, SIZE).sum(axis=1)
        lengths = np.linalg.norm(updates.astype(np.float64), axis=1, keepdims=True)
        short: Matrix = (updates / np.maximum(lengths, 1e-30)).astype(np.float32)
        return short

    def _of(self, history: History, number: int) -> tuple[list[int], Matrix]:
        """Devices and sketches of an earlier round's updates, made anew after a restart.

        Where the round was counted, of the accepted ones: what was dropped may be a copy, and its
        original must not be taken for a copy of it.
        """
        found = history.rounds[number]
        key = number, len(found.submissions)
        if key not in self._known:
            places, rows = self._load(found.submissions)
            self._known[key] = ([found.submissions[place].position for place in places], self.sketch(rows))
        positions, sketches = self._known[key]
        kept = [i for i, place in enumerate(positions) if found.accepted is None or found.accepted[place]]
        return [found.submissions[positions[i]].update.device for i in kept], sketches[kept]
