"""The device of an omniscient attack (step 2): it sends what its circle agreed on, in a guise of its own.

The papers let all attackers send one and the same vector. Equal updates are duplicates here, so whoever knows
the rules sends `target + spread * (own honest update - mean of the colluders' honest updates)`: the colluders
differ among themselves as honest devices do (with `spread=1` just as much) and their mean is the target.
`spread=0` is the papers'.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from bcfl.adversaries.attack import AttackContext, Bent, DeviceAttack, DeviceParts, delta_of, moved, option
from bcfl.adversaries.collusion import Coalition, Floats, Matrix
from bcfl.ports import Learner, Trained, Vector


@dataclass(frozen=True)
class Collusion(DeviceAttack, ABC):
    """An attack whose update follows from the honest updates of the round."""

    colludes: ClassVar[bool] = True
    knowledge: str = option(
        "colluders", "whose honest updates they know: their own, or all", choices=("colluders", "all")
    )
    spread: float = option(0.5, "how far colluders differ among themselves; 0: equal", least=0, most=10)

    @abstractmethod
    def craft(self, honest: Matrix, context: AttackContext) -> Floats:
        """The vector of the paper, of the honest updates that are known: (updates, parameters)."""

    def learner(self, parts: DeviceParts, context: AttackContext) -> Learner:
        """Sends what the circle has agreed on; alone, it is a circle of one."""
        coalition = context.coalition or Coalition([parts.learner], [])
        return _Colluder(parts.learner, coalition, self, context)


class _Colluder(Bent):
    def __init__(
        self, honest: Learner, coalition: Coalition, attack: Collusion, context: AttackContext
    ) -> None:
        super().__init__(honest)
        self.coalition, self.attack, self.context = coalition, attack, context

    def bend(self, model: Vector, round_: int) -> Trained:
        own = self.honest.train(model, round_)
        plot = self.coalition.plot(model, round_, lambda honest: self.attack.craft(honest, self.context))
        guise = self.attack.spread * (delta_of(own, model) - plot.centre)
        return moved(own, model, plot.target + guise)
