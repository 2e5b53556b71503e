"""Share the training data out among devices, with held-out shares for miners.

The names are Flower's: `iid`, `dirichlet`, `pathological`. Pure numpy, deterministic in the seed; every
sample goes to exactly one party.
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
    """The samples of every party; no sample is in two places."""

    devices: tuple[Samples, ...]
    miners: tuple[Samples, ...]  # held out: no device trains on them
    test: Samples

    @property
    def classes(self) -> int:
        """Return how many classes devices and test data have; of other labels how many strata."""
        return 1 + max(int(part.strata.max(initial=0)) for part in (*self.devices, self.test))


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
        samples, parties = f"{cut} sample{'s' * (cut != 1)}", f"{miners} miner{'s' * (miners != 1)}"
        raise ConfigError(
            f"{samples} held out for {parties}, a share of {held_out:g} of {len(order)} training samples, "
            "and each needs one to judge by: take fewer miners, or more data"
        )
    rest = order[cut:]
    kinds = _kinds(dataset.train, rest)
    parts = partition(partition_by, kinds, devices, seed, alpha=alpha, classes=classes)
    shares = np.array_split(order[:cut], miners) if miners else []
    return Split(
        devices=tuple(dataset.train.take(rest[part]) for part in parts),
        miners=tuple(dataset.train.take(share) for share in shares),
        test=dataset.test,
    )


def _kinds(samples: Samples, places: Indices) -> Labels:
    """Return by what the samples at `places` are shared out: their group, else their class."""
    if samples.groups is not None:
        return samples.groups[places]
    return samples.labels[places] if samples.has_classes else samples.take(places).strata


def partition(
    name: str, labels: Labels, parts: int, seed: int, *, alpha: float = 0.5, classes: int = 2
) -> list[Indices]:
    """Return indices into `labels`, (samples,), for each of `parts` devices; each index is in one of them.

    Each part is shuffled. `alpha` counts for `dirichlet`, `classes` (per device) for `pathological`. Raises
    ConfigError for an unknown name and for what cannot be done.
    """
    rules: dict[str, Callable[[np.random.Generator], list[Indices]]] = {
        "iid": lambda rng: iid(labels, parts, rng),
        "dirichlet": lambda rng: dirichlet(labels, parts, alpha, rng),
        "pathological": lambda rng: pathological(labels, parts, classes, rng),
    }
    if name not in rules:
        matches = get_close_matches(name, rules, n=1)
        hint = f"did you mean {matches[0]}?" if matches else f"known: {', '.join(rules)}"
        raise ConfigError(f"unknown partition {name!r}: {hint}")
    if not 1 <= parts <= len(labels):
        raise ConfigError(f"{len(labels)} training samples cannot be shared among {parts} devices")
    rng = np.random.default_rng([seed, 1])
    return [rng.permutation(part).astype(np.int64) for part in rules[name](rng)]


def iid(labels: Labels, parts: int, rng: np.random.Generator) -> list[Indices]:
    """Return equal shares (to one sample) drawn at random: indices into `labels`, (samples,)."""
    return np.array_split(rng.permutation(len(labels)).astype(np.int64), parts)


def dirichlet(labels: Labels, parts: int, alpha: float, rng: np.random.Generator) -> list[Indices]:
    """Share each class out in proportions drawn from Dirichlet(alpha); a small alpha means little in common.

    A device that already has more than the mean gets nothing of the classes that follow, and the draw is
    repeated until the smallest device has MIN_DIRICHLET_SIZE samples, or a quarter of the mean where that is
    fewer. Yurochkin et al. 2019, arXiv:1905.12022, as in Flower (which insists on the former). Raises
    ConfigError when no draw does.
    """
    if not (math.isfinite(alpha) and alpha > 0):
        raise ConfigError(f"alpha {alpha}: it must be above 0")
    smallest = max(1, min(MIN_DIRICHLET_SIZE, len(labels) // (4 * parts)))
    for _ in range(DIRICHLET_ATTEMPTS):
        shares = _dirichlet_draw(labels, parts, alpha, rng)
        if min(map(len, shares)) >= smallest:
            return shares
    raise ConfigError(
        f"no draw with alpha {alpha} gave each of {parts} devices at least {smallest} samples: "
        "raise alpha, take fewer devices or partition iid"
    )


def _dirichlet_draw(labels: Labels, parts: int, alpha: float, rng: np.random.Generator) -> list[Indices]:
    shares: list[list[Indices]] = [[] for _ in range(parts)]
    sizes = np.zeros(parts, dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        is_open = sizes <= len(labels) / parts
        proportions = np.nan_to_num(rng.dirichlet(np.full(parts, alpha))) * is_open
        if proportions.sum() == 0:  # a tiny alpha gives all to one device: let it be one that has not enough
            proportions[rng.choice(np.flatnonzero(is_open))] = 1
        cuts = (np.cumsum(proportions / proportions.sum()) * len(members)).astype(np.int64)[:-1]
        for share, piece in zip(shares, np.split(members, cuts), strict=True):
            share.append(piece)
        sizes = np.array([sum(map(len, share)) for share in shares])
    return [np.concatenate(share) for share in shares]


def pathological(labels: Labels, parts: int, classes: int, rng: np.random.Generator) -> list[Indices]:
    """Give each device exactly `classes` classes, and each class as many devices as any other (to one).

    Li et al. 2022, arXiv:2102.02079. Flower draws the classes freely and drops those that nobody drew; here
    they are dealt out evenly, so that no sample is lost.
    """
    all_classes = np.unique(labels)
    count = len(all_classes)
    if not 1 <= classes <= count:
        raise ConfigError(f"{classes} classes per device: the training data has {count} classes")
    if parts * classes < count:
        raise ConfigError(
            f"{parts} devices of {classes} classes cannot hold all {count}: raise the classes per device"
        )
    holders = _deal_classes(count, parts, classes, rng)
    shares: list[list[Indices]] = [[] for _ in range(parts)]
    for label, devices in zip(all_classes, holders, strict=True):
        members = rng.permutation(np.flatnonzero(labels == label))
        if len(members) < len(devices):
            raise ConfigError(
                f"class {label} has {len(members)} samples for {len(devices)} devices: take fewer devices"
            )
        for device, piece in zip(devices, np.array_split(members, len(devices)), strict=True):
            shares[device].append(piece)
    return [np.concatenate(share) for share in shares]


def _deal_classes(count: int, parts: int, classes: int, rng: np.random.Generator) -> list[list[int]]:
    """Return the devices of each of `count` classes; a device takes the `classes` with most places free."""
    places = np.full(count, parts * classes // count)
    places[rng.permutation(count)[: parts * classes % count]] += 1
    holders: list[list[int]] = [[] for _ in range(count)]
    for device in range(parts):
        ties = rng.random(count)
        for label in np.lexsort((ties, -places))[:classes]:
            places[label] -= 1
            holders[label].append(device)
    return holders
