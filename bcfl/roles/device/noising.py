"""Hide what a device learns from, as the terms say: noise in its training, or on its whole update.

Noise that others can compute hides nothing. It follows from a secret of the device and from all that it is
added to: a training that is repeated comes to the same update, which tells nothing new, and a training of
anything else draws other noise, so that nothing of two updates cancels out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bcfl.errors import ConfigError, PayloadError
from bcfl.ports import Allowance, Learner
from bcfl.protocol import fixedpoint, gaussian
from bcfl.protocol.fixedpoint import Lanes
from bcfl.protocol.gaussian import Stream
from bcfl.protocol.noise import MAX_DEVIATION, MAX_RADIUS, PARTICIPANT, SAMPLE, Noise
from bcfl.protocol.types import Terms

TRIES: Final = 16  # to keep a rounded vector within the bound before it is cut off instead
Reals = npt.NDArray[np.float64]  # (parameters,)


@dataclass(frozen=True)
class Noising:
    """The noise that a federation's terms ask of a device, what it is drawn from, and what may be spent."""

    noise: Noise | None
    secret: bytes
    allowance: Allowance | None = None  # None: nobody counts

    @property
    def hides_updates(self) -> bool:
        """Whether noise is added to whole updates."""
        return self.noise is not None and self.noise.level == PARTICIPANT

    def prepare(self, learner: Learner) -> None:
        """Give a learner that adds noise in its training the secret; raises ConfigError if it cannot."""
        if self.noise is None or self.noise.level != SAMPLE:
            return
        blind: Any = getattr(learner, "blind", None)
        if blind is None:
            raise ConfigError(
                "this federation hides each sample in noise, and this learner adds none: it needs a method "
                "`blind(secret)`, as the learner of a torch task has"
            )
        blind(self.secret)

    def require(self, samples: int, terms: Terms) -> None:
        """Raise ConfigError where one update more goes beyond the budget, or its noise cannot be told."""
        self.check(samples, terms)
        if self.noise is not None and self.allowance is not None:
            self.allowance.require(self.noise.release(samples))

    def check(self, samples: int, terms: Terms) -> None:
        """Raise ConfigError where no update of so many samples can have the noise that the terms say."""
        if self.noise is None:
            return
        if self.noise.level == SAMPLE and samples > terms.max_samples:
            raise ConfigError(
                f"with noise a device claims every sample that it trains on, of which it has {samples:,} and "
                f"may claim {terms.max_samples:,}: train on fewer, or deploy with a higher --max-samples"
            )
        if self.noise.level == PARTICIPANT:
            scale = Fraction(2) ** (terms.scale_bits - terms.shift)
            if max(self.noise.deviation / MAX_DEVIATION, Fraction(self.noise.clip) / MAX_RADIUS) * scale > 1:
                raise ConfigError(
                    f"{self.noise.text} is more than whole numbers of a lane hold: this federation cannot "
                    "hide updates; leave it, and tell its owner to lower noise and clip"
                )

    def spend(self, samples: int, key: str) -> None:
        """Count an update that is about to be given away, once; raises ConfigError beyond the budget."""
        if self.noise is not None and self.allowance is not None:
            self.allowance.spend(key, self.noise.release(samples))

    def lanes(self, change: Reals, terms: Terms, round_: int, model: bytes) -> Lanes:
        """Return an update of level PARTICIPANT, (parameters,): shortened, rounded, and with noise.

        `change` is what was learnt from the model with the root `model`, (parameters,). No residual is kept:
        it would tell what the noise hides. Two models of a round, as after a reorganisation, have two noises:
        else equal updates would tell, for nothing, that the same was learnt from both.
        """
        if self.noise is None:
            raise ConfigError("this federation's terms name no noise")
        bits = terms.scale_bits - terms.shift
        whole = clipped(change, Fraction(self.noise.clip), bits)
        parts = (b"update", self.secret, round_.to_bytes(8, "big"), model, self.noise.text.encode())
        stream = Stream(*parts, str(bits).encode(), sha256(whole.tobytes()).digest())
        deviation = math.ceil(self.noise.deviation * Fraction(2) ** bits)
        noisy = whole + gaussian.discrete_gaussian(stream, deviation, len(whole))
        return fixedpoint.saturate(noisy, terms.lane_bits)


def clipped(change: Reals, clip: Fraction, bits: int) -> npt.NDArray[np.int64]:
    """Return a vector in steps of `2**-bits`, (parameters,), no longer than `clip` by exact arithmetic.

    Raises PayloadError if a value is not finite.
    """
    units = change * 2.0**bits
    norm = float(np.linalg.norm(units))
    if not math.isfinite(norm):
        raise PayloadError("the vector holds a value that is not finite: training diverged")
    radius = clip * Fraction(2) ** bits
    bound = math.floor(radius**2)
    start = factor = min(1.0, float(radius) / max(norm, 1e-30))
    for _ in range(TRIES):
        whole = np.rint(units * factor).astype(np.int64)
        total = int(whole @ whole)  # below 2**62: the terms bound the radius
        if total <= bound:
            return whole
        factor *= math.sqrt(bound / total) * (1 - 2.0**-20)
    return np.trunc(units * start * (1 - 2.0**-20)).astype(np.int64)
