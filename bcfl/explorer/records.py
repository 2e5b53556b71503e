"""Gather what every party did in every round: the map of devices by rounds, and how miners served.

Rounds that have ended are read once: what was made of them is kept in the reader's cache.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from bcfl.federation.query import Query
from bcfl.federation.views.votes import level_of, tallied
from bcfl.pages.charts import code
from bcfl.protocol.rounds import Round

Cache = dict[Any, Any]


@dataclass(frozen=True)
class RoundRecord:
    """What one round says of the parties: a letter for each device that sent an update, and who did what."""

    number: int
    letters: dict[int, str]  # by device
    voters: frozenset[str]
    attesters: frozenset[str]
    leader: str | None
    skipped: tuple[str, ...]
    penalties: tuple[tuple[str, int], ...]


@dataclass
class MinerRecord:
    """What a miner did in all rounds; `penalty` is in wei."""

    voted: int = 0
    led: int = 0
    attested: int = 0
    skipped: int = 0
    penalty: int = 0


@dataclass(frozen=True)
class Records:
    """What all parties did in the rounds in which something happened."""

    rounds: list[RoundRecord]
    miners: dict[str, MinerRecord] = field(default_factory=dict)

    def row(self, device: int) -> str:
        """Return a device's letters, one a round; a dot where it sent no update."""
        return "".join(record.letters.get(device, ".") for record in self.rounds)


def records(query: Query, cache: Cache) -> Records:
    """Return what all parties did, in order; the same object while nothing happens."""
    key, events = "records", len(query.events)
    if key in cache and cache[key][0] == events:
        kept: Records = cache[key][1]
        return kept
    rounds = [_round_record(query, item, cache) for item in query.history.rounds.values() if _has_begun(item)]
    gathered = Records(rounds, _miners(query, rounds))
    cache[key] = events, gathered
    return gathered


def accepted_share(row: str) -> tuple[int, int]:
    """Return how many updates of a row of letters were sent, and how many accepted."""
    counts = Counter(row)
    return len(row) - counts["."], sum(counts[level] for level in "1234")


def _has_begun(round_: Round) -> bool:
    return bool(round_.commits) or round_.closed is not None


def _round_record(query: Query, round_: Round, cache: Cache) -> RoundRecord:
    key = ("record", round_.number)
    if key in cache:
        kept: RoundRecord = cache[key]
        return kept
    record = RoundRecord(
        round_.number,
        {
            item.update.device: code(tallied(round_, item.position), level_of(round_, item.position))
            for item in round_.submissions
        },
        frozenset(vote.voter.account for vote in round_.votes),
        frozenset(round_.proposals[-1].attested if round_.proposals else ()),
        round_.leader if round_.block is not None else None,
        tuple(round_.skipped),
        tuple(round_.penalties),
    )
    if round_.closed is not None:
        cache[key] = record
    return record


def _miners(query: Query, rounds: list[RoundRecord]) -> dict[str, MinerRecord]:
    miners = {account: MinerRecord() for account in query.history.miners}
    for record in rounds:
        for account, miner in miners.items():
            miner.voted += account in record.voters
            miner.attested += account in record.attesters
            miner.led += account == record.leader
            miner.skipped += account in record.skipped
        for account, amount in record.penalties:
            if account in miners:
                miners[account].penalty += amount
    return miners
