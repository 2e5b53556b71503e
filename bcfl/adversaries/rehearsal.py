"""A rehearsal: the miners' rules, all of them, played on updates that nobody has sent.

The rules are public, and so are the updates of finished rounds. Whoever has some data of its own can judge a
round as a miner would, and see what the round would come to. Only the miners' held-out data is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bcfl.adversaries.attack import DeviceParts
from bcfl.ports import Learner, Vector
from bcfl.protocol import aggregation, fixedpoint
from bcfl.protocol.fixedpoint import Lanes
from bcfl.protocol.hashing import keccak, word
from bcfl.protocol.rounds import History, Round, Submission
from bcfl.protocol.types import Update
from bcfl.roles.common.archive import Archive
from bcfl.roles.miner.verifier import Verifier

NOBODY = "0x" + "0" * 40


@dataclass(frozen=True)
class Sent:
    """An update as a device sends it; `root` is that of the chain, or made up where it was never there."""

    device: int
    lanes: Lanes  # (parameters,)
    samples: int
    microseconds: int
    root: bytes = b""


@dataclass(frozen=True)
class Outcome:
    """What a rehearsed round came to."""

    model: Vector  # (parameters,)
    levels: dict[int, int]  # by device; 0: rejected
    pay: dict[int, int]  # by device: times the price of a sample

    def passes(self, devices: Iterable[int]) -> bool:
        """Return whether at least half of devices' updates are accepted, at whatever level."""
        accepted = [self.levels[device] > 0 for device in devices if device in self.levels]
        return sum(accepted) * 2 >= len(accepted) > 0

    def worth(self, devices: Iterable[int]) -> float:
        """Return the mean level of devices' updates; 0 of none."""
        levels = [self.levels[device] for device in devices if device in self.levels]
        return sum(levels) / len(levels) if levels else 0.0


class StagedArchive(Archive):
    """An archive in which some updates are staged: their roots stand for lanes that are on no store."""

    def __init__(self, archive: Archive, staged: dict[bytes, Lanes]) -> None:
        vars(self).update(vars(archive))
        self._staged = staged

    def update(self, submission: Submission, *, asks: bool = True) -> Lanes:
        """Return the lanes of an update, (parameters,), staged or real."""
        lanes = self._staged.get(submission.update.root)
        return super().update(submission, asks=asks) if lanes is None else lanes


class Rehearsal:
    """A round of `history` with the `crowd` as it is; `learner` has the data that stands for a miner's."""

    def __init__(
        self, parts: DeviceParts, learner: Learner, history: History, number: int, crowd: Sequence[Sent]
    ) -> None:
        self._history, self._number, self._crowd = history, number, crowd
        self._ledger, self._archive = parts.ledger, parts.archive
        self._verifier = Verifier(learner, parts.ledger, parts.archive, parts.checks)

    def play(self, own: Sequence[Sent]) -> Outcome:
        """Return what the round comes to with `own` updates beside the crowd."""
        sent = sorted([*self._crowd, *own], key=lambda each: each.device)
        round_, staged = Round(self._number, 0), dict[bytes, Lanes]()
        for position, each in enumerate(sent):
            root = each.root or keccak(b"rehearsal" + word(self._number) + word(position))
            staged[root] = each.lanes
            update = Update(
                self._number, each.device, root, bytes(32), each.samples, max(1, each.microseconds), 0
            )
            round_.submissions.append(Submission(position, update, NOBODY))
        self._verifier.archive = StagedArchive(self._archive, staged)
        self._verifier.verdicts(self._history, round_)
        round_.levels = self._verifier.levels
        accepted = round_.accepted_submissions()
        levels = {item.update.device: round_.levels[item.position] for item in round_.submissions}
        pay = {item.update.device: item.paid for item in accepted}
        return Outcome(self._model(accepted, staged), levels, pay)

    def _model(self, accepted: list[Submission], staged: dict[bytes, Lanes]) -> Vector:
        """Return the model that the accepted updates make, (parameters,)."""
        terms = self._ledger.terms
        model = self._archive.model(self._history.model_before(self._number), self._history)
        if accepted:
            lanes, weights = [staged[item.update.root] for item in accepted], [i.weight for i in accepted]
            delta = aggregation.aggregate(terms.rule, lanes, weights, terms.shift, terms.trim)
            model = aggregation.apply(model, delta)
        values: Vector = fixedpoint.decode(model, terms.scale_bits).astype(np.float32)
        return values
