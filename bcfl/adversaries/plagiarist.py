"""Plagiarists: devices that copy what others have trained, exactly or under a little noise.

The lazy clients of Li et al. 2020, "Blockchain Assisted Decentralized Federated Learning (BLADE-FL) with Lazy
Clients" (arXiv:2012.02044):   update = another's update + N(0, noise**2 * mean square of that update).

`victim=past` copies an accepted update of the last round that had any, from chain and store, with its claims:
this is what commit and reveal leaves. `victim=present` copies an update of the running round: somebody has
let it see the bytes before it committed. Its lanes are then the victim's up to the residual of rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bcfl.adversaries.attack import AttackContext, DeviceParts, TrainingAttack, option
from bcfl.adversaries.coalition import trainings_of
from bcfl.adversaries.learners import Floats, delta_of, with_delta
from bcfl.errors import ConfigError, PayloadError, StoreError
from bcfl.ports import TrainingResult, Vector
from bcfl.protocol import fixedpoint
from bcfl.protocol.rounds import History, Submission


def disguise(victim: Floats, noise: float, rng: np.random.Generator) -> Floats:
    """Return the copy, (parameters,); `noise` is relative to the root mean square of the update."""
    if not noise:
        return victim
    return victim + rng.normal(0.0, noise * float(np.sqrt(np.mean(victim**2))), victim.shape)


@dataclass(frozen=True)
class Plagiarist(TrainingAttack):
    """Copies another's update and its claims, exactly or under noise."""

    PAPER: ClassVar[str] = "Li et al. 2020 (BLADE-FL), arXiv:2012.02044"
    colludes: ClassVar[bool] = True
    knowledge: ClassVar[str] = "all"
    kind: str = option("exact", "how it copies", choices=("exact", "noisy"))
    noise: float = option(0.1, "noisy: noise relative to the update", minimum=0, maximum=1000)
    victim: str = option("past", "whose: an earlier round's, or this one's", choices=("past", "present"))

    def forge(self, parts: DeviceParts, context: AttackContext, model: Vector, round_: int) -> TrainingResult:
        """Copy a training; raises ConfigError, and so sits out, where there is none to copy."""
        rng = context.rng(round_)
        if self.victim == "past":
            victim = _past_training(parts, model, round_, rng)
        else:
            victim = _present_training(context, model, round_, rng)
        noise = self.noise if self.kind == "noisy" else 0.0
        return with_delta(victim, model, disguise(delta_of(victim, model), noise, rng))


def _past_training(
    parts: DeviceParts, model: Vector, round_: int, rng: np.random.Generator
) -> TrainingResult:
    """Return an accepted update of the last round that had any readable one, as a training."""
    history, archive = parts.ledger.history(), parts.archive
    for number in range(round_ - 1, 0, -1):
        updates = _updates_of_others(history, number, parts.account.address)
        if not updates:
            continue
        item = updates[int(rng.integers(len(updates)))]
        try:
            lanes = archive.update(item)
        except (PayloadError, StoreError):
            continue
        delta = fixedpoint.decode_update(lanes, archive.terms.scale_bits, archive.terms.shift)
        claim = TrainingResult(model, item.update.samples, item.update.microseconds)
        return with_delta(claim, model, delta.astype(np.float64))
    raise ConfigError("there is nothing to copy yet")


def _updates_of_others(history: History, number: int, account: str) -> list[Submission]:
    """Return the accepted updates of a round that are not the account's."""
    if number not in history.rounds:
        return []
    device = history.device_index(account)
    return [item for item in history.rounds[number].accepted_submissions() if item.update.device != device]


def _present_training(
    context: AttackContext, model: Vector, round_: int, rng: np.random.Generator
) -> TrainingResult:
    """Return what one of the honest devices trains in this round."""
    learners = context.coalition.honest if context.coalition is not None else []
    if not learners:
        raise ConfigError("there is nobody to copy")
    trainings = trainings_of([learners[int(rng.integers(len(learners)))]], model, round_)
    if not trainings:
        raise ConfigError("the victim sits out")
    return trainings[0]
