"""False claims about an honest update (step 3): more samples than were trained on, another time than it took.

Kim, Park, Bennis, Kim 2020, "Blockchained On-Device Federated Learning" (BlockFL, arXiv:1808.03949), section
II: rewards follow the samples, and the time bounds a lie about them. `inflater` with `forged=true` knows that
and forges both in proportion; with `stretched=true` it also knows that an update may be too short for its
claim, and sends one as long as the round's reference. The cap of the task and the time since the round opened
bound all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from bcfl.adversaries.attack import AttackContext, Bent, DeviceAttack, DeviceParts, delta_of, moved, option
from bcfl.learning.datasets import Samples
from bcfl.ports import Learner, Trained, Vector
from bcfl.roles.common import norm_bound

PAPER = "Kim et al. 2020 (BlockFL), arXiv:1808.03949"


def inflated(trained: Trained, factor: float, forged: bool) -> Trained:
    """A training of so many times the samples, with a time to match if it is forged too."""
    samples = max(1, round(trained.samples * factor))
    return replace(
        trained, samples=samples, microseconds=timed(trained, factor) if forged else trained.microseconds
    )


def timed(trained: Trained, factor: float) -> int:
    """So many times the microseconds that it took."""
    return max(1, round(trained.microseconds * factor))


class _Claiming(Bent):
    def __init__(self, honest: Learner, claim: Callable[[Trained, Vector, int], Trained]) -> None:
        super().__init__(honest)
        self.claim = claim

    def bend(self, model: Vector, round_: int) -> Trained:
        return self.claim(self.honest.train(model, round_), model, round_)


def stretched(parts: DeviceParts, trained: Trained, model: Vector, round_: int) -> Trained:
    """The same training, its step as long as the round's reference length where there is one."""
    usual = norm_bound.reference_norm(parts.archive, parts.ledger.history(), round_)
    step = delta_of(trained, model)
    length = float(np.linalg.norm(step))
    return trained if usual is None or not length else moved(trained, model, step * (usual / length))


@dataclass(frozen=True)
class Inflater(DeviceAttack):
    """Trains on a part of its data and claims more, with a time and a length to match if it is bold."""

    PAPER: ClassVar[str] = PAPER
    factor: float = option(10.0, "claimed for each sample trained on", least=1, most=1e6)
    held: float = option(0.1, "share of its data that it trains on", least=1e-6, most=1)
    forged: bool = option(True, "whether the time is forged in proportion")
    stretched: bool = option(False, "whether the update is as long as the usual one")

    def samples(self, own: Samples, context: AttackContext) -> Samples:
        """The part that it trains on: what it would hold if its claim were a lie about its data."""
        chosen = context.rng(0).permutation(len(own))
        return own.take(np.sort(chosen[: max(1, round(self.held * len(own)))]))

    def learner(self, parts: DeviceParts, context: AttackContext) -> Learner:  # noqa: ARG002
        """Trains, and lies about how much."""

        def claim(trained: Trained, model: Vector, round_: int) -> Trained:
            lie = inflated(trained, self.factor, self.forged)
            return stretched(parts, lie, model, round_) if self.stretched else lie

        return _Claiming(parts.learner, claim)


@dataclass(frozen=True)
class TimeForger(DeviceAttack):
    """Trains honestly and claims another computation time."""

    PAPER: ClassVar[str] = PAPER
    factor: float = option(10.0, "times the true computation time", least=1e-6, most=1e6)

    def learner(self, parts: DeviceParts, context: AttackContext) -> Learner:  # noqa: ARG002
        """Trains, and lies about how long."""
        return _Claiming(
            parts.learner, lambda trained, *_: replace(trained, microseconds=timed(trained, self.factor))
        )
