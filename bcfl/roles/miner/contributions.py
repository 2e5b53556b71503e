"""Remember what each device has put into the model, as far as it is not what all did.

A backdoor settles in the model: after a few rounds the model without this round's update has it as well. So
a miner compares with the model without all that a device ever gave. That is made of the accepted updates of
earlier rounds, which are public: a miner that was restarted reads the last ones again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from bcfl.ports import Matrix, Vector
from bcfl.protocol.rounds import History, Round, Submission
from bcfl.roles.checks.few import FEW
from bcfl.roles.checks.medians import median_of
from bcfl.roles.checks.shared import once

KEPT = 0.95  # of a contribution, after each round: training goes on and undoes what nobody renews
ROUNDS = 60  # that are looked at after a restart; KEPT leaves less than 5 % of what was before
DEVICES = 2 * FEW  # that are remembered, those last accepted: one vector each
Load = Callable[[list[Submission]], tuple[list[int], Matrix]]


class Contributions:
    """One vector a device; `load` returns the places of the submissions that it has, and their values.

    After a restart rounds are read backwards, as far as anybody still keeps their bytes: to ask the store for
    what nobody holds would take longer than there is time to vote.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self._vectors: dict[int, Vector] = {}  # by device
        self._seen: dict[int, int] = {}  # device -> the last round that it was accepted in
        self._latest = 0  # the last round that is counted in

    def of(self, history: History, current: Round, devices: Sequence[int]) -> list[Vector | None]:
        """Return what each device gave in the rounds before `current`, (parameters,); None where nothing.

        Only rounds of at most FEW accepted updates count.
        """
        before = history.numbers_before(current.number, ROUNDS)
        if self._latest >= current.number:
            self._vectors, self._seen, self._latest = {}, {}, 0
        numbers = [number for number in before if number > self._latest]
        if numbers:
            faded = np.float32(KEPT ** len(numbers))
            self._vectors = {device: _faded(vector, faded) for device, vector in self._vectors.items()}
        for age, number in enumerate(reversed(numbers)):
            if not self._add(history.rounds[number], np.float32(KEPT**age)):
                break
        self._latest = max([self._latest, *numbers])
        return [self._vectors.get(device) for device in devices]

    def _add(self, round_: Round, kept: np.float32) -> bool:
        """Count in the accepted updates of a round; return False where there are some and none can be had."""
        submissions = round_.accepted_submissions() if round_.block is not None else []
        if not submissions or len(submissions) > FEW:
            return True
        places, updates = self._load(submissions)
        if not places:
            return False
        total = sum(item.weight for item in submissions)
        median = cache(lambda: median_of(updates, np.ones(len(updates), dtype=bool)))
        for row, place in enumerate(places):
            item = submissions[place]
            device, number = item.update.device, round_.number
            share = kept * np.float32(item.weight / total)
            self._vectors[device] = _given(updates, row, share, self._vectors.get(device), median)
            self._seen[device] = max(number, self._seen.get(device, 0))
        for device in sorted(self._seen, key=lambda device: -self._seen[device])[DEVICES:]:
            del self._vectors[device], self._seen[device]
        return True


def _given(
    updates: Matrix, row: int, share: np.float32, earlier: Vector | None, median: Callable[[], Vector]
) -> Vector:
    """Return what a device has given with an update too, (parameters,)."""

    def make() -> Vector:
        part: Vector = updates[row] - median()
        part *= share
        part += np.float32(0.0) if earlier is None else earlier
        return part

    sources = [updates] if earlier is None else [updates, earlier]
    return once("given", (row, float(share)), sources, make, keep=FEW)


def _faded(vector: Vector, kept: np.float32) -> Vector:
    """Return what is left of a contribution, (parameters,)."""
    return once("faded", float(kept), [vector], lambda: vector * kept)
