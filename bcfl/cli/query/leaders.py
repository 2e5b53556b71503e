"""`bcfl leader`: who led a round, and who would have been next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bcfl.cli.options import JsonOption, RoundArgument
from bcfl.cli.output.printing import Column, print_fields, print_table, show
from bcfl.cli.query.target import QueryTarget

if TYPE_CHECKING:
    from bcfl.federation.views.leader import LeaderView


def leader(target: QueryTarget, number: RoundArgument = None, as_json: JsonOption = False) -> None:
    """Show who led round N, the last one when left out, and who would have been next."""
    with target.open() as query:
        view = query.leader_view(number)
    show(view, as_json, _print_leader)


def _print_leader(view: LeaderView) -> None:
    fields: list[tuple[str, object]] = [
        ("round", f"{view['round']} ({view['status']})"),
        ("leader", view["leader"] or "none was elected"),
        *([("author", view["author"])] if view["author"] not in (None, view["leader"]) else []),
        ("engine", view["engine"]),
        *([("committee", ", ".join(view["committee"]))] if view["committee"] else []),
        ("turn", view["turn"]),
    ]
    if view["nonce"] is not None:
        fields.append(("nonce", view["nonce"]))
    print_fields(fields)
    if view["order"]:
        rows = [
            (
                place + 1,
                entry["miner"],
                f"{entry['credit']:+.3f}",
                entry["weight"],
                f"{entry['share']:.1%}",
                _part(view, entry["miner"]),
            )
            for place, entry in enumerate(view["order"])
        ]
        columns = [Column("#", True), Column("miner"), Column("credit", True), Column("weight", True)]
        print_table([*columns, Column("share", True), Column("")], rows, "Whose turn it was")


def _part(view: LeaderView, miner: str) -> str:
    if miner == view["leader"]:
        return "led"
    return "skipped" if miner in view["skipped"] else ""
