"""Attacks by devices that know each other's honest updates: each sends the agreed target, disguised.

The papers let all attackers send one and the same vector. Equal updates are duplicates here, so whoever knows
the rules sends `target + spread * (own honest update - mean of the colluders' honest updates)`: the colluders
differ among themselves as honest devices do (with `spread=1` just as much) and their mean is the target.
`spread=0` is the papers'.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

from bcfl.adversaries.attack import AttackContext, DeviceParts, TrainingAttack, option
from bcfl.adversaries.coalition import Coalition
from bcfl.adversaries.learners import Floats, Matrix, delta_of, with_delta
from bcfl.ports import Learner, TrainingResult, Vector


@dataclass(frozen=True)
class Collusion(TrainingAttack, ABC):
    """An attack whose update follows from the honest updates of the round."""

    colludes: ClassVar[bool] = True
    knowledge: str = option(
        "colluders", "whose honest updates they know: their own, or all", choices=("colluders", "all")
    )
    spread: float = option(0.5, "how far colluders differ among themselves; 0: equal", minimum=0, maximum=10)

    @abstractmethod
    def craft(self, honest: Matrix, context: AttackContext) -> Floats:
        """Return the paper's malicious update, (parameters,), of honest ones, (updates, parameters)."""

    def learner(self, parts: DeviceParts, context: AttackContext) -> Learner:
        """Return a learner that sends what its coalition agrees on; alone, it is a coalition of one."""
        coalition = context.coalition or Coalition([parts.learner], [])
        return super().learner(parts, replace(context, coalition=coalition))

    def forge(self, parts: DeviceParts, context: AttackContext, model: Vector, round_: int) -> TrainingResult:
        """Train honestly and send the target, disguised by the device's own update."""
        assert context.coalition is not None
        trained = parts.learner.train(model, round_)
        joint = context.coalition.agree(model, round_, lambda honest: self.craft(honest, context))
        disguise = self.spread * (delta_of(trained, model) - joint.mean_update)
        return with_delta(trained, model, joint.target + disguise)
