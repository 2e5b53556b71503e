"""False claims about an honest update: more samples than were trained on, another time than it took.

Kim, Park, Bennis, Kim 2020, "Blockchained On-Device Federated Learning" (BlockFL, arXiv:1808.03949), section
II: rewards follow the samples, and the time bounds a lie about them. `inflater` with `forged=true` knows that
and forges both in proportion; with `stretched=true` it also knows that an update may be too short for its
claim, and sends one as long as the round's reference. The cap of the task and the time since the round opened
bound all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from bcfl.adversaries.attack import AttackContext, DeviceParts, TrainingAttack, option
from bcfl.adversaries.learners import delta_of, with_delta
from bcfl.learning.datasets import Samples
from bcfl.ports import TrainingResult, Vector
from bcfl.roles.common import norm_bound

PAPER = "Kim et al. 2020 (BlockFL), arXiv:1808.03949"


def inflate_samples(trained: TrainingResult, factor: float) -> TrainingResult:
    """Claim so many times the samples."""
    return replace(trained, samples=max(1, round(trained.samples * factor)))


def scale_time(trained: TrainingResult, factor: float) -> TrainingResult:
    """Claim so many times the microseconds that it took."""
    return replace(trained, microseconds=max(1, round(trained.microseconds * factor)))


def stretch(parts: DeviceParts, trained: TrainingResult, model: Vector, round_: int) -> TrainingResult:
    """Scale the update to the round's reference norm, where there is one."""
    reference = norm_bound.reference_norm(parts.archive, parts.ledger.history(), round_)
    delta = delta_of(trained, model)
    norm = float(np.linalg.norm(delta))
    if reference is None or not norm:
        return trained
    return with_delta(trained, model, delta * (reference / norm))


@dataclass(frozen=True)
class Inflater(TrainingAttack):
    """Trains on a part of its data and claims more, with a time and a length to match if it is bold."""

    PAPER: ClassVar[str] = PAPER
    factor: float = option(10.0, "claimed for each sample trained on", minimum=1, maximum=1e6)
    held: float = option(0.1, "share of its data that it trains on", minimum=1e-6, maximum=1)
    forged: bool = option(True, "whether the time is forged in proportion")
    stretched: bool = option(False, "whether the update is as long as the usual one")

    def training_samples(self, samples: Samples, context: AttackContext) -> Samples:
        """Return the part that it trains on: what it would hold if its claim were a lie about its data."""
        order = context.rng(0).permutation(len(samples))
        return samples.take(np.sort(order[: max(1, round(self.held * len(samples)))]))

    def forge(self, parts: DeviceParts, context: AttackContext, model: Vector, round_: int) -> TrainingResult:  # noqa: ARG002
        """Train, and lie about how much."""
        trained = inflate_samples(parts.learner.train(model, round_), self.factor)
        if self.forged:
            trained = scale_time(trained, self.factor)
        return stretch(parts, trained, model, round_) if self.stretched else trained


@dataclass(frozen=True)
class TimeForger(TrainingAttack):
    """Trains honestly and claims another computation time."""

    PAPER: ClassVar[str] = PAPER
    factor: float = option(0.1, "times the true computation time", minimum=1e-6, maximum=1e6)

    def forge(self, parts: DeviceParts, context: AttackContext, model: Vector, round_: int) -> TrainingResult:  # noqa: ARG002
        """Train, and lie about how long it took."""
        return scale_time(parts.learner.train(model, round_), self.factor)
