"""`bcfl device`, `bcfl miner`: what the chain says of one account over all rounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bcfl.cli.options import JsonOption, RunOption, RunsOption
from bcfl.cli.output.printing import Column, ether, plural, print_fields, print_table, show
from bcfl.protocol.rounds import Round
from bcfl.protocol.verification import matches

if TYPE_CHECKING:
    from bcfl.federation.query import LocalQuery


def device(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="A device's address, or its index.")],
    run: RunOption = None,
    runs: RunsOption = None,
    as_json: JsonOption = False,
) -> None:
    """What a device submitted in every round, and what came of it."""
    from bcfl.federation.query import opened

    with opened(run, runs) as found:
        view = device_view(found, found.device(address))
    show(view, as_json, _print_device)


def miner(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="A miner's address, or its index.")],
    run: RunOption = None,
    runs: RunsOption = None,
    as_json: JsonOption = False,
) -> None:
    """A miner's stake and weight, its votes, leads, attestations and penalties."""
    from bcfl.federation.query import opened

    with opened(run, runs) as found:
        view = miner_view(found, found.miner(address))
    show(view, as_json, _print_miner)


def device_view(o: LocalQuery, index: int) -> dict[str, Any]:
    """A device's membership, money and updates."""
    account = o.history.devices[index]
    rounds = [_submitted(o, found, index) for found in o.history.rounds.values() if found.commits]
    sent = [entry for entry in rounds if entry["submitted"]]
    return {
        "device": account,
        "index": index,
        "from_round": o.history.joined[account],
        "until_round": o.history.left.get(account),
        "bound_to": o.contract.call("binding", index) if o.history.voters() else None,
        "submitted": len(sent),
        "accepted": sum(entry["verdict"] == "accepted" for entry in sent),
        "samples": sum(entry["samples"] for entry in sent if entry["verdict"] == "accepted"),
        "credits": o.contract.call("credits", account),
        "claimed": o.history.credited.get(account, 0),
        "unclaimed": _unclaimed(o, account),
        "claimed_rounds": _claimed(o, account, as_miner=False),
        "rounds": rounds,
    }


def miner_view(o: LocalQuery, account: str) -> dict[str, Any]:
    """A miner's stake, money and what it did in every round."""
    member = o.history.miners[account]
    rounds = [_served(found, account) for found in o.history.rounds.values() if found.commits]
    return {
        "miner": account,
        "index": member.index,
        "stake": member.stake,
        "weight": member.weight,
        "exit_round": member.exit_round or None,
        "voted": sum(entry["voted"] for entry in rounds),
        "led": [entry["round"] for entry in rounds if entry["led"]],
        "attested": sum(entry["attested"] for entry in rounds),
        "penalties": sum(entry["penalty"] for entry in rounds),
        "credits": o.contract.call("credits", account),
        "claimed": o.history.credited.get(account, 0),
        "unclaimed": _unclaimed(o, account),
        "claimed_rounds": _claimed(o, account, as_miner=True),
        "rounds": rounds,
    }


def _claimed(o: LocalQuery, account: str, as_miner: bool) -> list[int]:
    """The rounds whose reward an account has claimed in one of its roles."""
    return sorted(n for who, n, miner in o.history.claimed if who == account and miner is as_miner)


def _unclaimed(o: LocalQuery, account: str) -> int:
    """What an account has earned in finished rounds, in all its roles, and not claimed yet, in wei."""
    from bcfl.roles.background.claims import amount, claims

    ledger = o.ledger
    due = claims(o.history, ledger.domain, account)
    return sum(amount(claim, o.history, ledger.domain, ledger.terms) for claim in due)


def _earned(view: dict[str, Any]) -> str:
    """What an account has earned, claimed or not."""
    total, unclaimed = view["claimed"] + view["unclaimed"], view["unclaimed"]
    rest = f"{ether(unclaimed)} not claimed and {ether(view['credits'])} not withdrawn"
    return f"{ether(total)}, of which {rest}"


