"""Who of a run misbehaves and how (step 1): drawn from the seed, the same on every machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from bcfl.adversaries.catalog import Spec, seats
from bcfl.protocol.accounts import Account

if TYPE_CHECKING:
    from bcfl.adversaries.attack import AttackContext, DeviceParts, MinerParts
    from bcfl.adversaries.backdoor import Backdoor
    from bcfl.adversaries.collusion import Coalition
    from bcfl.learning import Samples, Split
    from bcfl.ports import Learner
    from bcfl.roles.device.device import Device
    from bcfl.roles.miner.miner import Miner

DEVICE_STREAM, MINER_STREAM = 2, 3  # of the seed; 0 and 1 share out the data


@dataclass
class Assignment:
    """The adversaries of a run by index: what each device and each miner plays, honest ones left out."""

    seed: int
    devices: int
    classes: int = 0
    playing: dict[int, Spec] = field(default_factory=dict)  # device -> its part
    mining: dict[int, Spec] = field(default_factory=dict)  # miner -> its part
    accomplices: frozenset[str] = frozenset()  # accounts of the devices in `playing`
    coalitions: dict[str, Coalition] = field(default_factory=dict)  # by the text of a spec

    @classmethod
    def draw(
        cls, specs: Sequence[Spec], devices: Sequence[Account], miners: int, seed: int, classes: int = 0
    ) -> Assignment:
        """Deal the parts; raises ConfigError if there are more than members."""
        seats(specs, len(devices), miners)
        assignment = cls(seed, len(devices), classes)
        assignment.playing = _deal(
            [spec for spec in specs if not spec.mines], len(devices), [seed, DEVICE_STREAM]
        )
        assignment.mining = _deal([spec for spec in specs if spec.mines], miners, [seed, MINER_STREAM])
        assignment.accomplices = frozenset(devices[index].address for index in assignment.playing)
        return assignment

    def poisoned(self, shares: Split) -> Split:
        """The shares of data as the devices see them: those of data poisoners spoilt."""
        parts = tuple(
            self.playing[i].attack.samples(own, self.context(i)) if i in self.playing else own
            for i, own in enumerate(shares.devices)
        )
        return replace(shares, devices=parts)

    def introduce(self, learners: Sequence[Learner]) -> list[Learner]:
        """Let colluders know each other's learners, and the others' if they know everybody's.

        Returns the learners to use instead: each trains once a round, however many ask.
        """
        plots = {spec.text: spec for spec in self.playing.values() if spec.attack.colludes}
        if not plots:
            return list(learners)
        from bcfl.adversaries.collusion import Coalition, Remembering

        shared: list[Learner] = [Remembering(learner) for learner in learners]
        honest = [learner for i, learner in enumerate(shared) if i not in self.playing]
        for text, spec in plots.items():
            own = [shared[i] for i, part in sorted(self.playing.items()) if part.text == text]
            knows_all = spec.attack.knowledge == "all"
            self.coalitions[text] = Coalition(own, honest if knows_all else [])
        return shared

    def device(self, index: int, parts: DeviceParts) -> Device:
        """The device of that index, honest or not."""
        spec = self.playing.get(index)
        if spec is None:
            return parts.device()
        device: Device = spec.attack.device(parts, self.context(index, spec))
        return device

    def miner(self, index: int, parts: MinerParts) -> Miner:
        """The miner of that index, honest or not."""
        spec = self.mining.get(index)
        if spec is None:
            return parts.miner()
        miner: Miner = spec.attack.miner(parts, self.context(index))
        return miner

    def context(self, index: int, spec: Spec | None = None) -> AttackContext:
        """What the adversary of that index knows."""
        from bcfl.adversaries.attack import AttackContext

        coalition = None if spec is None else self.coalitions.get(spec.text)
        return AttackContext(
            self.seed, index, self.devices, len(self.playing), self.classes, self.accomplices, coalition
        )

    def backdoors(self) -> Iterator[Backdoor]:
        """The backdoors that are played, each once."""
        yield from dict.fromkeys(spec.attack for spec in self.playing.values() if spec.name == "backdoor")

    def triggered(self, test: Samples) -> Samples | None:
        """What the success of the first backdoor is measured on; None without any."""
        return next((backdoor.triggered(test) for backdoor in self.backdoors()), None)


def _deal(specs: Sequence[Spec], members: int, stream: list[int]) -> dict[int, Spec]:
    """Who plays what: one order of all members, of which each part takes the next."""
    order = [int(i) for i in np.random.default_rng(stream).permutation(members)]
    dealt: dict[int, Spec] = {}
    for spec in specs:
        for _ in range(spec.count(members)):
            dealt[order[len(dealt)]] = spec
    return dict(sorted(dealt.items()))
