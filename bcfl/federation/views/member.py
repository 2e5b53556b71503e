"""View one account over all rounds: a device's updates, a miner's work, and the money of both."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NotRequired, TypedDict

from bcfl.errors import Reverted
from bcfl.federation.views.earnings import unclaimed_of
from bcfl.federation.views.privacy import PrivacyView, by_round, noise_in, privacy_view
from bcfl.federation.views.source import Source
from bcfl.federation.views.votes import FindingView, level_of, match_count, numbers, tallied
from bcfl.protocol.rounds import Round
from bcfl.roles.miner import findings
from bcfl.roles.miner.findings import Finding

Found = dict[str, dict[int, list[Finding]]]  # by miner and round


class MoneyView(TypedDict):
    """What an account has earned, in wei: withdrawable, claimed so far, and not claimed yet."""

    credits: int
    claimed: int
    unclaimed: int
    claimed_rounds: list[int]


class UpdateView(TypedDict):
    """A device's part in a round; only `round`, `status` and `submitted` where it sent no update.

    `epsilon`, where noise hides its data: what its updates up to this one have told.
    """

    round: int
    status: str
    submitted: bool
    position: NotRequired[int]
    verdict: NotRequired[str | None]
    level: NotRequired[int | None]
    findings: NotRequired[dict[str, list[FindingView]]]
    samples: NotRequired[int]
    microseconds: NotRequired[int]
    submitter: NotRequired[str]
    root: NotRequired[bytes]
    cid: NotRequired[str]
    epsilon: NotRequired[float]


class DeviceView(MoneyView):
    """A device's membership, money and updates; `bound_to` is the miner that it sends them to.

    `privacy` is None where no noise hides its data, or no model is at hand to read the terms of it from.
    """

    device: str
    index: int
    from_round: int
    until_round: int | None
    bound_to: str | None
    submitted: int
    accepted: int
    samples: int
    privacy: PrivacyView | None
    rounds: list[UpdateView]


class ServiceView(TypedDict):
    """A miner's part in a round; `brought` counts updates, `matches` verdicts as the tally has them."""

    round: int
    status: str
    brought: int
    committed: bool
    voted: bool
    matches: int | None
    led: bool
    author: bool
    skipped: bool
    attested: bool
    penalty: int


class RestView(TypedDict):
    """What a miner's absence has come to: rounds missed of late, since when, suspensions of late.

    `until_round` is the round from which it may resume; None where it is not suspended.
    """

    missed: int
    since: int | None
    strikes: int
    suspended: bool
    until_round: int | None


class MinerView(MoneyView):
    """A miner's stake, money and rounds; `rest` is None where it is no miner any more."""

    miner: str
    index: int
    stake: int
    weight: int
    exit_round: int | None
    rest: RestView | None
    voted: int
    led: list[int]
    attested: int
    penalties: int
    rounds: list[ServiceView]


def device_view(source: Source, index: int, journals: Path, *, unclaimed: int | None = None) -> DeviceView:
    """Return a device's membership, money and updates; `journals` is the folder of the miners' journals.

    `unclaimed`: what it has not claimed yet, in wei, where that is known already.
    """
    history = source.history
    account = history.devices[index]
    found = {miner: findings.read(journals / miner) for miner in history.miners}
    updates = [_update(source, round_, index, found) for round_ in history.rounds.values() if round_.commits]
    accepted = [update for update in updates if update.get("verdict") == "accepted"]
    noise = noise_in(source.layout)
    if noise is not None:
        told = by_round(noise, history.rounds.values(), index)
        for update in updates:
            if update["submitted"]:
                update["epsilon"] = told[update["round"]]
    return {
        "device": account,
        "index": index,
        "from_round": history.join_rounds[account],
        "until_round": history.leave_rounds.get(account),
        "bound_to": source.contract.call("binding", index) if history.voters() else None,
        "submitted": sum(update["submitted"] for update in updates),
        "accepted": len(accepted),
        "samples": sum(update["samples"] for update in accepted),
        "privacy": privacy_view(noise, source.terms, history.rounds.values(), index),
        **_money(source, account, unclaimed, as_miner=False),
        "rounds": updates,
    }


def miner_view(source: Source, account: str, *, unclaimed: int | None = None) -> MinerView:
    """Return a miner's stake, money and what it did in every round; `unclaimed` as of `device_view`."""
    member = source.history.miners[account]
    rounds = [_service(round_, account) for round_ in source.history.rounds.values() if round_.commits]
    return {
        "miner": account,
        "index": member.index,
        "stake": member.stake,
        "weight": member.weight,
        "exit_round": member.exit_round or None,
        "rest": _rest(source, account),
        "voted": sum(entry["voted"] for entry in rounds),
        "led": [entry["round"] for entry in rounds if entry["led"]],
        "attested": sum(entry["attested"] for entry in rounds),
        "penalties": sum(entry["penalty"] for entry in rounds),
        **_money(source, account, unclaimed, as_miner=True),
        "rounds": rounds,
    }


def _rest(source: Source, account: str) -> RestView | None:
    """Return what a miner's absence has come to; None where the contract does not know it as a miner."""
    with suppress(Reverted):
        missed, since, strikes, suspended, until_round = source.contract.call("rest", account)
        return {
            "missed": missed,
            "since": since if missed else None,
            "strikes": strikes,
            "suspended": suspended,
            "until_round": until_round if suspended else None,
        }
    return None


def _money(source: Source, account: str, unclaimed: int | None, *, as_miner: bool) -> MoneyView:
    """Return an account's money in all its roles, and the rounds that it has claimed in this one."""
    history = source.history
    if unclaimed is None:
        unclaimed = unclaimed_of(history, source.terms, account)
    return {
        "credits": source.contract.call("credits", account),
        "claimed": history.credited.get(account, 0),
        "unclaimed": unclaimed,
        "claimed_rounds": sorted(
            number for claimer, number, miner in history.claimed if claimer == account and miner is as_miner
        ),
    }


def _update(source: Source, round_: Round, index: int, found: Found) -> UpdateView:
    """Return what a device submitted in a round, and the numbers that miners had for it."""
    view: UpdateView = {"round": round_.number, "status": round_.status, "submitted": False}
    for item in round_.submissions:
        if item.update.device == index:
            view |= {
                "submitted": True,
                "position": item.position,
                "verdict": tallied(round_, item.position),
                "level": level_of(round_, item.position),
                "findings": numbers({m: f.get(round_.number) for m, f in found.items()}, item.position),
                "samples": item.update.samples,
                "microseconds": item.update.microseconds,
                "submitter": item.submitter,
                "root": item.update.root,
                "cid": source.update_cid(item),
            }
    return view


def _service(round_: Round, account: str) -> ServiceView:
    """Return what a miner did in a round."""
    vote = next((vote for vote in round_.votes if vote.voter.account == account), None)
    return {
        "round": round_.number,
        "status": round_.status,
        "brought": sum(item.submitter == account for item in round_.submissions),
        "committed": account in round_.vote_commits,
        "voted": vote is not None,
        "matches": match_count(round_, vote) if vote and round_.levels is not None else None,
        "led": round_.leader == account,
        "author": bool(round_.proposals) and round_.proposals[-1].author == account,
        "skipped": account in round_.skipped,
        "attested": bool(round_.proposals) and account in round_.proposals[-1].attested,
        "penalty": sum(amount for miner, amount in round_.penalties if miner == account),
    }
