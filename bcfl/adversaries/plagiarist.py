"""Plagiarists copy what others have trained, exactly or under a little noise (step 2).

The lazy clients of Li et al. 2020, "Blockchain Assisted Decentralized Federated Learning (BLADE-FL) with Lazy
Clients" (arXiv:2012.02044):   update = another's update + N(0, noise**2 * mean square of that update).

`victim=past` copies an accepted update of the last round that had any, from chain and store, with its claims:
this is what commit and reveal leaves. `victim=present` copies an update of the running round: somebody has
let it see the bytes before it committed. Its lanes are then the victim's up to the carry of rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bcfl.adversaries.attack import (
    AttackContext,
    Bent,
    DeviceAttack,
    DeviceParts,
    Floats,
    delta_of,
    moved,
    option,
)
from bcfl.adversaries.collusion import Coalition, trainings
from bcfl.errors import ConfigError, PayloadError, StoreError
from bcfl.ports import Learner, Trained, Vector
from bcfl.protocol import fixedpoint


def disguise(victim: Floats, noise: float, rng: np.random.Generator) -> Floats:
    """The copy, (parameters,); `noise` is relative to the root mean square of the update."""
    if not noise:
        return victim
    return victim + rng.normal(0.0, noise * float(np.sqrt(np.mean(victim**2))), victim.shape)


@dataclass(frozen=True)
class Plagiarist(DeviceAttack):
    """Copies another's update and its claims, exactly or under noise."""

    PAPER: ClassVar[str] = "Li et al. 2020 (BLADE-FL), arXiv:2012.02044"
    colludes: ClassVar[bool] = True
    knowledge: ClassVar[str] = "all"
    kind: str = option("exact", "how it copies", choices=("exact", "noisy"))
    noise: float = option(0.1, "noisy: noise relative to the update", least=0, most=1000)
    victim: str = option("past", "whose: an earlier round's, or this one's", choices=("past", "present"))

    def learner(self, parts: DeviceParts, context: AttackContext) -> Learner:
        """Does not train."""
        return _Copier(parts, self, context)


class _Copier(Bent):
    def __init__(self, parts: DeviceParts, attack: Plagiarist, context: AttackContext) -> None:
        super().__init__(parts.learner)
        self.parts, self.attack, self.context = parts, attack, context
        self.coalition = context.coalition or Coalition([], [])

    def bend(self, model: Vector, round_: int) -> Trained:
        rng = self.context.rng(round_)
        find = self._past if self.attack.victim == "past" else self._present
        victim = find(model, round_, rng)
        noise = self.attack.noise if self.attack.kind == "noisy" else 0.0
        return moved(victim, model, disguise(delta_of(victim, model), noise, rng))

    def _past(self, model: Vector, round_: int, rng: np.random.Generator) -> Trained:
        """An accepted update of the last round that had any."""
        history, archive = self.parts.ledger.history(), self.parts.archive
        me = history.device_index(self.parts.account.address)
        for number in range(round_ - 1, 0, -1):
            taken = history.rounds[number].taken() if number in history.rounds else []
            others = [item for item in taken if item.update.device != me]
            if others:
                item = others[int(rng.integers(len(others)))]
                try:
                    lanes = archive.update(item)
                except (PayloadError, StoreError):
                    continue
                delta = fixedpoint.decode_update(lanes, archive.terms.scale_bits, archive.terms.shift)
                claim = Trained(model, item.update.samples, item.update.microseconds)
                return moved(claim, model, delta.astype(np.float64))
        raise ConfigError("there is nothing to copy yet")

    def _present(self, model: Vector, round_: int, rng: np.random.Generator) -> Trained:
        """What one of the honest devices trains in this round."""
        learners = self.coalition.honest
        if not learners:
            raise ConfigError("there is nobody to copy")
        found = trainings([learners[int(rng.integers(len(learners)))]], model, round_)
        if not found:
            raise ConfigError("the victim sits out")
        return found[0]
