"""`bcfl status`: in one screen what a federation waits for, from whom, until when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from bcfl.cli.groups import grouped
from bcfl.cli.node.options import FederationOptions
from bcfl.cli.options import JsonOption
from bcfl.cli.output.challenges import challenge_content, challenge_fields
from bcfl.cli.output.committee import capture_fields
from bcfl.cli.output.printing import (
    Column,
    ether,
    format_time,
    plural,
    print_fields,
    print_json,
    print_table,
    shortened,
)
from bcfl.cli.output.statements import stated_fields
from bcfl.cli.output.terminal import say

if TYPE_CHECKING:
    from bcfl.federation.statements import StatementsView
    from bcfl.federation.views.status import StatusView

NAMED: Final = 3  # of the awaited accounts


@grouped
def status(
    federation: FederationOptions,
    address: Annotated[
        bool, typer.Option("--address", metavar="", help="Print the contract's address alone, for scripts.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a federation waits for, from whom, until when; and how it went so far."""
    from bcfl.federation.inbox_statements import last_stated
    from bcfl.federation.views.status import status_view

    with federation.connect() as client:
        if address:
            say(client.address)
            return
        view, stated = status_view(client), last_stated(client)
    if as_json:
        print_json({**view, **challenge_content(view["challenge_seconds"]), "stated": stated})
    else:
        _print(view, stated)


def register(parent: typer.Typer) -> None:
    """Add `bcfl status`."""
    parent.command("status")(status)


def status_line(view: StatusView) -> str:
    """Return the round, and what it waits for, in one line."""
    remaining = "" if view["deadline"] is None else f", {max(0, view['deadline'] - view['now'])} s left"
    return f"round {view['round']} · waits for {_wait(view)}{remaining}"


def _wait(view: StatusView) -> str:
    """Return who is awaited, by role, and for what."""
    from bcfl.federation.views.status import TO_END

    awaited, words = view["awaited"], []
    for role in dict.fromkeys(item["role"] for item in awaited):
        accounts = [item["account"] for item in awaited if item["role"] == role]
        if len(accounts) == 1:
            words.append(f"the {role} {shortened(accounts[0])}".strip())
        else:
            words.append(plural(len(accounts), role))
    nobody = "the phase" if view["waits"] == TO_END else "anybody"
    return f"{' and '.join(words) or nobody} {view['waits']}"


def _until(view: StatusView) -> str:
    if view["deadline"] is None:
        return "as soon as somebody does it"
    seconds = view["deadline"] - view["now"]
    remaining = f"{seconds} s left" if seconds > 0 else "over: anybody may go on"
    return f"{format_time(view['deadline'])} UTC ({remaining})"


def _names(view: StatusView) -> str | None:
    """Return the first of the awaited accounts; None where `_wait` names the only one."""
    accounts = [item["account"] for item in view["awaited"] if item["account"]]
    more = f" and {len(accounts) - NAMED} more" if len(accounts) > NAMED else ""
    return ", ".join(map(shortened, accounts[:NAMED])) + more if len(accounts) > 1 else None


def _suspended(view: StatusView) -> str | None:
    """Return how many miners are suspended, and what they have to do; None where nobody is."""
    count = sum(miner["suspended"] for miner in view["miners"])
    return f"{plural(count, 'miner')}: start them again, they `resume` by themselves" if count else None


def _pool(view: StatusView) -> str:
    """Return what the pool holds, and how many rounds it pays."""
    if view["paid_rounds"] is None:
        return ether(view["pool"])
    if not view["paid_rounds"]:
        return f"{ether(view['pool'])}: no round is paid in full; `bcfl fund AMOUNT` adds to it"
    return f"{ether(view['pool'])}, the rewards of {plural(view['paid_rounds'], 'round')}"


def _print(view: StatusView, stated: StatementsView | None = None) -> None:
    number = view["round"]
    updates = f"{view['updates']} of {plural(view['devices'], 'device')}"
    fields: list[tuple[str, object]] = [
        ("federation", f"{view['deployment']} on {view['network']}, chain {view['chain_id']}"),
        ("contract", view["contract"]),
        ("round", f"{number}, phase {view['phase']}" if number else "none yet"),
        ("waits for", _wait(view)),
        ("by name", _names(view)),
        ("until", _until(view)),
        ("updates", updates if number else None),
        ("mode", view["mode"]),
        ("engine", view["engine"]),
        ("committee", ", ".join(view["committee"]) or None),
        *([] if view["capture"] is None else capture_fields(view["capture"])),
        *challenge_fields(view["challenge_seconds"], view["challenge_bytes"]),
        ("leader", view["leader"]),
        ("suspended", _suspended(view)),
        ("pool", _pool(view)),
        ("so far", f"{plural(view['blocks'], 'block')}, {plural(view['void'], 'void round')}"),
        *([] if stated is None else stated_fields(stated)),
    ]
    print_fields([(name, value) for name, value in fields if value is not None])
    rows = [
        (m["miner"], ether(m["stake"]), m["weight"], m["devices"], m["committed"], m["voted"], m["endpoint"])
        for m in view["miners"]
    ]
    if rows:
        columns = [Column("miner"), Column("stake", True), Column("weight", True), Column("devices", True)]
        columns += [Column("batch"), Column("votes"), Column("endpoint")]
        print_table(columns, rows, "Miners")
