"""What an attack is: the same parts as an honest device or miner, with one of them bent (steps 2 to 6)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bcfl.adversaries.collusion import Coalition
from bcfl.errors import ConfigError
from bcfl.learning.datasets import Samples
from bcfl.ports import Evaluation, Learner, Ledger, Matrix, Relay, Trained, Vector
from bcfl.protocol.accounts import Account
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.journal import Journal
from bcfl.roles.device.device import Device
from bcfl.roles.miner.miner import Miner
from bcfl.roles.miner.verifier import Verifier
from bcfl.roles.miner.voting import Wishes, no_wish

Floats = npt.NDArray[np.float64]  # (parameters,)


@dataclass(frozen=True)
class AttackContext:
    """What an adversary knows of the run that it plays in."""

    seed: int
    index: int  # its place among the devices, or among the miners
    devices: int  # all of them: n in the papers
    adversaries: int  # devices that misbehave: m in the papers
    classes: int = 0
    accomplices: frozenset[str] = frozenset()  # accounts of the devices that misbehave
    coalition: Coalition | None = None  # of those who play the same attack

    def rng(self, round_: int) -> np.random.Generator:
        """Where this adversary's chance of a round comes from."""
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
    clips: bool = True  # to the length that miners take
    kind: type[Device] = Device

    def device(self) -> Device:
        """A device of these parts."""
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
        """A miner of these parts."""
        return self.kind(
            self.account, self.ledger, self.relay, self.archive, self.verifier, self.journal, self.wishes
        )


def option(
    default: Any,
    meaning: str,
    choices: Sequence[str] = (),
    least: float | None = None,
    most: float | None = None,
) -> Any:
    """A parameter of an attack, as the command line takes it."""
    return field(
        default=default,
        metadata={"meaning": meaning, "choices": tuple(choices), "least": least, "most": most},
    )


@dataclass(frozen=True)
class DeviceAttack:
    """A device that misbehaves; a subclass overrides the one part that it bends."""

    PAPER: ClassVar[str] = ""
    colludes: ClassVar[bool] = False  # whether it needs the circle of its kind

    def samples(self, own: Samples, context: AttackContext) -> Samples:  # noqa: ARG002
        """What the device trains on, of the data that are its own."""
        return own

    def learner(self, parts: DeviceParts, context: AttackContext) -> Learner:  # noqa: ARG002
        """What it passes off as its training."""
        return parts.learner

    def archive(self, parts: DeviceParts) -> Archive:
        """Where it puts its bytes."""
        return parts.archive

    def device(self, parts: DeviceParts, context: AttackContext) -> Device:
        """The device that carries the attack out."""
        return replace(parts, learner=self.learner(parts, context), archive=self.archive(parts)).device()


@dataclass(frozen=True)
class MinerAttack:
    """A miner that misbehaves."""

    PAPER: ClassVar[str] = ""

    def verifier(self, parts: MinerParts, context: AttackContext) -> Verifier:  # noqa: ARG002
        """Where its verdicts come from."""
        return parts.verifier

    def miner(self, parts: MinerParts, context: AttackContext) -> Miner:
        """The miner that carries the attack out."""
        return replace(parts, verifier=self.verifier(parts, context)).miner()


class Bent(ABC):
    """A learner whose training somebody has bent; everything else is the honest one's."""

    def __init__(self, honest: Learner) -> None:
        self.honest = honest

    @property
    def samples(self) -> int:
        """Number of training samples held."""
        return self.honest.samples

    def train(self, model: Vector, round_: int) -> Trained:
        """The honest training, bent; raises ConfigError, and so sits out, if nothing finite comes of it."""
        trained = self.bend(model, round_)
        if not np.isfinite(trained.vector).all():
            raise ConfigError("the attack comes to numbers that are not finite: lower its parameters")
        return trained

    @abstractmethod
    def bend(self, model: Vector, round_: int) -> Trained:
        """What the device passes off as its training."""

    def evaluate(self, model: Vector) -> Evaluation:
        """As the honest learner does."""
        return self.honest.evaluate(model)

    def gradients(self, model: Vector, parts: int) -> Matrix:
        """As the honest learner does."""
        return self.honest.gradients(model, parts)


def moved(trained: Trained, model: Vector, delta: Floats) -> Trained:
    """The same training, with `model + delta` for its outcome."""
    with np.errstate(over="ignore"):
        return replace(trained, vector=(model + delta).astype(np.float32))


def delta_of(trained: Trained, model: Vector) -> Floats:
    """The update that a training comes to."""
    return trained.vector.astype(np.float64) - model
