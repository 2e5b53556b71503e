"""View what updates have told of the data of devices: epsilon, from the terms and the claims on chain.

Two figures. `epsilon` is against who sees each update of a device: everybody, or where updates are
confidential the miners. `aggregate_epsilon` is against who sees the models alone, where whole updates are
hidden and their mean is taken: the noise of all devices adds up in it, if all of them add theirs.

Whole numbers add up to a discrete Gaussian only where their noise is wide for their weights: of 237 a + 239 b
one reads both a and b. With noise z on n devices and weights w, the sum of w z is as the Gaussian of its
deviation but for 1e-15 where the deviation of z is above LENGTHS times the length of n - 1 independent whole
vectors at right angles to w (Gentry, Peikert, Vaikuntanathan 2008, lemma 3.1; Micciancio, Regev 2004, lemma
3.3). For each other device there is such a vector of two entries. A device for which it is too long counts as
one that adds no noise: what it adds is independent, so it takes nothing away.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from statistics import median
from typing import TypedDict

import numpy as np

from bcfl.errors import ConfigError
from bcfl.federation.accountant import Spent, total
from bcfl.protocol.noise import LEAST_STEPS, PARTICIPANT, Noise, Release
from bcfl.protocol.rounds import Round
from bcfl.protocol.types import Layout, Rule, Terms

GRAIN = 2**20  # of a ratio of noise, rounded down
DIGITS = 4  # of an epsilon that is shown
LENGTHS = Fraction(8, 5)  # sqrt(log(2n (1 + 1e15)) / 2) / pi for n up to 2**20
MOST_RATES = 256  # that are told exactly: each takes up to 0.1 s, and a device may claim what it likes
RATE_BITS = 6  # of the others, rounded up by a part in 32 at most
ROOM = 9  # deviations of noise that lanes hold beyond the clip: what is cut off does not add up


class PrivacyView(TypedDict):
    """The terms of noise, and what updates told: of one device, or the most of any.

    Epsilons hold with `delta`; `aggregate_epsilon` is None where no such figure is known.
    """

    terms: str
    level: str
    noise: str
    clip: str
    delta: str
    epsilon: float
    aggregate_epsilon: float | None


@dataclass(frozen=True)
class PrivacyReport:
    """What the updates of a run told, by the address of the device; `median` of the devices."""

    terms: str
    level: str
    delta: str
    epsilon: float
    median: float
    aggregate_epsilon: float | None
    devices: dict[str, float] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """Return it in words."""
        words = f"epsilon {self.epsilon:.3g} at most, {self.median:.3g} in the median, delta {self.delta}"
        if self.aggregate_epsilon is not None:
            words += f"; {self.aggregate_epsilon:.3g} to who sees the models alone"
        return f"{words} ({self.terms})"


def noise_in(layout: Layout | None) -> Noise | None:
    """Return the noise of a layout; None where there is none, or none that this version knows."""
    with suppress(ConfigError):
        return None if layout is None else Noise.of(layout)
    return None


def releases(noise: Noise, rounds: Iterable[Round]) -> Iterator[tuple[int, int, Release]]:
    """Yield round, device and release of every update that was revealed, accepted or not.

    Where there are more than MOST_RATES rates, they tell a little more than they did.
    """
    items = [(round_.number, item.update) for round_ in rounds for item in round_.submissions]
    known = {samples: noise.release(samples) for samples in {update.samples for _, update in items}}
    if len({release.rate for release in known.values()}) > MOST_RATES:
        known = {samples: replace(each, rate=_rounded(each.rate)) for samples, each in known.items()}
    for number, update in items:
        yield number, update.device, known[update.samples]


def _rounded(rate: Fraction) -> Fraction:
    """Return a rate above 0 and up to 1 that is rounded up to RATE_BITS binary digits."""
    scale = 1 << (RATE_BITS - 1 + (rate.denominator // rate.numerator).bit_length())
    return Fraction(math.ceil(rate * scale), scale)


def epsilons(noise: Noise, rounds: Iterable[Round]) -> dict[int, float]:
    """Return what the updates of each device told, by its index."""
    by_device: dict[int, Counter[Release]] = {}
    for _, device, release in releases(noise, rounds):
        by_device.setdefault(device, Counter())[release] += 1
    delta, known = float(noise.delta), dict[frozenset[tuple[Release, int]], float]()
    result = {}
    for device, counts in by_device.items():
        key = frozenset(counts.items())
        if key not in known:
            known[key] = round(total(counts.elements()).epsilon(delta), DIGITS)
        result[device] = known[key]
    return result


def has_aggregate(noise: Noise, terms: Terms) -> bool:
    """Whether noise on whole updates adds up in the models: in their mean, and where lanes hold all of it."""
    scale = Fraction(2) ** (terms.scale_bits - terms.shift)
    deviation, clip = noise.deviation * scale, Fraction(noise.clip) * scale
    fits = deviation >= LEAST_STEPS and clip + ROOM * deviation < 2 ** (terms.lane_bits - 1)
    return noise.level == PARTICIPANT and terms.rule == Rule.MEAN and fits


def _times(own: int, weights: Mapping[int, int], deviation: Fraction) -> Fraction:
    """Return how many times the noise of a device of weight `own` all noise that adds to it is, rounded down.

    `weights` says how many devices have each; `deviation` is in steps of a lane.
    """
    others = np.array(list(weights), np.int64)
    common = np.maximum(np.gcd(others, own), 1)
    adds = (own // common) ** 2 + (others // common) ** 2 <= math.floor((deviation / LENGTHS) ** 2)
    squares = sum(weights[weight] * weight**2 for weight in others[adds].tolist())
    return max(Fraction(1), Fraction(math.isqrt(squares * GRAIN**2 // max(1, own**2)), GRAIN))


def aggregate_epsilons(noise: Noise, terms: Terms, rounds: Iterable[Round]) -> dict[int, float]:
    """Return what the models told of each device, if all devices that they are made of add their noise.

    Empty where `has_aggregate` says no.
    """
    if not has_aggregate(noise, terms):
        return {}
    deviation = noise.deviation * Fraction(2) ** (terms.scale_bits - terms.shift)
    spent: dict[int, Spent] = {}
    for round_ in rounds:
        items = round_.accepted_submissions() if round_.accepted is not None else []
        weights = Counter(item.weight for item in items)
        factors = {weight: _times(weight, weights, deviation) for weight in weights}
        for item in items:
            times = factors[item.weight]
            own = noise.release(item.update.samples)
            release = Release(own.noise * times, own.rate, own.steps)
            spent[item.update.device] = spent.get(item.update.device, Spent()) + release
    delta = float(noise.delta)
    return {device: round(value.epsilon(delta), DIGITS) for device, value in spent.items()}


def by_round(noise: Noise, rounds: Iterable[Round], device: int) -> dict[int, float]:
    """Return what a device's updates up to each round told, by the rounds in which it revealed one."""
    spent, result = Spent(), {}
    for number, index, release in releases(noise, rounds):
        if index == device:
            spent = spent + release
            result[number] = round(spent.epsilon(float(noise.delta)), DIGITS)
    return result


