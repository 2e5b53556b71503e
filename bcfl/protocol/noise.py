"""Say how noise hides what devices learn from: part of a federation's layout, so of its terms.

A layout names level, noise and clip, and for noise in each step the batch and how many steps a round has:
`level=sample,noise=1.1,clip=1,batch=64,epochs=1`. From that and the samples that a device claims on chain
anybody knows what each of its updates is a release of. Numbers are decimal texts and whole numbers: two
parties that read the same text have the same terms.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from bcfl.errors import ConfigError
from bcfl.protocol.types import Layout

NOISE: Final = "noise"  # what a layout calls it
SAMPLE, PARTICIPANT = "sample", "participant"  # whom noise hides: a sample of a device, all that it has
DELTA: Final = "1e-5"  # for which epsilon is told, where nothing else is said
MAX_TEXT: Final = 64
MAX_DEVIATION: Final = 2**25  # of noise on whole updates, in steps of a lane
LEAST_STEPS: Final = 4  # of a lane: then noise that adds up is as good as noise of one device
MAX_RADIUS: Final = 2**30  # of the clip on whole updates, in steps of a lane
DECIMAL: Final = re.compile(r"(0|[1-9]\d{0,5})(?:\.(\d{1,6}))?", re.ASCII)
SMALL: Final = re.compile(r"([1-9])e-([3-9]|[1-9]\d)", re.ASCII)  # a delta of 0.9 would promise nothing
COUNT: Final = re.compile(r"[1-9]\d{0,6}", re.ASCII)
FIELDS: Final = {SAMPLE: ("level", "noise", "clip", "batch"), PARTICIPANT: ("level", "noise", "clip")}
STEPS: Final = ("epochs", "steps")  # of which a sample's noise has one
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Release:
    """What an update tells at most: so many steps, each with a share of the samples and so much noise.

    `noise` is the standard deviation in units of what one sample, or one participant, can change.
    """

    noise: Fraction
    rate: Fraction  # probability that a sample is in a step, above 0 and up to 1
    steps: int


@dataclass(frozen=True)
class Noise:
    """The terms of noise; texts are decimal numbers in their one spelling."""

    level: str  # SAMPLE or PARTICIPANT
    noise: str  # standard deviation in units of `clip`
    clip: str  # longest gradient of a sample, or longest update, in the units of the vector
    delta: str = DELTA
    batch: int = 0  # samples that a step has on average, of level SAMPLE
    epochs: int = 0  # passes over the samples in a round, or
    steps: int = 0  # steps in a round

    @property
    def text(self) -> str:
        """Return what a layout says."""
        parts = [("level", self.level), ("noise", self.noise), ("clip", self.clip)]
        if self.level == SAMPLE:
            parts.append(("batch", str(self.batch)))
            parts.append(("steps", str(self.steps)) if self.steps else ("epochs", str(self.epochs)))
        if self.delta != DELTA:
            parts.append(("delta", self.delta))
        return ",".join(f"{name}={value}" for name, value in parts)

    @property
    def deviation(self) -> Fraction:
        """Return the standard deviation of the noise on a sum of clipped vectors, in their units."""
        return Fraction(self.noise) * Fraction(self.clip)

    def steps_of(self, samples: int) -> int:
        """Return how many steps a round has for a device of so many samples."""
        return self.steps or self.epochs * -(-samples // self.batch)

    def release(self, samples: int) -> Release:
        """Return what an update of a device that claims so many samples is.

        A sample is there or not, which changes a sum by `clip` at most. All data of a participant are these
        or others, which changes an update by twice `clip`.
        """
        if self.level == PARTICIPANT:
            return Release(Fraction(self.noise) / 2, Fraction(1), 1)
        samples = max(1, samples)  # none tell no more than one
        rate = Fraction(min(self.batch, samples), samples)
        return Release(Fraction(self.noise), rate, self.steps_of(samples))

    @classmethod
    def of(cls, agreement: Layout | Pairs) -> Noise | None:
        """Return what a layout, or its pairs of name and value, says of noise; None where there is none.

        Raises ConfigError for what this version does not know, or writes otherwise.
        """
        pairs = agreement.agreement if isinstance(agreement, Layout) else agreement
        text = dict(pairs).get(NOISE)
        if text is None:
            return None
        noise = _parse(text)
        if noise is None or noise.text != text:
            raise ConfigError(f"this federation's noise is {text!r}: use the bcfl it was made with")
        return noise


def _parse(text: str) -> Noise | None:
    fields = [part.partition("=") for part in text.split(",")]
    values = {name: value for name, _, value in fields}
    level = values.get("level", "")
    needed = FIELDS.get(level)
    if needed is None or len(values) != len(fields) or len(text) > MAX_TEXT:
        return None
    counts = [name for name in STEPS if name in values]
    if set(values) - {"delta"} != {*needed, *counts} or len(counts) != (level == SAMPLE):
        return None
    numbers = [values[name] for name in ("batch", *counts) if name in values]
    if not all(COUNT.fullmatch(number) for number in numbers):
        return None
    if _decimal(values["noise"]) is None or _decimal(values["clip"]) is None:
        return None
    delta = values.get("delta", DELTA)
    if not SMALL.fullmatch(delta):
        return None
    whole = {name: int(values[name]) for name in ("batch", *counts) if name in values}
    return Noise(level, values["noise"], values["clip"], delta, **whole)


@dataclass(frozen=True)
class Budget:
    """What the owner of data lets all releases tell together; texts in their one spelling."""

    epsilon: str
    delta: str = DELTA

    @property
    def text(self) -> str:
        """Return it as an option has it."""
        return f"epsilon={self.epsilon},delta={self.delta}"


def budget_of_options(text: str) -> Budget:
    """Return what an option says, as `epsilon=8[,delta=1e-6]`; raises ConfigError for anything else."""
    fields = [part.strip().partition("=") for part in text.split(",")]
    values = {name.strip(): value.strip() for name, _, value in fields}
    epsilon, delta = _decimal(values.get("epsilon", ""), strict=False), values.get("delta", DELTA).lower()
    if epsilon is None or set(values) - {"epsilon", "delta"} or len(values) != len(fields):
        raise ConfigError("must be epsilon=X above 0, perhaps with ,delta=1e-6")
    if not SMALL.fullmatch(delta):
        raise ConfigError("delta is written as 1e-5: a digit, e-, and 3 to 99")
    return Budget(epsilon, delta)


def of_options(text: str) -> Noise:
    """Return what an option says, as `noise=1.1,clip=1[,level=participant][,delta=1e-6]`, without steps.

    Raises ConfigError that says how it is written.
    """
    fields = [part.strip().partition("=") for part in text.split(",")]
    values = {name.strip(): value.strip() for name, _, value in fields}
    unknown = sorted(set(values) - {"noise", "clip", "level", "delta"})
    if unknown or len(values) != len(fields) or not {"noise", "clip"} <= set(values):
        raise ConfigError("must be noise=X,clip=Y, perhaps with ,level=participant and ,delta=1e-6")
    level = values.get("level", SAMPLE)
    if level not in FIELDS:
        raise ConfigError(f"level is {SAMPLE} or {PARTICIPANT}, not {level[:20]!r}")
    noise, clip = _decimal(values["noise"], strict=False), _decimal(values["clip"], strict=False)
    if noise is None or clip is None:
        raise ConfigError("noise and clip are above 0 and below a million, with at most 6 decimals")
    delta = values.get("delta", DELTA).lower()
    if not SMALL.fullmatch(delta):
        raise ConfigError("delta is written as 1e-5: a digit, e-, and 3 to 99")
    return Noise(level, noise, clip, delta)


def with_steps(noise: Noise, batch: int, epochs: int, steps: int | None) -> Noise:
    """Return noise of level SAMPLE with the steps of a task's training; raises ConfigError if it is long."""
    whole = Noise(
        noise.level, noise.noise, noise.clip, noise.delta, batch, 0 if steps else epochs, steps or 0
    )
    if _parse(whole.text) is None:
        raise ConfigError(
            f"{whole.text} is more than {MAX_TEXT} letters, or a number of it is above 9,999,999: "
            "write noise and clip with fewer digits"
        )
    return whole


def joined(pairs: Iterable[tuple[str, str]], noise: Noise | None) -> Pairs:
    """Return what a layout agrees on with what it says of noise, sorted by name."""
    extra = () if noise is None else ((NOISE, noise.text),)
    return tuple(sorted((*pairs, *extra)))


def _decimal(text: str, *, strict: bool = True) -> str | None:
    """Return a number above 0 in its one spelling, without zeros at its end; None if it is none.

    Strictly, the text has to be that spelling.
    """
    match = DECIMAL.fullmatch(text)
    if match is None or not Fraction(text):
        return None
    part = (match[2] or "").rstrip("0")
    spelling = match[1] + (f".{part}" if part else "")
    return spelling if spelling == text or not strict else None
