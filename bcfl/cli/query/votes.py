"""`bcfl votes`: what every miner said of every update of a round, and the numbers that it had for it.

The verdicts are on chain. The numbers are each miner's own and in its journal, where it noted them: in a
run's folder for all of its miners, elsewhere for those whose journals --journal names.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bcfl.cli.options import JsonOption, RunOption, RunsOption
from bcfl.cli.output.printing import Column, Row, print_folded, print_table, show, terminal_width

if TYPE_CHECKING:
    from bcfl.federation.query import LocalQuery
    from bcfl.protocol.rounds import Round
    from bcfl.roles.miner.findings import Finding

WIDTH_BUT_MINERS = 30  # of the matrix, with shortened addresses
WIDTH_OF_MINER = 13
LEGEND = ": a accepted, u unavailable, m malformed, t time, d duplicate, q quality, o outlier"


def votes(
    number: Annotated[str, typer.Argument(metavar="N", help="A round.")],
    run: RunOption = None,
    runs: RunsOption = None,
    journal: Annotated[
        Path | None,
        typer.Option(
            "--journal", metavar="DIR", show_default=False, help="The miners' journals; else the run's."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What every miner said of every update of round N, and the numbers behind each rejection."""
    from bcfl.federation.query import opened

    with opened(run, runs) as found:
        view = votes_view(found, found.round(number), journal or found.journals)
    show(view, as_json, _print_votes)


def votes_view(o: LocalQuery, r: Round, journals: Path) -> dict[str, Any]:
    """The matrix of a round's verdicts, updates by miners; `unexplained` are the miners without notes."""
    from bcfl.roles.miner import findings

    noted = {m: findings.read(journals / m, r.number) for m in (vote.voter.account for vote in r.votes)}
    updates = [
        {
            "position": item.position,
            "device": o.history.devices[item.update.device],
            "verdict": tallied(r, item.position),
            "verdicts": {m: said.name.lower() for m, said in r.reasons(item.position).items()},
            "numbers": {
                m: [_numbers(found) for found in findings or () if found.position == item.position]
                for m, findings in noted.items()
            },
        }
        for item in r.submissions
    ]
    unexplained = [m for m, findings in noted.items() if findings is None]
    silent = [miner for miner in r.vote_commits if miner not in {vote.voter.account for vote in r.votes}]
    return {
        "round": r.number,
        "status": r.status,
        "miners": cast(r),
        "silent": silent,
        "unexplained": unexplained,
        "updates": updates,
    }


def _numbers(found: Finding) -> dict[str, Any]:
    """A finding without what the view says of the update anyway."""
    kept = ("reason", "rule", "score", "least", "most")
    return {name: value for name, value in asdict(found).items() if name in kept}


def cast(r: Round) -> list[dict[str, Any]]:
    """The unveiled votes of a round."""
    from bcfl.protocol.verification import matches

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
    _print_numbers(view, miners)


def _print_numbers(view: dict[str, Any], miners: dict[str, str]) -> None:
    """The scores behind each rejection, miner by miner."""
    rows: list[Row] = [
        (u["position"], names, said["reason"], words)
        for u in view["updates"]
        for said, words, names in _grouped(u["numbers"], miners)
    ]
    if rows:
        print_table([Column("#", True), Column("miner"), Column("reason"), Column("found")], rows, "Why")
    if view["unexplained"]:
        names = ", ".join(miners[miner] for miner in view["unexplained"])
        text = f"no numbers from {names}: they are in the miner's own journal, name its folder with --journal"
        print_folded(text, 0)


def _grouped(
    numbers: dict[str, list[dict[str, Any]]], miners: dict[str, str]
) -> list[tuple[dict[str, Any], str, str]]:
    """Findings on one update in words, those of several miners that are the same as one."""
    from bcfl.roles.miner.findings import Finding

    found: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for miner, findings in numbers.items():
        for said in findings:
            words = Finding(position=0, device=0, **said).text
            found.setdefault(words, (said, []))[1].append(miners[miner])
    return [(said, words, " ".join(names)) for words, (said, names) in found.items()]
