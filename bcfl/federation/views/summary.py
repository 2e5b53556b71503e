"""View a whole training at a glance: rounds, devices by rounds, votes, leaders, parties, costs, mistakes.

It is bounded: of more rounds or devices the latest rounds, and the first devices, are shown in full, and the
view says how many are left out. Amounts are in wei, times in seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypedDict

from bcfl.federation.reports import Adversary
from bcfl.federation.subject import Subject
from bcfl.federation.views.costs import CostsView, Prices, costs_view
from bcfl.federation.views.digests import Digests
from bcfl.federation.views.parties import DeviceSummary, MinerSummary, device_summaries, miner_summaries
from bcfl.federation.views.privacy import PrivacyView, privacy_view
from bcfl.federation.views.progress import RoundSummary, round_summaries
from bcfl.federation.views.votematrix import LEGEND, VoteMatrix, vote_matrix
from bcfl.protocol.types import Engine, Mode

MOST_ROUNDS: Final = 500
MOST_DEVICES: Final = 1_000
MOST_VOTES: Final = 250_000  # verdicts in all vote matrices


class TotalsView(TypedDict):
    """What it all came to; `metric` is the one that tables show first, None where nobody states any."""

    rounds: int
    finalized: int
    void: int
    running: int
    updates: int
    accepted: int
    rejected: int
    devices: int
    miners: int
    metric: str | None
    first_round: int
    left_out_rounds: int
    left_out_devices: int


class CheckView(TypedDict):
    """A command with which anybody can verify something."""

    what: str
    command: str


class VerifyView(TypedDict):
    """Where the training stands on chain, and how to check it."""

    contract: str
    chain_id: int
    block: int
    block_hash: str | None
    last_root: str
    checks: list[CheckView]


class AdversaryView(TypedDict):
    """Somebody whom the configuration made misbehave."""

    account: str
    role: str
    attack: str


class MistakesView(TypedDict):
    """What the checks got wrong, where it is known who misbehaves."""

    adversaries: list[AdversaryView]
    false_rejects: int
    false_accepts: int
    honest_updates: int
    hostile_updates: int


class Summary(TypedDict):
    """A training at a glance. `mistakes` is None where nobody knows who misbehaves.

    `privacy` is None where no noise hides what devices learn from.
    `unreachable` are miners whose statements could not be asked for.
    `legend` says what the letters of `devices[].codes` (one for each round of `rounds`) and of `votes` mean.
    """

    kind: str
    name: str
    options: dict[str, Any]
    mode: str
    engine: str
    started: int | None
    ended: int | None
    totals: TotalsView
    rounds: list[RoundSummary]
    devices: list[DeviceSummary]
    miners: list[MinerSummary]
    votes: list[VoteMatrix]
    legend: dict[str, str]
    unreachable: list[str]
    costs: CostsView
    privacy: PrivacyView | None
    mistakes: MistakesView | None
    verify: VerifyView


def summary(
    subject: Subject,
    prices: Prices | None = None,
    *,
    most_rounds: int = MOST_ROUNDS,
    most_devices: int = MOST_DEVICES,
    most_votes: int = MOST_VOTES,
    digests: Digests | None = None,
) -> Summary:
    """Return a training at a glance; `prices` are what gas and ether cost, as the reader states them.

    `digests` keep what was read of its rounds from one summary to the next.
    """
    history, digests = subject.history, digests or Digests()
    digests.follow(history, subject.events, subject.terms)
    numbers = [number for number in sorted(history.rounds) if history.rounds[number].commits or number == 1]
    numbers = [number for number in numbers if number > numbers[-1] - most_rounds]
    shown = [history.rounds[number] for number in numbers]
    hostile = {item.account: item.attack for item in subject.adversaries or ()}
    rounds = round_summaries(subject, shown, digests, hostile)
    devices = device_summaries(subject, shown, digests, hostile, most_devices)
    opened = [round_.opened for round_ in history.rounds.values()]
    closed = [round_.closed for round_ in history.rounds.values() if round_.closed is not None]
    return {
        "kind": subject.kind,
        "name": subject.name,
        "options": dict(subject.options),
        "mode": Mode(subject.terms.mode).name.lower(),
        "engine": Engine(subject.terms.engine).name.lower(),
        "started": min(opened, default=None),
        "ended": max(closed, default=None),
        "totals": _totals(subject, rounds, digests, len(devices)),
        "rounds": rounds,
        "devices": devices,
        "miners": miner_summaries(subject, shown, digests, hostile),
        "votes": _votes(subject, numbers, most_votes),
        "legend": LEGEND,
        "unreachable": list(subject.unreachable),
        "costs": costs_view(rounds, prices),
        "privacy": privacy_view(subject.noise, subject.terms, history.rounds.values()),
        "mistakes": None if subject.adversaries is None else _mistakes(subject.adversaries, rounds),
        "verify": _verify(subject),
    }


def _totals(subject: Subject, rounds: Sequence[RoundSummary], digests: Digests, devices: int) -> TotalsView:
    history = subject.history
    every = [round_ for round_ in history.rounds.values() if round_.commits or round_.number == 1]
    statuses = [round_.status for round_ in every]
    read = [digests.of(round_.number) for round_ in every]
    names = dict.fromkeys(name for item in rounds if item["figure"] for name in item["figure"]["metrics"])
    return {
        "rounds": len(every),
        "finalized": statuses.count("finalized"),
        "void": statuses.count("void"),
        "running": statuses.count("running"),
        "updates": sum(len(round_.submissions) for round_ in every),
        "accepted": sum(item.accepted for item in read),
        "rejected": sum(item.rejected for item in read),
        "devices": len(history.devices),
        "miners": len(history.miners),
        "metric": next(iter(names), None),
        "first_round": rounds[0]["round"] if rounds else 0,
        "left_out_rounds": len(every) - len(rounds),
        "left_out_devices": len(history.devices) - devices,
    }


def _votes(subject: Subject, numbers: Sequence[int], most: int) -> list[VoteMatrix]:
    """Return the vote matrices of the latest rounds, until there are so many verdicts."""
    matrices, count = list[VoteMatrix](), 0
    for number in reversed(numbers):
        round_ = subject.history.rounds[number]
        count += len(round_.submissions) * (1 + len(round_.votes))
        if count > most:
            break
        if round_.submissions:
            matrices.insert(0, vote_matrix(round_))
    return matrices


def _mistakes(adversaries: Sequence[Adversary], rounds: Sequence[RoundSummary]) -> MistakesView:
    return {
        "adversaries": [
            {"account": item.account, "role": item.role, "attack": item.attack} for item in adversaries
        ],
        "false_rejects": sum(item["false_rejects"] or 0 for item in rounds),
        "false_accepts": sum(item["false_accepts"] or 0 for item in rounds),
        "honest_updates": sum(item["submitted"] - (item["hostile"] or 0) for item in rounds),
        "hostile_updates": sum(item["hostile"] or 0 for item in rounds),
    }


def _verify(subject: Subject) -> VerifyView:
    return {
        "contract": subject.contract,
        "chain_id": subject.chain_id,
        "block": subject.block,
        "block_hash": subject.block_hash,
        "last_root": "0x" + subject.history.head.root.hex(),
        "checks": [{"what": what, "command": command} for what, command in subject.checks],
    }
