"""`bcfl leader`: who led a round, and who would have been next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bcfl.cli.options import JsonOption, RoundArgument, RunOption, RunsOption
from bcfl.cli.output.printing import Column, print_fields, print_table, show
from bcfl.protocol.types import Engine

if TYPE_CHECKING:
    from bcfl.protocol.rounds import Round


def leader(
    number: RoundArgument = None,
    run: RunOption = None,
    runs: RunsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Who led round N, the last one when left out, and who would have been next."""
    from bcfl.federation.query import opened

    with opened(run, runs) as found:
        view = leader_view(found.round(number))
    show(view, as_json, _print_leader)


def leader_view(r: Round) -> dict[str, Any]:
    """Who led, at which turn, and the order in which the miners stood in line."""
    line = r.line()
    weights = {voter.account: r.scores.get(voter.account, voter.weight) for voter in line}
    total = sum(weights.values())
    return {
        "round": r.number,
        "status": r.status,
        "engine": r.engine.name.lower(),
        "committee": list(r.committee),
        "leader": r.leader,
        "turn": r.elections[-1].turn if r.elections else None,
        "nonce": r.elections[-1].nonce if r.elections and r.engine is Engine.POW else None,
        "seed": r.seed,
        "skipped": r.skipped,
        "order": [
            {
                "miner": voter.account,
                "weight": weights[voter.account],
                "share": round(weights[voter.account] / total, 6),
            }
            for voter in line
        ],
    }


def _print_leader(view: dict[str, Any]) -> None:
    fields: list[tuple[str, object]] = [
        ("round", f"{view['round']} ({view['status']})"),
        ("leader", view["leader"] or "none was elected"),
        ("engine", view["engine"]),
        *([("committee", ", ".join(view["committee"]))] if view["committee"] else []),
        ("turn", view["turn"]),
        ("seed", view["seed"]),
    ]
    if view["nonce"] is not None:
        fields.append(("nonce", view["nonce"]))
    print_fields(fields)
    if view["order"]:
        rows = [
            (place + 1, entry["miner"], entry["weight"], f"{entry['share']:.1%}", _part(view, entry["miner"]))
            for place, entry in enumerate(view["order"])
        ]
        columns = [Column("#", True), Column("miner"), Column("weight", True), Column("share", True)]
        print_table([*columns, Column("")], rows, "Who stood in line")


def _part(view: dict[str, Any], miner: str) -> str:
    if miner == view["leader"]:
        return "led"
    return "skipped" if miner in view["skipped"] else ""