def _submitted(o: LocalQuery, r: Round, index: int) -> dict[str, Any]:
    """What a device brought in a round."""
    entry: dict[str, Any] = {"round": r.number, "status": r.status, "submitted": False}
    for item in r.submissions:
        if item.update.device == index:
            verdict = None if r.accepted is None else r.verdict(item.position).name.lower()
            entry |= {
                "submitted": True,
                "position": item.position,
                "verdict": verdict,
                "samples": item.update.samples,
                "microseconds": item.update.microseconds,
                "submitter": item.submitter,
                "root": item.update.root,
                "cid": o.cid_of(item.update.cid, o.terms.lane_bits),
            }
    return entry


def _served(r: Round, account: str) -> dict[str, Any]:
    """What a miner did in a round."""
    vote = next((vote for vote in r.votes if vote.voter.account == account), None)
    devices = [item.update.device for item in r.submissions]
    attested = bool(r.proposals) and account in r.proposals[-1].attested
    return {
        "round": r.number,
        "status": r.status,
        "brought": sum(item.submitter == account for item in r.submissions),
        "committed": account in r.vote_commits,
        "voted": vote is not None,
        "matches": matches(vote, r.accepted, devices) if vote and r.accepted is not None else None,
        "led": r.leader == account,
        "skipped": account in r.skipped,
        "attested": attested,
        "penalty": sum(amount for miner, amount in r.penalties if miner == account),
    }


def _print_device(view: dict[str, Any]) -> None:
    until = f" to {view['until_round'] - 1}" if view["until_round"] is not None else " on"
    print_fields(
        [
            ("device", view["device"]),
            ("index", view["index"]),
            ("takes part", f"from round {view['from_round']}{until}"),
            ("bound to", view["bound_to"]),
            (
                "updates",
                f"{view['submitted']} submitted, {view['accepted']} accepted, {view['samples']:,} samples",
            ),
            ("earned", _earned(view)),
            ("claimed", _rounds(view["claimed_rounds"])),
        ]
    )
    if view["rounds"]:
        columns = [Column("round", True), Column("verdict"), Column("samples", True), Column("ms", True)]
        print_table(
            [*columns, Column("brought by"), Column("CID")], list(map(_device_row, view["rounds"])), "Updates"
        )


def _device_row(entry: dict[str, Any]) -> list[object]:
    running = entry["status"] == "running"
    if not entry["submitted"]:
        return [entry["round"], "none yet" if running else "none came", None, None, None, None]
    milliseconds = f"{entry['microseconds'] / 1000:,.1f}"
    verdict = entry["verdict"] or ("not counted yet" if running else "not counted")
    return [entry["round"], verdict, entry["samples"], milliseconds, entry["submitter"], entry["cid"]]


def _print_miner(view: dict[str, Any]) -> None:
    leaving = f", leaves after round {view['exit_round'] - 1}" if view["exit_round"] else ""
    print_fields(
        [
            ("miner", view["miner"]),
            ("index", view["index"]),
            ("stake", f"{ether(view['stake'])}{leaving}"),
            ("weight", view["weight"]),
            ("voted", plural(view["voted"], "round")),
            ("led", _rounds(view["led"])),
            ("attested", plural(view["attested"], "round")),
            ("penalties", ether(view["penalties"])),
            ("earned", _earned(view)),
            ("claimed", _rounds(view["claimed_rounds"])),
        ]
    )
    if view["rounds"]:
        columns = [Column("round", True), Column("brought", True), Column("voted"), Column("matches", True)]
        columns += [Column("led"), Column("attested"), Column("penalty", True)]
        rows = [
            (e["round"], e["brought"], e["voted"], e["matches"], _lead(e), e["attested"], ether(e["penalty"]))
            for e in view["rounds"]
        ]
        print_table(columns, rows, "Rounds")


def _rounds(numbers: list[int]) -> str:
    if not numbers:
        return "no round"
    return ("round " if len(numbers) == 1 else "rounds ") + ", ".join(map(str, numbers))


def _lead(entry: dict[str, Any]) -> str:
    if entry["led"]:
        return "yes"
    return "skipped" if entry["skipped"] else "no"
