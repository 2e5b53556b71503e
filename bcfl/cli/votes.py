"""`bcfl votes`: what every miner said of every update of a round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bcfl.cli.options import JsonOption, RunOption, RunsOption
from bcfl.cli.printing import Column, Row, print_json, print_table, terminal_width
from bcfl.protocol.rounds import Round
from bcfl.protocol.verification import matches

if TYPE_CHECKING:
    from bcfl.cli.opened import Opened

WIDTH_BUT_MINERS = 30  # of the matrix, with shortened addresses
WIDTH_OF_MINER = 13
LEGEND = ": a accepted, u unavailable, m malformed, t time, d duplicate, q quality, o outlier"


def votes(
    number: Annotated[str, typer.Argument(metavar="N", help="A round.")],
    run: RunOption = None,
    runs: RunsOption = None,
    as_json: JsonOption = False,
) -> None:
    """What every miner said of every update of round N."""
    from bcfl.cli.opened import opened

    with opened(run, runs) as found:
        view = votes_view(found, found.round(number))
    if as_json:
        print_json(view)
    else:
        _print_votes(view)


def votes_view(o: Opened, r: Round) -> dict[str, Any]:
    """The matrix of a round's verdicts, updates by miners."""
    updates = [
        {
            "position": item.position,
            "device": o.history.devices[item.update.device],
            "verdict": tallied(r, item.position),
            "verdicts": {m: said.name.lower() for m, said in r.reasons(item.position).items()},
        }
        for item in r.submissions
    ]
    silent = [miner for miner in r.vote_commits if miner not in {vote.voter.account for vote in r.votes}]
    return {"round": r.number, "status": r.status, "miners": cast(r), "silent": silent, "updates": updates}


def cast(r: Round) -> list[dict[str, Any]]:
    """The unveiled votes of a round."""
    devices = [item.update.device for item in r.submissions]
    return [
        {
            "miner": vote.voter.account,
            "weight": vote.voter.weight,
            "accepted": sum(not verdict for verdict in vote.opening.verdicts),
            "rejected": sum(bool(verdict) for verdict in vote.opening.verdicts),
            "matches": None if r.accepted is None else matches(vote, r.accepted, devices),
            "wish": None if vote.opening.wish is None else vote.opening.wish.name.lower(),
            "salt": vote.opening.salt,
        }
        for vote in r.votes
    ]


def tallied(r: Round, position: int) -> str | None:
    """What the tally made of an update; None before it."""
    return None if r.accepted is None else r.verdict(position).name.lower()


def _print_votes(view: dict[str, Any]) -> None:
    if not view["updates"]:
        print(f"round {view['round']} ({view['status']}) has no updates")
        return
    miners = {vote["miner"]: f"m{place}" for place, vote in enumerate(view["miners"])}
    if miners:
        rows: list[Row] = [(miners[vote["miner"]], vote["miner"], vote["weight"]) for vote in view["miners"]]
        print_table([Column("miner"), Column("address"), Column("weight", True)], rows)
    for miner in view["silent"]:
        print(f"never unveiled: {miner}")
    letters = 1 if terminal_width() < WIDTH_BUT_MINERS + WIDTH_OF_MINER * len(miners) else None
    columns = [Column("#", True), Column("device"), Column("tally"), *map(Column, miners.values())]
    rows = [
        (u["position"], u["device"], u["verdict"], *(u["verdicts"][miner][:letters] for miner in miners))
        for u in view["updates"]
    ]
    title = f"Verdicts of round {view['round']} ({view['status']})"
    print_table(columns, rows, title + LEGEND * (letters == 1))
