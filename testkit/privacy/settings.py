"""Say what each adversary gets of a round, as bytes and vectors; `observe` is the one place that decides it.

A round is played as bcfl does: trained by its learner, rounded to its lanes, encoded as its payload, summed
by its aggregation. An adversary is

    outsider    has the chain and the store
    miner       is verifier: it can read every update
    device      takes part with data of its own, and reads no update of others where these are sealed
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from bcfl.learning import Samples, Task
from bcfl.learning.exponents import Numbers, with_exponents
from bcfl.learning.flat import scale_of
from bcfl.learning.training import TorchLearner, initial_model, layout
from bcfl.ports import Vector
from bcfl.protocol import aggregation, fixedpoint, payload
from bcfl.protocol.accounts import Account
from bcfl.protocol.fixedpoint import Lanes
from bcfl.protocol.hashing import keccak
from bcfl.protocol.sealing import ReaderKey, Seal, seal_update
from bcfl.protocol.submissions import Domain
from testkit.privacy import dp

ADVERSARIES = ("outsider", "miner", "device")
UPDATE, CIPHERTEXT, GLOBAL_MODELS = "update", "ciphertext", "global models"
DEFAULTS = Numbers(lane_bits=16, scale_bits=24, shift=10)  # of `bcfl run`
READERS = 5  # miners that a payload is sealed for
Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """How devices publish: in the clear or sealed to the miners, with noise in training or without."""

    name: str
    is_sealed: bool = False
    multiplier: float | None = None  # of DP-SGD's noise; None: no DP


PUBLIC, CONFIDENTIAL = Setting("public"), Setting("confidential", is_sealed=True)
DP_SETTINGS = tuple(Setting(f"DP, noise {noise}", multiplier=noise) for noise in (0.5, 1.1, 2.0))


@dataclass(frozen=True, eq=False)
class Round:
    """One round: the model before and after it, and what every device has put on the store."""

    task: Task
    numbers: Numbers
    before: Vector  # (parameters,)
    after: Vector  # (parameters,)
    payloads: tuple[bytes, ...]
    samples: tuple[int, ...]  # that devices claim on chain
    setting: Setting


@dataclass(frozen=True, eq=False)
class Observation:
    """What an adversary takes for the change of a model, and what it knows of how that came about."""

    task: Task
    before: Reals  # (parameters,), values of the module
    delta: Reals  # (parameters,), the same
    samples: int  # behind the change
    steps: int  # of SGD that a device made
    step: float  # that one lane is worth: the change is right to half of it
    multiplier: float | None
    source: str

    @property
    def noise(self) -> float:
        """Return the standard deviation of what lanes and DP add to each entry of the change."""
        rounding = self.step**2 / 12
        if self.multiplier is None:
            return float(np.sqrt(rounding))
        lot = min(self.samples, self.task.batch_size)
        noise = self.multiplier * dp.CLIP_NORM * self.task.learning_rate / lot
        return float(np.sqrt(rounding + self.steps * noise**2))


def genesis(task: Task, seed: int, numbers: Numbers = DEFAULTS) -> tuple[Task, Vector]:
    """Return the task with a federation's exponents, and its first model as lanes hold it, (parameters,)."""
    share = task.dataset().train
    fitted = with_exponents(task, numbers, seed, share.take(np.arange(min(512, len(share)))))
    model = initial_model(fitted, seed)
    return fitted, fixedpoint.decode(fixedpoint.encode(model, numbers.scale_bits), numbers.scale_bits)


def play(
    task: Task,
    before: Vector,
    shares: Sequence[Samples],
    setting: Setting = PUBLIC,
    numbers: Numbers = DEFAULTS,
    seed: int = 0,
) -> Round:
    """Play one round in which every share is a device's."""
    tensors, bits = layout(task), numbers.scale_bits
    updates: list[Lanes] = []
    for index, share in enumerate(shares):
        if setting.multiplier is None:
            vector = TorchLearner(task, share, None, seed + index).train(before, 1).vector
        else:
            vector = dp.train(task, before, share, setting.multiplier, seed + index)
        delta = vector.astype(np.float64) - before
        updates.append(fixedpoint.encode_update(delta, None, numbers.lane_bits, bits, numbers.shift)[0])
    sizes = tuple(map(len, shares))
    change = aggregation.mean(updates, sizes, numbers.shift)
    lanes = fixedpoint.saturate(fixedpoint.encode(before, bits).astype(np.int64) + change)
    encoded = tuple(payload.encode(tensors, update) for update in updates)
    return Round(task, numbers, before, fixedpoint.decode(lanes, bits), encoded, sizes, setting)


def sealed(data: bytes, seed: int) -> bytes:
    """Return a payload as a device, drawn from `seed`, puts it on the store, sealed for READERS miners."""
    domain = Domain(1, "0x" + "11" * 20)
    readers: list[bytes | None] = [
        ReaderKey.of(Account.derive(seed, "miner", index), domain).public for index in range(READERS)
    ]
    device = Account.derive(seed, "device")
    return seal_update(data, Seal(domain, 1, 0, keccak(data)), device, readers)


def observe(adversary: str, played: Round, victim: int = 0) -> tuple[Observation, ...]:
    """Return all that an adversary gets of the victim's update, by source.

    A device is the last of the round: it takes its own update out of the sum. Who holds the update itself has
    no use for the sum, which is the update and others; so it is left out there.
    """
    make = partial(_observation, played)
    if adversary == "miner" or not played.setting.is_sealed:
        return (make(_lanes(played, played.payloads[victim]), played.samples[victim], UPDATE),)
    total = sum(played.samples)
    change = (played.after.astype(np.float64) - played.before) * total
    cipher = sealed(played.payloads[victim], zlib.crc32(played.payloads[victim]))
    guess = make(as_lanes(cipher, len(played.before), played.numbers), played.samples[victim], CIPHERTEXT)
    if adversary == "outsider":
        return guess, make(change / total, total, GLOBAL_MODELS)
    own = played.samples[-1]
    if own == total:
        return (guess,)
    others = change - own * _lanes(played, played.payloads[-1])
    return guess, make(others / (total - own), total - own, GLOBAL_MODELS)


def _observation(played: Round, delta: Reals, samples: int, source: str) -> Observation:
    scale = scale_of(layout(played.task))
    factor = 1.0 if scale is None else scale.astype(np.float64)
    step, noise = played.numbers.step, played.setting.multiplier
    before = played.before.astype(np.float64) * factor
    task, own = played.task, max(played.samples)
    steps = task.epochs * max(1, -(-own // task.batch_size))
    return Observation(task, before, delta * factor, samples, steps, step, noise, source)


def _lanes(played: Round, data: bytes) -> Reals:
    """Return the change that a payload holds, (parameters,), in the vector's units."""
    numbers = played.numbers
    lanes = payload.decode(data, layout(played.task), numbers.lane_bits)
    return fixedpoint.decode_update(lanes, numbers.scale_bits, numbers.shift).astype(np.float64)


def as_lanes(data: bytes, parameters: int, numbers: Numbers) -> Reals:
    """Return bytes read as though they were lanes, (parameters,): the last ones, where a payload has them."""
    dtype = fixedpoint.lane_dtype(numbers.lane_bits).newbyteorder("<")
    return np.frombuffer(data[-parameters * dtype.itemsize :], dtype).astype(np.float64) * numbers.step