def privacy_view(
    noise: Noise | None, terms: Terms, rounds: Iterable[Round], device: int | None = None
) -> PrivacyView | None:
    """Return what the updates of a device told, the most of any where None; None without noise."""
    if noise is None:
        return None
    rounds = list(rounds)
    own, aggregate = epsilons(noise, rounds), aggregate_epsilons(noise, terms, rounds)
    adds_up = has_aggregate(noise, terms)
    if device is not None:
        own = {device: own.get(device, 0.0)}
        aggregate = {device: aggregate.get(device, 0.0)}
    return {
        "terms": noise.text,
        "level": noise.level,
        "noise": noise.noise,
        "clip": noise.clip,
        "delta": noise.delta,
        "epsilon": max(own.values(), default=0.0),
        "aggregate_epsilon": max(aggregate.values(), default=0.0) if adds_up else None,
    }


def privacy_report(
    noise: Noise | None, terms: Terms, rounds: Iterable[Round], devices: list[str]
) -> PrivacyReport | None:
    """Return what the updates of all devices told, by the addresses `devices`; None without noise."""
    rounds = list(rounds)
    view = privacy_view(noise, terms, rounds)
    if noise is None or view is None:
        return None
    own = epsilons(noise, rounds)
    values = {account: own.get(index, 0.0) for index, account in enumerate(devices)}
    middle = round(median(values.values()), DIGITS) if values else 0.0
    told = view["aggregate_epsilon"]
    return PrivacyReport(noise.text, noise.level, noise.delta, view["epsilon"], middle, told, values)


def words_of(view: PrivacyView) -> str:
    """Return in words what updates told."""
    words = f"epsilon {view['epsilon']:.3g}, delta {view['delta']}"
    if view["aggregate_epsilon"] is not None:
        words += f"; epsilon {view['aggregate_epsilon']:.3g} to who sees the models alone"
    hidden = "each sample" if view["level"] != PARTICIPANT else "the whole update"
    return f"{words} (noise {view['noise']} of clip {view['clip']} on {hidden})"
