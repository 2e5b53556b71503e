"""Play federations in which nobody attacks, and count the honest updates that are rejected, rule by rule."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bcfl.config import Config
from bcfl.federation.genesis import set_exponents
from bcfl.learning import Samples, Split, Task, split
from bcfl.learning.tasks import BUILT_IN
from bcfl.roles.common import norm_bound
from testkit.brought import BROUGHT
from testkit.chainless import Chainless, RoundOutcome

EVEN, SKEWED = "even", "Dirichlet 0.5"
PARTITIONS: dict[str, dict[str, Any]] = {
    EVEN: {"partition": "iid"},
    SKEWED: {"partition": "dirichlet", "alpha": 0.5},
}
TASKS = {name: BUILT_IN[name] for name in ("digits", "breast-cancer")} | {
    name: brought.task for name, brought in BROUGHT.items()
}
SMALL_PARTIES, TIMES = 5, 10  # beside a large one, and how many times as many samples as each that has
MINERS = 3


@dataclass
class Tally:
    """What became of the updates of a federation, or of several."""

    sent: int = 0
    rejected: Counter[int] = field(default_factory=Counter)  # by device
    rules: Counter[str] = field(default_factory=Counter)  # the one that most miners named, of each rejected
    accuracy: list[float | None] = field(default_factory=list)  # after the last round, of each federation

    def __add__(self, other: Tally) -> Tally:
        """Return both together."""
        return Tally(
            self.sent + other.sent,
            self.rejected + other.rejected,
            self.rules + other.rules,
            self.accuracy + other.accuracy,
        )


def shared(task: Task, devices: int, partition: str, seed: int, rounds: int = 10) -> Chainless:
    """Return a federation whose devices share a task's data by an entry of PARTITIONS."""
    config = Config(devices=devices, miners=MINERS, rounds=rounds, seed=seed, **PARTITIONS[partition])
    whole = split(task.dataset(), devices, MINERS, config.partition, seed, alpha=config.alpha)
    return federation(config, task, whole)


def with_a_large_party(task: Task, seed: int, rounds: int = 10) -> Chainless:
    """Return a federation in which device 0 has TIMES the samples of each of SMALL_PARTIES others."""
    whole = split(task.dataset(), SMALL_PARTIES + TIMES, MINERS, "iid", seed)
    parts, small = whole.devices[:TIMES], whole.devices[TIMES:]
    large = Samples(
        np.concatenate([each.features for each in parts]), np.concatenate([each.labels for each in parts])
    )
    config = Config(
        devices=SMALL_PARTIES + 1, miners=MINERS, rounds=rounds, seed=seed, partition="iid",
        max_samples=len(large),
    )  # fmt: skip
    return federation(config, task, replace(whole, devices=(large, *small)))


def federation(config: Config, task: Task, shares: Split) -> Chainless:
    """Return a federation of a task and its shares."""
    fitted = set_exponents(config, task, max(shares.devices, key=len))
    return Chainless.create(config, (fitted, shares))


def keep_to(parties: Chainless, references: float) -> None:
    """Let all devices shorten their updates to so many reference norms."""
    for device in parties.devices:
        device.trainer.bound = norm_bound.multiple(references)


def play(parties: Chainless) -> Tally:
    """Play all rounds."""
    tally, outcome = Tally(), None
    for _ in range(parties.config.rounds):
        outcome = parties.play_round()
        tally.sent += len(outcome.accepted) + len(outcome.rejected)
        tally.rejected.update(outcome.rejected.keys())
        tally.rules.update(_rules(parties, outcome))
    tally.accuracy.append(None if outcome is None else outcome.accuracy)
    return tally


def _rules(parties: Chainless, outcome: RoundOutcome) -> list[str]:
    """Return, of each rejected update, the rule that most miners named."""
    named: dict[int, Counter[str]] = {device: Counter() for device in outcome.rejected}
    for miner in parties.miners:
        for finding in miner.voting.verifier.findings:
            if finding.level is None and finding.device in named:
                named[finding.device][finding.rule] += 1
    return [rules.most_common(1)[0][0] for rules in named.values()]
