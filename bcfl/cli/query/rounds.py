"""`bcfl round`: everything that the chain says of one round."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bcfl.cli.options import JsonOption, RoundArgument
from bcfl.cli.output.printing import (
    Column,
    Row,
    clock_name,
    clock_words,
    ether,
    format_time,
    plural,
    print_fields,
    print_json,
    print_table,
)
from bcfl.cli.output.statements import print_statements, stated_fields
from bcfl.cli.query.target import QueryTarget

if TYPE_CHECKING:
    from bcfl.federation.statements import StatementsView
    from bcfl.federation.views.round import RoundView, SubmissionView


def round_(target: QueryTarget, number: RoundArgument = None, as_json: JsonOption = False) -> None:
    """Show everything of round N, the last one when left out."""
    with target.open() as query:
        view = query.round_view(number)
        stated = query.statements_view(view["round"])
    if as_json:
        print_json({**view, "stated": stated})
        return
    _print_round(view, stated)
    print_statements(stated)


def _print_round(view: RoundView, stated: StatementsView) -> None:
    print_fields([*_summary(view), *stated_fields(stated)])
    for print_part in (_print_phases, _print_updates, _print_votes, _print_proposals, _print_penalties):
        print_part(view)


def _print_phases(view: RoundView) -> None:
    rows: list[Row] = [
        (p["phase"], p["transactions"], p["gas"], format_time(p["from"]), format_time(p["until"]))
        for p in view["phases"]
    ]
    columns = [Column("phase"), Column("transactions", True), Column("gas", True)]
    if rows:
        clock = clock_name()
        print_table([*columns, Column(f"from ({clock})"), Column(f"until ({clock})")], rows, "Phases")


def _print_updates(view: RoundView) -> None:
    rows: list[Row] = [
        (
            s["position"],
            s["device"],
            s["index"],
            s["samples"],
            _milliseconds(s),
            s["verdict"],
            s["level"] or None,
            s["submitter"],
        )
        for s in view["submissions"]
    ]
    columns = [Column("#", True), Column("device"), Column("index", True), Column("samples", True)]
    if rows:
        columns += [Column("ms", True), Column("verdict"), Column("level", True), Column("brought by")]
        print_table(columns, rows, "Updates")


def _print_votes(view: RoundView) -> None:
    columns = [Column("miner"), Column("weight", True), Column("accepts", True), Column("rejects", True)]
    columns += [Column("as the tally", True)]
    rows: list[Row] = [
        (v["miner"], v["weight"], v["accepted"], v["rejected"], v["matches"]) for v in view["votes"]
    ]
    if any(vote["wish"] for vote in view["votes"]):
        columns += [Column("wishes for")]
        rows = [(*row, vote["wish"]) for row, vote in zip(rows, view["votes"], strict=True)]
    if rows:
        print_table(columns, rows, "Votes")


def _print_proposals(view: RoundView) -> None:
    whole = view["electorate"]["whole"]
    rows = [
        (
            p["leader"],
            p["author"],
            p["root"],
            f"{plural(len(p['attested']), 'miner')}, {p['attested_weight']} of {whole}",
        )
        for p in view["proposals"]
    ]
    if rows:
        columns = [Column("leader"), Column("author"), Column("root"), Column("attested by")]
        print_table(columns, rows, "Proposals")


def _print_penalties(view: RoundView) -> None:
    rows = [(p["miner"], ether(p["amount"])) for p in view["penalties"]]
    if rows:
        print_table([Column("miner"), Column("amount", True)], rows, "Penalties")


def _milliseconds(submission: SubmissionView) -> str:
    return f"{submission['microseconds'] / 1000:,.1f}"


def _summary(view: RoundView) -> list[tuple[str, object]]:
    reason = f" ({_words(view['reason'])})" if view["reason"] else ""
    fields: list[tuple[str, object]] = [
        ("round", view["round"]),
        ("status", view["status"] + reason),
        ("opened", _utc(view["opened"])),
        ("closed", _utc(view["closed"])),
    ]
    if view["due"]:
        awaited = ", ".join(view["due"]["awaited"]) or "nobody"
        until = _utc(view["due"]["deadline"]) or "somebody takes the step"
        fields += [("phase", f"{view['due']['phase']}, until {until}"), ("awaited", awaited)]
    if view["skipped"]:
        fields.append(("skipped", ", ".join(view["skipped"])))
    return [
        *fields,
        ("leader", f"{view['leader']} ({view['engine']})" if view["leader"] else None),
        *([] if view["leader"] else [("engine", view["engine"])]),
        *([("committee", ", ".join(view["committee"]))] if view["committee"] else []),
        ("decides", f"{view['electorate']['deciding']} of {view['electorate']['whole']}"),
        ("updates", _counted(view)),
        ("model root", view["global_root"]),
        ("model CID", view["global_cid"]),
        ("block", view["block_hash"]),
        ("parent", view["parent"]),
        ("reward", ether(view["reward"])),
        ("gas", f"{view['gas']:,} in {plural(view['transactions'], 'transaction')}"),
    ]


def _utc(timestamp: int | None) -> str | None:
    return None if timestamp is None else f"{format_time(timestamp)} {clock_words()}"


def _counted(view: RoundView) -> str:
    if not view["votes"]:
        return plural(len(view["submissions"]), "update")
    accepted, submitted = len(view["accepted"]), len(view["submissions"])
    return f"{accepted} of {submitted} accepted, {view['samples']:,} samples times level"


def _words(name: str) -> str:
    return name.replace("_", " ")
