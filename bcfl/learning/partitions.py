"""How the training data is shared out before step 2: among devices, and held-out shares for miners.

The names are Flower's: `iid`, `dirichlet`, `pathological`. Pure numpy, deterministic in the seed; every
sample goes to exactly one device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from bcfl.errors import ConfigError
from bcfl.learning.datasets import Dataset, Indices, Labels, Samples

HELD_OUT_SHARE = 0.15  # of the training data, shared among the miners
MIN_DIRICHLET_SIZE = 10  # samples of the smallest device, as in Flower's DirichletPartitioner
DIRICHLET_ATTEMPTS = 1000


@dataclass(frozen=True, eq=False)
class Split:
    """Who holds what; no sample is in two places."""

    devices: tuple[Samples, ...]
    miners: tuple[Samples, ...]
    test: Samples


def split(
    dataset: Dataset,
    devices: int,
    miners: int,
    partition_by: str = "iid",
    seed: int = 0,
    *,
    alpha: float = 0.5,
    classes: int = 2,
    held_out: float = HELD_OUT_SHARE,
) -> Split:
    """Share out `dataset`: `held_out` of the training data among `miners`, iid, the rest among `devices`.

    Raises ConfigError when the data cannot be shared out that way.
    """
    if devices < 1 or miners < 0:
        raise ConfigError(f"{devices} devices and {miners} miners: there must be at least one device")
    if not 0 <= held_out < 1:
        raise ConfigError(f"held-out share {held_out}: it must be at least 0 and below 1")
    order = np.random.default_rng([seed, 0]).permutation(len(dataset.train)).astype(np.int64)
    cut = round(len(order) * held_out) if miners else 0
    if cut < miners:
        raise ConfigError(f"{cut} held-out samples are too few for {miners} miners: take fewer miners")
    rest = dataset.train.take(order[cut:])
    parts = partition(partition_by, rest.labels, devices, seed, alpha=alpha, classes=classes)
    shares = np.array_split(order[:cut], miners) if miners else []
    return Split(
        devices=tuple(rest.take(part) for part in parts),
        miners=tuple(dataset.train.take(share) for share in shares),
        test=dataset.test,
    )


def partition(
    name: str, labels: Labels, parts: int, seed: int, *, alpha: float = 0.5, classes: int = 2
) -> list[Indices]:
    """Indices into `labels` for each of `parts` devices, shuffled; every index is in exactly one of them.

    `alpha` counts for `dirichlet`, `classes` (per device) for `pathological`. Raises ConfigError for an
    unknown name and for what cannot be done.
    """
    rules: dict[str, Callable[[np.random.Generator], list[Indices]]] = {
        "iid": lambda rng: iid(labels, parts, rng),
        "dirichlet": lambda rng: dirichlet(labels, parts, alpha, rng),
        "pathological": lambda rng: pathological(labels, parts, classes, rng),
    }
    if name not in rules:
        near = get_close_matches(name, rules, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(rules)}"
        raise ConfigError(f"unknown partition {name!r}: {hint}")
    if not 1 <= parts <= len(labels):
        raise ConfigError(f"{len(labels)} training samples cannot be shared among {parts} devices")
    rng = np.random.default_rng([seed, 1])
    return [rng.permutation(part).astype(np.int64) for part in rules[name](rng)]


def iid(labels: Labels, parts: int, rng: np.random.Generator) -> list[Indices]:
    """Equal shares (to one sample) drawn at random."""
    return np.array_split(rng.permutation(len(labels)).astype(np.int64), parts)


def dirichlet(labels: Labels, parts: int, alpha: float, rng: np.random.Generator) -> list[Indices]:
    """Each class shared out in proportions drawn from Dirichlet(alpha); a small alpha means little in common.

    A device that already has more than the mean gets nothing of the classes that follow, and the draw is
    repeated until the smallest device has MIN_DIRICHLET_SIZE samples, or a quarter of the mean where that is
    fewer. Yurochkin et al. 2019, arXiv:1905.12022, as in Flower (which insists on the former).
    """
    if not (math.isfinite(alpha) and alpha > 0):
        raise ConfigError(f"alpha {alpha}: it must be above 0")
    smallest = max(1, min(MIN_DIRICHLET_SIZE, len(labels) // (4 * parts)))
    for _ in range(DIRICHLET_ATTEMPTS):
        drawn = _dirichlet_draw(labels, parts, alpha, rng)
        if min(len(part) for part in drawn) >= smallest:
            return drawn
    raise ConfigError(
        f"no draw with alpha {alpha} gave each of {parts} devices at least {smallest} samples: "
        "raise alpha, take fewer devices or partition iid"
    )


def _dirichlet_draw(labels: Labels, parts: int, alpha: float, rng: np.random.Generator) -> list[Indices]:
    shares: list[list[Indices]] = [[] for _ in range(parts)]
    sizes = np.zeros(parts, dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        wanting = sizes <= len(labels) / parts
        proportions = np.nan_to_num(rng.dirichlet(np.full(parts, alpha))) * wanting
        if proportions.sum() == 0:  # a tiny alpha gives all to one device: let it be one that has not enough
            proportions[rng.choice(np.flatnonzero(wanting))] = 1
        cuts = (np.cumsum(proportions / proportions.sum()) * len(members)).astype(np.int64)[:-1]
        for share, piece in zip(shares, np.split(members, cuts), strict=True):
            share.append(piece)
        sizes = np.array([sum(map(len, share)) for share in shares])
    return [np.concatenate(share) for share in shares]


def pathological(labels: Labels, parts: int, classes: int, rng: np.random.Generator) -> list[Indices]:
    """Exactly `classes` classes per device, each class on as many devices as any other (to one).

    Li et al. 2022, arXiv:2102.02079. Flower draws the classes freely and drops those that nobody drew; here
    they are dealt out evenly, so that no sample is lost.
    """
    known = np.unique(labels)
    if not 1 <= classes <= len(known):
        raise ConfigError(f"{classes} classes per device: the training data has {len(known)} classes")
    if parts * classes < len(known):
        raise ConfigError(
            f"{parts} devices of {classes} classes cannot hold all {len(known)}: raise the classes per device"
        )
    holders = _deal_classes(len(known), parts, classes, rng)
    shares: list[list[Indices]] = [[] for _ in range(parts)]
    for label, devices in zip(known, holders, strict=True):
        members = rng.permutation(np.flatnonzero(labels == label))
        if len(members) < len(devices):
            raise ConfigError(
                f"class {label} has {len(members)} samples for {len(devices)} devices: take fewer devices"
            )
        for device, piece in zip(devices, np.array_split(members, len(devices)), strict=True):
            shares[device].append(piece)
    return [np.concatenate(share) for share in shares]


def _deal_classes(known: int, parts: int, classes: int, rng: np.random.Generator) -> list[list[int]]:
    """For each class the devices that hold it: every device takes the `classes` that most are left of."""
    left = np.full(known, parts * classes // known)
    left[rng.permutation(known)[: parts * classes % known]] += 1
    holders: list[list[int]] = [[] for _ in range(known)]
    for device in range(parts):
        ties = rng.random(known)
        for label in np.lexsort((ties, -left))[:classes]:
            left[label] -= 1
            holders[label].append(device)
    return holders
