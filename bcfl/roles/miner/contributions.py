"""Remember what each device has put into the model, as far as it is not what all did.

A backdoor settles in the model: after a few rounds the model without this round's update has it as well. So
a miner compares with the model without all that a device ever gave. That is made of the accepted updates of
earlier rounds, which are public: a miner that was restarted reads the last ones again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np

from bcfl.ports import Matrix, Vector
from bcfl.protocol.rounds import History, Round, Submission
from bcfl.roles.checks.few import FEW

KEPT = 0.95  # of a contribution, after each round: training goes on and undoes what nobody renews
ROUNDS = 60  # that are read after a restart; KEPT leaves less than 5 % of what was before
DEVICES = 2 * FEW  # that are remembered, those last accepted: one vector each
Load = Callable[[list[Submission]], tuple[list[int], Matrix]]


class Contributions:
    """One vector a device; `load` returns the places of the submissions that it has, and their values."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._vectors: dict[int, Vector] = {}  # by device, the one last accepted last
        self._latest = 0  # the last round that is counted in

    def of(self, history: History, current: Round, devices: Sequence[int], parameters: int) -> Matrix:
        """Return what devices gave in the rounds before `current`, (devices, parameters); 0 where nothing.

        Only rounds of at most FEW updates count.
        """
        before = [number for number in history.rounds if number < current.number]
        if self._latest >= current.number:
            self._vectors, self._latest = {}, 0
        for number in sorted(before)[-ROUNDS:]:
            if number > self._latest:
                self._add(history.rounds[number])
                self._latest = number
        rows = np.zeros((len(devices), parameters), np.float32)
        for row, device in enumerate(devices):
            rows[row] = self._vectors.get(device, 0.0)
        return rows

    def _add(self, round_: Round) -> None:
        """Count in the accepted updates of a finalized round."""
        for vector in self._vectors.values():
            vector *= np.float32(KEPT)
        submissions = round_.accepted_submissions() if round_.block is not None else []
        if not submissions or len(round_.submissions) > FEW:
            return
        total = sum(item.weight for item in submissions)
        places, updates = self._load(submissions)
        if not places:
            return
        median = np.median(updates, axis=0)
        for place, update in zip(places, updates, strict=True):
            item = submissions[place]
            part = np.float32(item.weight / total) * (update - median)
            device = item.update.device
            self._vectors[device] = self._vectors.pop(device, np.float32(0.0)) + part
        surplus = max(0, len(self._vectors) - DEVICES)
        for device in list(islice(self._vectors, surplus)):
            del self._vectors[device]
