"""View the parties of a training: devices with their updates by round, miners with stake, work and money."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TypedDict

from bcfl.federation.subject import Subject
from bcfl.federation.views.privacy import epsilons
from bcfl.federation.views.votematrix import LEVEL_CODES, NONE, UNJUDGED, tally_codes
from bcfl.protocol.readers import without_key
from bcfl.protocol.rounds import Member, Round


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
    incomes: Mapping[str, int],
    hostile: Mapping[str, str],
    most: int,
) -> list[DeviceSummary]:
    """Return the first devices, so many at most, with a letter for each of the rounds and their `incomes`."""
    history = subject.history
    codes: dict[int, dict[int, str]] = defaultdict(dict)  # by device and round
    samples = Counter[int]()
    for round_ in rounds:
        for item, code in zip(round_.submissions, tally_codes(round_), strict=True):
            codes[item.update.device][round_.number] = code
            samples[item.update.device] += item.update.samples
    told = {} if subject.noise is None else epsilons(subject.noise, history.rounds.values())
    summaries: list[DeviceSummary] = []
    for index, account in enumerate(history.devices[:most]):
        row = "".join(codes[index].get(round_.number, NONE) for round_ in rounds)
        accepted = sum(row.count(level) for level in LEVEL_CODES)
        submitted = len(codes[index])
        summaries.append(
            {
                "index": index,
                "device": account,
                "state": "member" if history.is_device(account) else "left",
                "codes": row,
                "submitted": submitted,
                "accepted": accepted,
                "rejected": submitted - accepted - row.count(UNJUDGED),
                "samples": samples[index],
                "income": incomes.get(account, 0),
                "claimed": history.credited.get(account, 0),
                "epsilon": None if subject.noise is None else told.get(index, 0.0),
                "attack": hostile.get(account),
            }
        )
    return summaries


def miner_summaries(
    subject: Subject, rounds: Sequence[Round], incomes: Mapping[str, int], hostile: Mapping[str, str]
) -> list[MinerSummary]:
    """Return all miners, those that have left too, by index."""
    history = subject.history
    whole = sum(member.weight for member in history.miners.values())
    counts = _counts(rounds)
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


def _counts(rounds: Sequence[Round]) -> dict[str, Counter[str]]:
    """Count by kind and account what miners did."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for round_ in rounds:
        counts["turns"].update(election.leader for election in round_.elections)
        counts["led"].update([] if round_.block is None else [round_.block.leader])
        counts["skipped"].update(round_.skipped)
        counts["refuted"].update(leader for leader, _ in round_.refutations)
        counts["committed"].update(round_.vote_commits.keys())
        counts["voted"].update(vote.voter.account for vote in round_.votes)
        counts["attested"].update(round_.proposals[-1].attested if round_.proposals else ())
        counts["brought"].update(item.submitter for item in round_.submissions)
        for miner, amount in round_.penalties:
            counts["penalties"][miner] += amount
    return counts


def _state(member: Member) -> str:
    if member.exit_round:
        return "left"
    return "suspended" if member.suspended else "active"
