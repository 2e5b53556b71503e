"""Dropout: a device that disappears, before it commits or before it reveals.

No paper: Bonawitz et al. 2017 (arXiv:1611.04482) is where federated learning began to count on it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from bcfl.adversaries.attack import AttackContext, DeviceAttack, DeviceParts, option
from bcfl.protocol.types import Phase
from bcfl.roles.device.device import Device


@dataclass(frozen=True)
class Dropout(DeviceAttack):
    """Is gone in some rounds, before it commits or before it reveals."""

    PAPER: ClassVar[str] = "Bonawitz et al. 2017, arXiv:1611.04482"
    rate: float = option(0.5, "share of the rounds in which it is gone", minimum=0, maximum=1)
    stage: str = option("commit", "from which phase on", choices=("commit", "reveal"))

    def device(self, parts: DeviceParts, context: AttackContext) -> Device:
        """Return a device that is absent in some rounds."""
        attack = self

        class AbsentDevice(Device):
            def act(self) -> str | None:
                clock = self.ledger.clock()
                absent = context.rng(clock.round).random() < attack.rate
                return None if absent and clock.phase >= Phase[attack.stage.upper()] else super().act()

        return replace(parts, kind=AbsentDevice).device()
