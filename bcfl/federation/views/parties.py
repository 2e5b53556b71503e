"""View the parties of a training: devices with their updates by round, miners with stake, work and money."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, TypedDict

import numpy as np

from bcfl.federation.subject import Subject
from bcfl.federation.views.digests import Digests
from bcfl.federation.views.privacy import epsilons
from bcfl.federation.views.votematrix import LEVEL_CODES, NONE, UNJUDGED
from bcfl.protocol.readers import without_key
from bcfl.protocol.rounds import Member, Round

ACCEPTED_LETTERS: Final = [ord(level) for level in LEVEL_CODES]


class DeviceSummary(TypedDict):
    """A device: `codes` has a letter for each round that is shown, the row of the heat map.

    Counts are of these rounds; `income` and `claimed` of all, in all its roles. `attack`: what it was made
    to do, None where it is honest or nobody knows. `epsilon`: what all its updates told, None without noise.
    """

    index: int
    device: str
    state: str
    codes: str
    submitted: int
    accepted: int
    rejected: int
    samples: int
    income: int
    claimed: int
    epsilon: float | None
    attack: str | None


class MinerSummary(TypedDict):
    """A miner: `led` are the blocks that it led, `turns` the times that it was in turn.

    `share` is its part of the weight now. Counts and penalties are of the rounds that are shown.
    """

    index: int
    miner: str
    state: str
    endpoint: str | None
    stake: int
    weight: int
    share: float
    turns: int
    led: int
    skipped: int
    refuted: int
    voted: int
    unopened: int
    attested: int
    brought: int
    penalties: int
    income: int
    claimed: int
    attack: str | None


def device_summaries(
    subject: Subject,
    rounds: Sequence[Round],
    digests: Digests,
    hostile: Mapping[str, str],
    most: int,
) -> list[DeviceSummary]:
    """Return the first devices, so many at most, with a letter for each of the rounds."""
    history, incomes = subject.history, digests.incomes
    accounts = history.devices[:most]
    letters = digests.letters(rounds, len(accounts))
    submitted = (letters != ord(NONE)).sum(axis=0).tolist()
    accepted = np.isin(letters, ACCEPTED_LETTERS).sum(axis=0).tolist()
    unjudged = (letters == ord(UNJUDGED)).sum(axis=0).tolist()
    samples = _samples(rounds, digests, len(accounts))
    rows = np.ascontiguousarray(letters.T)  # (devices, rounds)
    told = {} if subject.noise is None else epsilons(subject.noise, history.rounds.values())
    return [
        {
            "index": index,
            "device": account,
            "state": "member" if history.is_device(account) else "left",
            "codes": rows[index].tobytes().decode("ascii"),
            "submitted": submitted[index],
            "accepted": accepted[index],
            "rejected": submitted[index] - accepted[index] - unjudged[index],
            "samples": samples[index],
            "income": incomes.get(account, 0),
            "claimed": history.credited.get(account, 0),
            "epsilon": None if subject.noise is None else told.get(index, 0.0),
            "attack": hostile.get(account),
        }
        for index, account in enumerate(accounts)
    ]


def _samples(rounds: Sequence[Round], digests: Digests, count: int) -> list[int]:
    """Return how many samples the first devices have claimed in some rounds."""
    sums = np.zeros(count, np.int64)
    for round_ in rounds:
        digest = digests.of(round_.number)
        is_listed = digest.devices < count
        np.add.at(sums, digest.devices[is_listed], digest.samples[is_listed])
    return [int(each) for each in sums]


def miner_summaries(
    subject: Subject, rounds: Sequence[Round], digests: Digests, hostile: Mapping[str, str]
) -> list[MinerSummary]:
    """Return all miners, those that have left too, by index."""
    history, incomes = subject.history, digests.incomes
    whole = sum(member.weight for member in history.miners.values())
    counts = _counts(rounds, digests)
    return [
        {
            "index": member.index,
            "miner": account,
            "state": _state(member),
            "endpoint": without_key(history.endpoints.get(account, "")) or None,
            "stake": member.stake,
            "weight": member.weight,
            "share": round(member.weight / max(whole, 1), 6),
            "turns": counts["turns"][account],
            "led": counts["led"][account],
            "skipped": counts["skipped"][account],
            "refuted": counts["refuted"][account],
            "voted": counts["voted"][account],
            "unopened": counts["committed"][account] - counts["voted"][account],
            "attested": counts["attested"][account],
            "brought": counts["brought"][account],
            "penalties": counts["penalties"][account],
            "income": incomes.get(account, 0),
            "claimed": history.credited.get(account, 0),
            "attack": hostile.get(account),
        }
        for account, member in sorted(history.miners.items(), key=lambda item: item[1].index)
    ]


def _counts(rounds: Sequence[Round], digests: Digests) -> dict[str, Counter[str]]:
    """Count by kind and account what miners did in some rounds."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for round_ in rounds:
        for kind, work in digests.of(round_.number).work.items():
            total = counts[kind]
            for account, count in work.items():
                total[account] += count
    return counts


def _state(member: Member) -> str:
    if member.exit_round:
        return "left"
    return "suspended" if member.suspended else "active"
