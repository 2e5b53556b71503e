"""`bcfl device`, `bcfl miner`: what the chain says of one account over all rounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from bcfl.cli.options import JournalsOption, JsonOption
from bcfl.cli.output.printing import (
    Column,
    clock_words,
    ether,
    format_time,
    plural,
    print_fields,
    print_table,
    show,
)
from bcfl.cli.query.target import QueryTarget

if TYPE_CHECKING:
    from bcfl.federation.views.member import (
        DeviceView,
        MinerView,
        MoneyView,
        RestView,
        ServiceView,
        UpdateView,
    )

TO_RESUME: Final = "a miner that runs calls `resume` by itself, start it again (`bcfl start miner`)"


def device(
    target: QueryTarget,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="A device's address, or its index.")],
    journal: JournalsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a device submitted in every round, what came of it, and the number that decided."""
    with target.open() as query:
        view = query.device_view(address, journal)
    show(view, as_json, _print_device)


def miner(
    target: QueryTarget,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="A miner's address, or its index.")],
    as_json: JsonOption = False,
) -> None:
    """Show a miner's stake and weight, its votes, leads, attestations and penalties."""
    with target.open() as query:
        view = query.miner_view(address)
    show(view, as_json, _print_miner)


def _print_device(view: DeviceView) -> None:
    from bcfl.federation.views.privacy import words_of

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
            *([("privacy", words_of(view["privacy"]))] if view["privacy"] else []),
        ]
    )
    if view["rounds"]:
        columns = [Column("round", True), Column("verdict"), Column("level", True)]
        columns += [Column("why"), Column("samples", True), Column("ms", True)]
        columns += [Column("epsilon", True)] if view["privacy"] else []
        rows = [_device_row(entry, view["privacy"] is not None) for entry in view["rounds"]]
        print_table([*columns, Column("brought by"), Column("CID")], rows, "Updates")


def _device_row(entry: UpdateView, has_noise: bool) -> list[object]:
    running, nothing = entry["status"] == "running", [None] * (6 + has_noise)
    if not entry["submitted"]:
        return [entry["round"], "none yet" if running else "none came", *nothing]
    milliseconds = f"{entry['microseconds'] / 1000:,.1f}"
    verdict = entry["verdict"] or ("not counted yet" if running else "not counted")
    level = entry["level"] or None
    numbers = [level, _why(entry), entry["samples"], milliseconds]
    numbers += [f"{entry['epsilon']:.3g}"] if has_noise else []
    return [entry["round"], verdict, *numbers, entry["submitter"], entry["cid"]]


def _why(entry: UpdateView) -> str | None:
    """Return the number that decided, of the miners of the verdict that stands the one in the middle."""
    from bcfl.roles.miner.findings import Finding

    shown = [
        Finding(position=0, device=0, **finding)
        for items in entry["findings"].values()
        for finding in items
        if finding["reason"] == entry["verdict"]
    ]
    rules = [finding.rule for finding in shown]
    usual = [finding for finding in shown if finding.rule == max(rules, key=rules.count)]
    usual.sort(key=lambda finding: finding.score or 0.0)
    return usual[len(usual) // 2].text if usual else None


def _print_miner(view: MinerView) -> None:
    leaving = f", leaves after round {view['exit_round'] - 1}" if view["exit_round"] else ""
    print_fields(
        [
            ("miner", view["miner"]),
            ("index", view["index"]),
            ("stake", f"{ether(view['stake'])}{leaving}"),
            ("weight", view["weight"]),
            *_rest(view["rest"]),
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


def _rest(rest: RestView | None) -> list[tuple[str, str]]:
    """Return what a miner's absence has come to, and what to do; nothing where it was always there."""
    if rest is None or not (rest["missed"] or rest["suspended"]):
        return []
    if rest["suspended"]:
        words = f"for missed rounds, at least to round {rest['until_round']}: {TO_RESUME}"
        return [("suspended", words)]
    since = "" if rest["since"] is None else f" since {format_time(rest['since'])} {clock_words()}"
    return [("missed", f"{plural(rest['missed'], 'round')} of late{since}: who goes on missing is suspended")]


def _earned(view: MoneyView) -> str:
    """Return what an account has earned, claimed or not."""
    total, unclaimed = view["claimed"] + view["unclaimed"], view["unclaimed"]
    parts = f"{ether(unclaimed)} not claimed and {ether(view['credits'])} not withdrawn"
    return f"{ether(total)}, of which {parts}"


def _rounds(numbers: list[int]) -> str:
    if not numbers:
        return "no round"
    return ("round " if len(numbers) == 1 else "rounds ") + ", ".join(map(str, numbers))


def _lead(entry: ServiceView) -> str:
    if entry["led"]:
        return "yes"
    return "skipped" if entry["skipped"] else "no"
