"""An attack: the parts of an honest device or miner, one of them replaced."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np

from bcfl.adversaries.coalition import Coalition, CoalitionParts
from bcfl.adversaries.learners import Floats, MaliciousLearner, delta_of, with_delta
from bcfl.learning.datasets import Samples
from bcfl.ports import Learner, Ledger, Relay, TrainingResult, Vector
from bcfl.protocol.accounts import Account
from bcfl.renamed import former_names
from bcfl.roles.common import norm_bound
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.journal import Journal
from bcfl.roles.device.device import Device
from bcfl.roles.miner.miner import Miner
from bcfl.roles.miner.verifier import Checks, Verifier
from bcfl.roles.miner.voting import Wishes, no_wish


@dataclass(frozen=True)
class AttackContext:
    """What an adversary knows of its run."""

    seed: int
    index: int  # among the devices, or among the miners
    devices: int  # all of them: n in the papers
    adversaries: int  # devices that misbehave: m in the papers
    classes: int = 0
    accomplices: frozenset[str] = frozenset()  # accounts of the devices that misbehave
    coalition: Coalition | None = None  # of those who play the same attack

    def rng(self, round_: int) -> np.random.Generator:
        """Return the random generator of this adversary in a round."""
        return np.random.default_rng([self.seed, self.index, round_])


@dataclass(frozen=True)
class DeviceParts:
    """What a device is made of."""

    account: Account
    learner: Learner
    ledger: Ledger
    relay: Relay
    archive: Archive
    journal: Journal
    clips: bool = True  # to the norm that miners accept
    kind: type[Device] = Device
    checks: Checks = field(default_factory=Checks)  # that miners make: they are public

    def device(self) -> Device:
        """Return a device made of these parts."""
        return self.kind(
            self.account, self.learner, self.ledger, self.relay, self.archive, self.journal, self.clips
        )


@dataclass(frozen=True)
class MinerParts:
    """What a miner is made of."""

    account: Account
    ledger: Ledger
    relay: Relay
    archive: Archive
    verifier: Verifier
    journal: Journal
    wishes: Wishes = no_wish
    kind: type[Miner] = Miner

    def miner(self) -> Miner:
        """Return a miner made of these parts."""
        return self.kind(
            self.account, self.ledger, self.relay, self.archive, self.verifier, self.journal, self.wishes
        )


def option(
    default: Any,
    meaning: str,
    choices: Sequence[str] = (),
    minimum: float | None = None,
    maximum: float | None = None,
) -> Any:
    """Declare a parameter of an attack, as the command line takes it."""
    return field(
        default=default,
        metadata={"meaning": meaning, "choices": tuple(choices), "minimum": minimum, "maximum": maximum},
    )


@dataclass(frozen=True)
class DeviceAttack:
    """A device that misbehaves; a subclass overrides the one part that it replaces."""

    PAPER: ClassVar[str] = ""
    colludes: ClassVar[bool] = False  # whether it needs the coalition of its kind

    def training_samples(self, samples: Samples, context: AttackContext) -> Samples:  # noqa: ARG002
        """Return what the device trains on, made of its own samples."""
        return samples

    def learner(self, parts: DeviceParts, context: AttackContext) -> Learner:  # noqa: ARG002
        """Return the learner whose training the device sends."""
        return parts.learner

    def coalition(self, parts: CoalitionParts) -> Coalition:
        """Return what the devices that play this attack in a run share."""
        return Coalition(list(parts.colluders.values()), list(parts.honest.values()))

    def test_samples(self, samples: Samples) -> Samples | None:  # noqa: ARG002
        """Return the test samples whose accuracy is the success of the attack; None if it aims at none."""
        return None

    def archive(self, parts: DeviceParts) -> Archive:
        """Return the archive that writes the device's bytes."""
        return parts.archive

    def device(self, parts: DeviceParts, context: AttackContext) -> Device:
        """Return the device that carries the attack out."""
        device = replace(parts, learner=self.learner(parts, context), archive=self.archive(parts)).device()
        device.trainer.bound = norm_bound.largest_bound
        return device


@dataclass(frozen=True)
class TrainingAttack(DeviceAttack, ABC):
    """A device that passes something else off as its training."""

    @abstractmethod
    def forge(self, parts: DeviceParts, context: AttackContext, model: Vector, round_: int) -> TrainingResult:
        """Return what the device sends as its training from `model`, (parameters,)."""

    def learner(self, parts: DeviceParts, context: AttackContext) -> Learner:
        """Return a learner that forges its training."""
        return MaliciousLearner(parts.learner, partial(self.forge, parts, context))


@dataclass(frozen=True)
class UpdateAttack(TrainingAttack, ABC):
    """A device that trains honestly and sends something made of its update."""

    @abstractmethod
    def transform(self, delta: Floats, context: AttackContext, round_: int) -> Floats:
        """Return what is sent instead of the honest update, (parameters,)."""

    def forge(self, parts: DeviceParts, context: AttackContext, model: Vector, round_: int) -> TrainingResult:
        """Train honestly and transform the update."""
        trained = parts.learner.train(model, round_)
        return with_delta(trained, model, self.transform(delta_of(trained, model), context, round_))


@dataclass(frozen=True)
class MinerAttack:
    """A miner that misbehaves."""

    PAPER: ClassVar[str] = ""

    def verifier(self, parts: MinerParts, context: AttackContext) -> Verifier:  # noqa: ARG002
        """Return the verifier that its verdicts come from."""
        return parts.verifier

    def miner(self, parts: MinerParts, context: AttackContext) -> Miner:
        """Return the miner that carries the attack out."""
        return replace(parts, verifier=self.verifier(parts, context)).miner()


__getattr__ = former_names(
    __name__, {"Scene": "AttackContext", "DeviceKit": "DeviceParts", "MinerKit": "MinerParts"}
)
