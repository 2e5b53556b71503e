"""False claims about an honest update (step 3): more samples than were trained on, another time than it took.

Kim, Park, Bennis, Kim 2020, "Blockchained On-Device Federated Learning" (BlockFL, arXiv:1808.03949), section
II: rewards follow the samples, and the time bounds a lie about them. `inflater` with `forged=true` knows that
and forges both in proportion; the cap of the task and the time since the round opened are what is left to
bound it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from bcfl.adversaries.attack import Bent, DeviceAttack, DeviceKit, Scene, option
from bcfl.ports import Learner, Trained, Vector

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
    def __init__(self, honest: Learner, claim: Callable[[Trained], Trained]) -> None:
        super().__init__(honest)
        self.claim = claim

    def bend(self, model: Vector, round_: int) -> Trained:
        return self.claim(self.honest.train(model, round_))


@dataclass(frozen=True)
class Inflater(DeviceAttack):
    """Trains honestly and claims more samples, with a forged time to match if it is bold."""

    PAPER: ClassVar[str] = PAPER
    factor: float = option(10.0, "claimed for each sample held", least=1, most=1e6)
    forged: bool = option(True, "whether the time is forged in proportion")

    def learner(self, kit: DeviceKit, scene: Scene) -> Learner:  # noqa: ARG002
        """Trains, and lies about how much."""
        return _Claiming(kit.learner, lambda trained: inflated(trained, self.factor, self.forged))


@dataclass(frozen=True)
class TimeForger(DeviceAttack):
    """Trains honestly and claims another computation time."""

    PAPER: ClassVar[str] = PAPER
    factor: float = option(10.0, "times the true computation time", least=1e-6, most=1e6)

    def learner(self, kit: DeviceKit, scene: Scene) -> Learner:  # noqa: ARG002
        """Trains, and lies about how long."""
        return _Claiming(
            kit.learner, lambda trained: replace(trained, microseconds=timed(trained, self.factor))
        )
