"""Free riders earn without training (step 2).

Lin, Du, Liu 2019, "Free-riders in Federated Learning: Attacks and Defenses" (arXiv:1911.12560); Fraboni,
Vidal, Lorenzi 2021 (arXiv:2006.11901). What they send for an update:

    zero    nothing: the global model as it is
    stale   the last step of the global model, G_t - G_(t-1) ("delta weights")
    noise   Gaussian noise with the standard deviation of that last step

They claim the samples that they hold and, as they know the `time` rule, the time that the median of the last
round would take for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bcfl.adversaries.attack import AttackContext, Bent, DeviceAttack, DeviceParts, Floats, moved, option
from bcfl.ports import Learner, Trained, Vector
from bcfl.protocol.rounds import History

USUAL = 20_000  # nanoseconds a sample, for want of anything better in the first round
FIRST = 1e-3  # standard deviation of the first round's noise


def invented_time(history: History, round_: int, samples: int) -> int:
    """Microseconds that nobody can call out of proportion: the last rounds' median rate."""
    for number in range(round_ - 1, 0, -1):
        taken = history.rounds[number].taken() if number in history.rounds else []
        rates = sorted(item.update.microseconds * 1000 // item.update.samples for item in taken)
        if rates:
            return max(1, rates[(len(rates) - 1) // 2] * samples // 1000)
    return max(1, USUAL * samples // 1000)


def ride(kind: str, last_step: Floats, rng: np.random.Generator) -> Floats:
    """What a free rider sends, (parameters,); `last_step` is zero in the first round."""
    if kind == "zero":
        return np.zeros_like(last_step)
    if kind == "stale":
        return last_step
    return rng.normal(0.0, float(last_step.std()) or FIRST, last_step.shape)


@dataclass(frozen=True)
class FreeRider(DeviceAttack):
    """Sends nothing, the last global step, or noise as large as that, and claims to have trained."""

    PAPER: ClassVar[str] = "Lin et al. 2019, arXiv:1911.12560; Fraboni et al. 2021, arXiv:2006.11901"
    kind: str = option("zero", "what it sends", choices=("zero", "stale", "noise"))

    def learner(self, parts: DeviceParts, context: AttackContext) -> Learner:
        """Does not train."""
        return _Rider(parts, self, context)


class _Rider(Bent):
    def __init__(self, parts: DeviceParts, attack: FreeRider, context: AttackContext) -> None:
        super().__init__(parts.learner)
        self.parts, self.attack, self.context = parts, attack, context

    def bend(self, model: Vector, round_: int) -> Trained:
        history = self.parts.ledger.history()
        samples = self.honest.samples
        claim = Trained(model, samples, invented_time(history, round_, samples))
        step = np.zeros(len(model))
        blocks = [block for block in history.blocks if block.round < round_]
        if len(blocks) > 1 and self.attack.kind != "zero":
            step = model.astype(np.float64) - self.parts.archive.values(blocks[-2])
        return moved(claim, model, ride(self.attack.kind, step, self.context.rng(round_)))
