"""The adversaries of a run: which device and which miner misbehaves how, drawn from the seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from bcfl.adversaries.catalog import AttackSpec, check_counts
from bcfl.learning import Split, Task
from bcfl.protocol.accounts import Account

if TYPE_CHECKING:
    from bcfl.adversaries.attack import AttackContext, DeviceParts, MinerParts
    from bcfl.adversaries.coalition import Coalition
    from bcfl.learning import Samples
    from bcfl.learning.kinds import AnyShares, AnyTask
    from bcfl.ports import Learner
    from bcfl.roles.device.device import Device
    from bcfl.roles.miner.miner import Miner

DEVICE_STREAM, MINER_STREAM = 2, 3  # of the seed; 0 and 1 share out the data
KNOWING = ("all", "round")  # values of `knowledge` with which colluders know what the honest train


@dataclass
class Assignment:
    """The adversaries of a run by index; honest devices and miners are left out."""

    seed: int
    devices: int
    classes: int = 0
    device_specs: dict[int, AttackSpec] = field(default_factory=dict)
    miner_specs: dict[int, AttackSpec] = field(default_factory=dict)
    accomplices: frozenset[str] = frozenset()  # accounts of the devices in `device_specs`
    coalitions: dict[str, Coalition] = field(default_factory=dict)  # by the text of a spec

    @classmethod
    def draw(
        cls,
        specs: Sequence[AttackSpec],
        devices: Sequence[Account],
        miners: int,
        seed: int,
        classes: int = 0,
    ) -> Assignment:
        """Draw who misbehaves, the same on every machine; raises ConfigError for more than there are."""
        check_counts(specs, len(devices), miners)
        assignment = cls(seed, len(devices), classes)
        device_specs = [spec for spec in specs if not spec.is_miner]
        miner_specs = [spec for spec in specs if spec.is_miner]
        assignment.device_specs = _draw(device_specs, len(devices), [seed, DEVICE_STREAM])
        assignment.miner_specs = _draw(miner_specs, miners, [seed, MINER_STREAM])
        assignment.accomplices = frozenset(devices[index].address for index in assignment.device_specs)
        return assignment

    def poison_shares(self, shares: Split) -> Split:
        """Return the shares of data, with those of data poisoners spoilt."""
        devices = [
            self.device_specs[i].attack.training_samples(samples, self.context(i))
            if i in self.device_specs
            else samples
            for i, samples in enumerate(shares.devices)
        ]
        return replace(shares, devices=tuple(devices))

    def form_coalitions(self, learners: Sequence[Learner], task: AnyTask, shares: AnyShares) -> list[Learner]:
        """Let colluders know each other's learners and data, and what the others train if they know that.

        Returns the learners to use instead: each trains once a round, however many ask.
        """
        specs = {spec.text: spec for spec in self.device_specs.values() if spec.attack.colludes}
        if not specs:
            return list(learners)
        from bcfl.adversaries.coalition import CoalitionParts
        from bcfl.adversaries.learners import CachedLearner

        cached_learners: list[Learner] = [CachedLearner(learner) for learner in learners]
        honest = {i: each for i, each in enumerate(cached_learners) if i not in self.device_specs}
        data = shares.devices if isinstance(shares, Split) else ()
        for text, spec in specs.items():
            indices = [i for i, each in sorted(self.device_specs.items()) if each.text == text]
            self.coalitions[text] = spec.attack.coalition(
                CoalitionParts(
                    {i: cached_learners[i] for i in indices},
                    honest if spec.attack.knowledge in KNOWING else {},
                    {i: data[i] for i in indices if i < len(data)},
                    task if isinstance(task, Task) else None,
                    self.seed,
                )
            )
        return cached_learners

    def device(self, index: int, parts: DeviceParts) -> Device:
        """Return the device of that index, honest or not."""
        spec = self.device_specs.get(index)
        if spec is None:
            return parts.device()
        device: Device = spec.attack.device(parts, self.context(index, spec))
        return device

    def miner(self, index: int, parts: MinerParts) -> Miner:
        """Return the miner of that index, honest or not."""
        spec = self.miner_specs.get(index)
        if spec is None:
            return parts.miner()
        miner: Miner = spec.attack.miner(parts, self.context(index))
        return miner

    def context(self, index: int, spec: AttackSpec | None = None) -> AttackContext:
        """Return what the adversary of that index knows."""
        from bcfl.adversaries.attack import AttackContext

        coalition = None if spec is None else self.coalitions.get(spec.text)
        return AttackContext(
            self.seed,
            index,
            self.devices,
            len(self.device_specs),
            self.classes,
            self.accomplices,
            coalition,
        )

    def backdoor_test(self, test: Samples) -> Samples | None:
        """Return the test samples that measure the success of the first attack that aims at some, or None."""
        attacks = dict.fromkeys(spec.attack for spec in self.device_specs.values())
        aims = (attack.test_samples(test) for attack in attacks)
        return next((samples for samples in aims if samples is not None), None)


def _draw(specs: Sequence[AttackSpec], members: int, stream: list[int]) -> dict[int, AttackSpec]:
    """Return who carries out what: each spec takes the next members of one random order."""
    order = [int(i) for i in np.random.default_rng(stream).permutation(members)]
    spec_of: dict[int, AttackSpec] = {}
    for spec in specs:
        for _ in range(spec.count(members)):
            spec_of[order[len(spec_of)]] = spec
    return dict(sorted(spec_of.items()))
