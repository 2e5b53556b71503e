"""Free riders: devices that earn without training.

Lin, Du, Liu 2019, "Free-riders in Federated Learning: Attacks and Defenses" (arXiv:1911.12560); Fraboni,
Vidal, Lorenzi 2021 (arXiv:2006.11901). What they send for an update:

    zero    nothing: the global model as it is
    stale   the last change of the global model, G_t - G_(t-1) ("delta weights")
    noise   Gaussian noise with the standard deviation of that last change

They claim the samples that they hold and, as they know the `time` rule, the time that the median of the last
round would take for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bcfl.adversaries.attack import AttackContext, DeviceParts, TrainingAttack, option
from bcfl.adversaries.learners import Floats, with_delta
from bcfl.ports import TrainingResult, Vector
from bcfl.protocol.rounds import History

FIRST_NANOSECONDS = 20_000  # a sample, for want of anything better in the first round
FIRST_DEVIATION = 1e-3  # of the first round's noise


def plausible_time(history: History, round_: int, samples: int) -> int:
    """Return microseconds that nobody can call out of proportion: at the last rounds' median rate."""
    for number in range(round_ - 1, 0, -1):
        updates = history.rounds[number].accepted_submissions() if number in history.rounds else []
        rates = sorted(item.update.microseconds * 1000 // item.update.samples for item in updates)
        if rates:
            return max(1, rates[(len(rates) - 1) // 2] * samples // 1000)
    return max(1, FIRST_NANOSECONDS * samples // 1000)


def free_ride(kind: str, last_delta: Floats, rng: np.random.Generator) -> Floats:
    """Return what a free rider sends, (parameters,); `last_delta` is zero in the first round."""
    if kind == "zero":
        return np.zeros_like(last_delta)
    if kind == "stale":
        return last_delta
    return rng.normal(0.0, float(last_delta.std()) or FIRST_DEVIATION, last_delta.shape)


@dataclass(frozen=True)
class FreeRider(TrainingAttack):
    """Sends nothing, the last global step, or noise as large as that, and claims to have trained."""

    PAPER: ClassVar[str] = "Lin et al. 2019, arXiv:1911.12560; Fraboni et al. 2021, arXiv:2006.11901"
    kind: str = option("zero", "what it sends", choices=("zero", "stale", "noise"))

    def forge(self, parts: DeviceParts, context: AttackContext, model: Vector, round_: int) -> TrainingResult:
        """Claim a training that never was."""
        history, samples = parts.ledger.history(), parts.learner.samples
        claim = TrainingResult(model, samples, plausible_time(history, round_, samples))
        last_delta = np.zeros(len(model))
        blocks = [block for block in history.blocks if block.round < round_]
        if len(blocks) > 1 and self.kind != "zero":
            last_delta = model.astype(np.float64) - parts.archive.values(blocks[-2])
        return with_delta(claim, model, free_ride(self.kind, last_delta, context.rng(round_)))
