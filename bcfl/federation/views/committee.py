"""View what a committee is worth: how often a coalition with a third of the weight captures it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypedDict

from bcfl.config import Config
from bcfl.federation import capture
from bcfl.federation.capture import Parties
from bcfl.protocol.limits import MAX_MINERS, MAX_WEIGHT
from bcfl.protocol.rounds import History
from bcfl.protocol.types import Engine, Mode, Terms

RISKY: Final = 1e-3  # captures a round: above that a committee needs more members, or another engine
LONG: Final = 1000  # rounds of a federation that has no end of its own


class CaseView(TypedDict):
    """A coalition among so many miners; `low` and `high` bound how often it captures a round's committee.

    `once` and `once_withheld` bound how likely there is a capture in all rounds: if the coalition opens every
    vote, and if it keeps an opening back whenever it does not like what was drawn.
    """

    miners: int
    members: int
    deciding: int
    coalition: int
    share: float
    low: float
    high: float
    once: float
    once_withheld: float


class CommitteeView(TypedDict):
    """The committees of a federation; `chosen`: its engine draws them, else its miners may wish for them.

    `safer_size` is the next size at which no case is risky; None where none is risky, or no size helps.
    """

    committee_size: int
    chosen: bool
    rounds: int
    cases: list[CaseView]
    risky: bool
    safer_size: int | None


def run_committee(config: Config) -> CommitteeView | None:
    """Return what committees are worth in a run: its miners stake alike, and a third of them collude."""
    parties = _among(config.miners, _weight(config))
    return _configured(config, [parties], config.rounds)


def deployment_committee(config: Config) -> CommitteeView | None:
    """Return what committees are worth where others may join the miners that are expected.

    A coalition joins them with a third of the weight, in accounts as small as there are seats for: beside
    `miners` others, and beside as many as leave it a seat for every whole stake. In `full` nobody can join,
    and a third of the devices collude.
    """
    weight = _weight(config)
    cases = [_among(config.miners, weight)]
    if config.mode != "full":
        crowd = max(honest for honest in range(1, MAX_MINERS) if honest + honest * weight // 2 <= MAX_MINERS)
        cases = [joined_by(config.miners, weight), *[joined_by(crowd, weight)] * (crowd > config.miners)]
    return _configured(config, cases, max(LONG, config.rounds))


def federation_committee(history: History, terms: Terms, engine: Engine) -> CommitteeView | None:
    """Return what committees are worth among the miners as they are, if the engine draws or may draw them."""
    weights = [member.weight for member in history.miners.values() if member.weight]
    is_chosen, size = engine is Engine.COMMITTEE, terms.committee_size
    if not weights or not (is_chosen or terms.mode == Mode.HYBRID):
        return None
    worst = max(thirds(weights), key=lambda parties: capture.probability(parties, size).high)
    return _view(size, is_chosen, [worst], LONG)


def thirds(weights: Iterable[int]) -> list[Parties]:
    """Return two coalitions with at most a third of the weight: of the smallest accounts, of the largest."""
    ascending = sorted(weights)
    return [_third(ascending), _third(ascending[::-1])]


def _third(weights: list[int]) -> Parties:
    """Return those that fit into a third of the weight, in this order, and the others."""
    coalition, others = list[int](), list[int]()
    for weight in weights:
        fits = 3 * (sum(coalition) + weight) <= sum(weights)
        (coalition if fits else others).append(weight)
    return Parties(tuple(coalition), tuple(others))


def _weight(config: Config) -> int:
    return min(config.stake // config.min_stake, MAX_WEIGHT)


def _among(miners: int, weight: int) -> Parties:
    """Return a third of so many miners, and the others."""
    coalition = miners // 3
    return Parties((weight,) * coalition, (weight,) * (miners - coalition))


def joined_by(honest: int, weight: int) -> Parties:
    """Return so many miners, and a coalition with a third of the weight in as many accounts as it can."""
    total = honest * weight // 2
    accounts = min(total, MAX_MINERS - honest)
    if accounts == 0:
        return _among(honest, weight)
    each, more = divmod(total, accounts)
    return Parties((each + 1,) * more + (each,) * (accounts - more), (weight,) * honest)


def _configured(config: Config, cases: list[Parties], rounds: int) -> CommitteeView | None:
    """Return the view of an engine that draws committees, or may come to; None of another."""
    is_chosen = config.first_engine == "committee"
    if not is_chosen and config.mode != "hybrid":
        return None
    return _view(config.committee_size, is_chosen, cases, rounds)


def _view(size: int, is_chosen: bool, cases: list[Parties], rounds: int) -> CommitteeView:
    is_risky = _is_risky(size, cases)
    return {
        "committee_size": size,
        "chosen": is_chosen,
        "rounds": rounds,
        "cases": [_case(parties, size, rounds) for parties in cases],
        "risky": is_risky,
        "safer_size": _safer_size(size, cases) if is_risky else None,
    }


def _safer_size(size: int, cases: list[Parties]) -> int | None:
    """Return the next size that is a multiple of three, as those need most members, and not risky."""
    sizes = range(size + 3 - size % 3, MAX_MINERS + 1, 3)
    return next((each for each in sizes if not _is_risky(each, cases)), None)


def _is_risky(size: int, cases: list[Parties]) -> bool:
    return any(capture.probability(parties, size).high > RISKY for parties in cases)


def _case(parties: Parties, size: int, rounds: int) -> CaseView:
    members = min(size, parties.miners)
    chance = capture.probability(parties, size)
    return {
        "miners": parties.miners,
        "members": members,
        "deciding": capture.deciding(members),
        "coalition": len(parties.coalition),
        "share": parties.share,
        "low": chance.low,
        "high": chance.high,
        "once": capture.at_least_once(chance.high, capture.committees(rounds)),
        "once_withheld": capture.at_least_once(chance.high, capture.most_committees(rounds)),
    }
